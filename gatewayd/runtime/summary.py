"""What a starting process says: what is served where, and, loudly, what is not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from gatewayd import __version__
from gatewayd.findings import count
from gatewayd.listeners.listener import Listener
from gatewayd.observe.logs import structured
from gatewayd.runtime.configuration import Configuration
from gatewayd.runtime.options import RunOptions
from gatewayd.snapshot import ListenerSpec

_log = logging.getLogger("gatewayd.runtime")

#: Our own ports and what is found there.
_OWN_PORTS: Final = {"status": "/healthz/ready", "metrics": "/stats/prometheus", "admin": "/"}
_SHOWN_HOSTS: Final = 8
_SHOWN_SET_ASIDE: Final = 20


def say(text: str, level: int = logging.INFO) -> None:
    """Print to stderr at once; one record where everything is to be one."""
    if structured():
        _log.log(level, "%s", text)
    else:
        print(text, file=sys.stderr, flush=True)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def shortened(names: Iterable[str], shown: int = _SHOWN_HOSTS) -> str:
    """``a, b and 98 more``."""
    listed = list(names)
    text = ", ".join(listed[:shown])
    return text if len(listed) <= shown else f"{text} and {len(listed) - shown} more"


class Served(NamedTuple):
    """A listener, for whoever has none."""

    spec: ListenerSpec
    #: printable
    addresses: tuple[str, ...]


def serving(
    configuration: Configuration,
    listeners: Sequence[Listener | Served],
    ports: Mapping[str, Sequence[str]],
    options: RunOptions,
    workers: Sequence[int] = (),
) -> str:
    """The report of a service that has just become ready.

    ``ports``: addresses of our own ports, by name. ``workers``: their processes, if there are several.
    """
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
    for name, path in _OWN_PORTS.items():
        for address in ports.get(name, ()):
            url = address if address.startswith("unix:") else f"http://{address}{path}"
            lines.append(f"  {name:<9} {url}")
    if workers:
        lines.append(f"  workers   processes {', '.join(map(str, workers))}")
    admin = options.admin
    if admin is not None and not (admin[0].startswith("unix:") or is_loopback(admin[0])):
        lines.append(
            "!! the admin port can be reached from other machines, and asks nobody who they are: keep it on loopback"
        )
    lines += set_aside_lines(configuration)
    return "\n".join(lines)


def standing(configuration: Configuration, listeners: int) -> str:
    """``serves 2 listeners, 1 error, 0 warnings, NOT SERVED: 1 document``: one line for a service manager."""
    errors, warnings = count(configuration.findings)
    text = (
        f"serves {_plural(listeners, 'listener')}, {_plural(errors, 'error')}, {_plural(warnings, 'warning')}"
    )
    aside = len(configuration.set_aside)
    return f"{text}, NOT SERVED: {_plural(aside, 'document')}" if aside else text


def _listener_lines(listener: Listener | Served) -> list[str]:
    spec = listener.spec
    scheme = _scheme(spec)
    bound = "  ".join(
        address if address.startswith("unix:") else f"{scheme}://{address}" for address in listener.addresses
    )
    gateways = shortened(dict.fromkeys(f"{namespace}/{name}" for namespace, name, _ in spec.gateways))
    lines = [f"  listener  {bound}"]
    if gateways:
        lines.append(f"            Gateway port {spec.port} of {gateways}")
    return lines + [f"            {text}" for text in _served(spec)]


def _scheme(spec: ListenerSpec) -> str:
    if spec.protocol != "TLS":
        return spec.protocol.lower()
    return "https" if any(chain.routes is not None for chain in spec.chains) else "tls"


def _served(spec: ListenerSpec) -> list[str]:
    """What answers: hosts of requests, and where bytes go, by SNI where that chooses."""
    lines: list[str] = []
    http = [chain.routes for chain in spec.chains if chain.routes is not None]
    if http:
        domains = (domain for routes in http for host in routes.virtual_hosts for domain in host.domains)
        hosts = shortened(dict.fromkeys(domains))
        lines.append(f"hosts: {hosts}" if hosts else "no hosts: every request gets 404")
    raw = [chain for chain in spec.chains if chain.tcp is not None]
    for chain in raw[:_SHOWN_HOSTS]:
        assert chain.tcp is not None
        names = f"SNI {shortened(chain.server_names) or '*'} " if spec.protocol == "TLS" else ""
        clusters = shortened(destination.cluster_name for destination in chain.tcp.destinations)
        lines.append(f"{names}-> {clusters}")
    if len(raw) > _SHOWN_HOSTS:
        lines.append(f"and {len(raw) - _SHOWN_HOSTS} more")
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
