"""All backends of an example in one process: ``python -m gatewayd.demo.backends SERVICE...``.

A SERVICE is ``NAME[:KIND][=PORT]``. The kind (by default the name) is a row of ``KINDS``, or ``lines`` for one
that speaks no HTTP; without a port a free one is taken. With a certificate all of them speak TLS. Once all
listen, one line of JSON on stdout maps each name to its ``host:port``. Ends by INT or TERM, quietly, with exit
status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gatewayd.demo import bookinfo
from gatewayd.demo.echo import echo, httpbin
from gatewayd.demo.lines import serve_lines
from gatewayd.demo.secure import server_context
from gatewayd.demo.web import Handler, serve
from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_INPUT, EXIT_OK

#: What a backend is told: its own name, the gateway's address, the addresses of the backends before it.
Builder = Callable[[str, str, dict[str, str]], Handler]

KINDS: Final[dict[str, Builder]] = {
    "details": lambda name, gateway, others: bookinfo.details,
    "ratings": lambda name, gateway, others: bookinfo.ratings,
    "reviews-v1": lambda name, gateway, others: bookinfo.reviews("v1", ""),
    "reviews-v2": lambda name, gateway, others: bookinfo.reviews("v2", others.get("ratings", "")),
    "reviews-v3": lambda name, gateway, others: bookinfo.reviews("v3", others.get("ratings", "")),
    "productpage": lambda name, gateway, others: bookinfo.productpage(others.get("details", ""), gateway),
    "httpbin": lambda name, gateway, others: httpbin,
    "echo": lambda name, gateway, others: echo(name),
}
#: The kind that is plain TCP.
LINES: Final = "lines"
#: Everything the bookinfo example routes to. A backend comes after those it calls.
BOOKINFO: Final = ("ratings", "details", "reviews-v1", "reviews-v2", "reviews-v3", "productpage", "httpbin")

_FORM: Final = re.compile(r"([a-z0-9][a-z0-9.-]*)(?::([a-z0-9-]+))?(?:=(\d{1,5}))?")


class Service(NamedTuple):
    """One backend to start."""

    name: str
    kind: str
    port: int


def read_service(text: str) -> Service:
    """``reviews-v2``, ``reviews-v2=9082`` or ``catalog:echo=9083``."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME[:KIND][=PORT], such as reviews-v2=9082")
    name, kind, port = form[1], form[2] or form[1], int(form[3] or 0)
    if kind not in KINDS and kind != LINES:
        raise argparse.ArgumentTypeError(f"{text!r}: {kind!r} is none of {', '.join(KINDS)}, {LINES}")
    if port > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: {port} is no port")
    return Service(name, kind, port)


async def start(
    services: Sequence[Service], gateway: str, tls: ssl.SSLContext | None = None
) -> tuple[list[asyncio.Server], dict[str, str]]:
    """Start all of them on 127.0.0.1; the servers, and name to ``host:port``. Raises OSError."""
    servers: list[asyncio.Server] = []
    addresses: dict[str, str] = {}
    for service in services:
        if service.kind == LINES:
            server = await serve_lines(service.name, port=service.port, tls=tls)
        else:
            handler = KINDS[service.kind](service.name, gateway, addresses)
            server = await serve(handler, port=service.port, tls=tls)
        servers.append(server)
        addresses[service.name] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return servers, addresses


async def _serve_until_told(services: Sequence[Service], gateway: str, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    servers, addresses = await start(services, gateway, tls)
    print(json.dumps(addresses), flush=True)
    await told.wait()
    # A second one would meet a loop that is half closed; to ignore it is no use, closing sets the default again.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    for server in servers:
        server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 65 if a certificate cannot be read, 77 if a port cannot be bound."""
    parser = argparse.ArgumentParser(prog="python -m gatewayd.demo.backends", description=__doc__)
    parser.add_argument("--gateway", default="127.0.0.1:8080", help="where productpage asks for reviews")
    parser.add_argument("--certificate", type=Path, help="PEM file: speak TLS and show this")
    parser.add_argument("--private-key", type=Path, help="PEM file of its key")
    parser.add_argument("--client-ca", type=Path, help="PEM file: clients must show a certificate it signed")
    parser.add_argument("services", nargs="+", type=read_service, metavar="SERVICE")
    given = parser.parse_args(arguments)
    if (given.certificate is None) != (given.private_key is None):
        parser.error("--certificate and --private-key go together")
    tls = None
    if given.certificate is not None:
        try:
            tls = server_context(given.certificate, given.private_key, given.client_ca)
        except OSError as error:  # ssl's errors are of this kind too
            print(f"backends: {given.certificate}: {error}", file=sys.stderr)
            return EXIT_INPUT
    try:
        asyncio.run(_serve_until_told(given.services, given.gateway, tls))
    except OSError as error:
        print(f"backends: {error.strerror or error}", file=sys.stderr)
        return EXIT_CANNOT_BIND
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
