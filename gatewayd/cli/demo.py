"""``gatewayd demo``."""

from __future__ import annotations

import click

from gatewayd.cli import values


@click.command(
    short_help="Serve the bundled bookinfo example with backends of its own.",
)
@click.option(
    "--http-port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port for HTTP."
)
@click.option(
    "--https-port", type=click.IntRange(1, 65535), default=8443, show_default=True, help="Port for HTTPS."
)
@click.option("--bind", type=values.BIND, multiple=True, help="Where to listen. [default: 127.0.0.1]")
@click.argument("run_flags", nargs=-1, metavar="[-- RUN-FLAG...]")
def demo(
    http_port: int, https_port: int, bind: tuple[tuple[str, ...], ...], run_flags: tuple[str, ...]
) -> int:
    """Serve the bundled bookinfo gateway with small backends, and print curl lines to try.

    HTTPS is served with a certificate made on the spot. Everything runs until Ctrl-C. What follows -- is given
    to `gatewayd run` as it is.
    """
    from gatewayd.demo import run_demo

    addresses = tuple(address for group in bind for address in group) or ("127.0.0.1",)
    return run_demo(http_port, https_port, addresses, run_flags)
