"""What a starting process says: what is served where, and, loudly, what is not."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from gatewayd import __version__
from gatewayd.findings import count
from gatewayd.listeners.listener import Listener
from gatewayd.runtime.configuration import Configuration
from gatewayd.runtime.options import RunOptions

_SHOWN_HOSTS: Final = 8
_SHOWN_SET_ASIDE: Final = 20


def say(text: str) -> None:
    """Print to stderr at once."""
    print(text, file=sys.stderr, flush=True)


def shortened(names: Iterable[str], shown: int = _SHOWN_HOSTS) -> str:
    """``a, b and 98 more``."""
    listed = list(names)
    text = ", ".join(listed[:shown])
    return text if len(listed) <= shown else f"{text} and {len(listed) - shown} more"


def serving(
    configuration: Configuration, listeners: Sequence[Listener], status: Sequence[str], options: RunOptions
) -> str:
    """The report of a worker that has just become ready."""
    snapshot = configuration.snapshot
    hosts = sum(
        len(chain.routes.virtual_hosts)
        for listener in listeners
        for chain in listener.spec.chains
        if chain.routes is not None
    )
    lines = [
        f"gatewayd {__version__} serves {_plural(len(listeners), 'listener')}, "
        f"{_plural(hosts, 'virtual host')}, {_plural(len(snapshot.clusters), 'cluster')} "
        f"({_plural(configuration.files, 'file')}, {configuration.elapsed_s * 1000:.0f} ms)"
    ]
    for listener in listeners:
        lines += _listener_lines(listener)
    for address in status:
        lines.append(f"  status    http://{address}/healthz/ready")
    lines += [f"  note      {sentence}" for sentence in options.without_effect]
    lines += set_aside_lines(configuration)
    return "\n".join(lines)


def _listener_lines(listener: Listener) -> list[str]:
    spec = listener.spec
    bound = "  ".join(
        address if address.startswith("unix:") else f"http://{address}" for address in listener.addresses
    )
    hosts = shortened(
        domain
        for chain in spec.chains
        if chain.routes is not None
        for host in chain.routes.virtual_hosts
        for domain in host.domains
    )
    gateways = shortened(f"{namespace}/{name}" for namespace, name, _ in dict.fromkeys(spec.gateways))
    lines = [f"  listener  {bound}"]
    if gateways:
        lines.append(f"            Gateway port {spec.port} of {gateways}")
    lines.append(f"            hosts: {hosts}" if hosts else "            no hosts: every request gets 404")
    return lines


def set_aside_lines(configuration: Configuration) -> list[str]:
    """Nothing when all is served; else a list nobody can overlook."""
    aside = configuration.set_aside
    if not aside:
        return []
    errors, _ = count(configuration.findings)
    lines = [
        "",
        f"!! NOT SERVED: {_plural(len(aside), 'document')} set aside because of "
        f"{_plural(errors, 'error')} (listed above)",
    ]
    lines += [f"!!   {text}" for text in aside[:_SHOWN_SET_ASIDE]]
    if len(aside) > _SHOWN_SET_ASIDE:
        lines.append(f"!!   and {len(aside) - _SHOWN_SET_ASIDE} more")
    return lines


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
