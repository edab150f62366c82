"""All backends of an example in one process: ``python -m gatewayd.demo.backends SERVICE...``.

A SERVICE is ``NAME[:KIND][=PORT]``. The kind (by default the name) is a row of ``KINDS``; without a port a
free one is taken. Once all listen, one line of JSON on stdout maps each name to its ``host:port``. Ends by
INT or TERM, quietly, with exit status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gatewayd.demo import bookinfo
from gatewayd.demo.echo import echo, httpbin
from gatewayd.demo.web import Handler, serve
from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_OK

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
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r}: {kind!r} is none of {', '.join(KINDS)}")
    if port > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: {port} is no port")
    return Service(name, kind, port)


async def start(services: Sequence[Service], gateway: str) -> tuple[list[asyncio.Server], dict[str, str]]:
    """Start all of them on 127.0.0.1; the servers, and name to ``host:port``. Raises OSError."""
    servers: list[asyncio.Server] = []
    addresses: dict[str, str] = {}
    for service in services:
        server = await serve(KINDS[service.kind](service.name, gateway, addresses), port=service.port)
        servers.append(server)
        addresses[service.name] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return servers, addresses


async def _serve_until_told(services: Sequence[Service], gateway: str) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    servers, addresses = await start(services, gateway)
    print(json.dumps(addresses), flush=True)
    await told.wait()
    for server in servers:
        server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 77 if a port cannot be bound."""
    parser = argparse.ArgumentParser(prog="python -m gatewayd.demo.backends", description=__doc__)
    parser.add_argument("--gateway", default="127.0.0.1:8080", help="where productpage asks for reviews")
    parser.add_argument("services", nargs="+", type=read_service, metavar="SERVICE")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_serve_until_told(given.services, given.gateway))
    except OSError as error:
        print(f"backends: {error.strerror or error}", file=sys.stderr)
        return EXIT_CANNOT_BIND
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
