"""Which listener and filter chain a request would meet."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from gatewayd.explain.asked import Asked
from gatewayd.explain.steps import NO_LISTENER, TLS_REJECT, Explanation, PlaceOf
from gatewayd.listeners.filter_chains import ChainIndex
from gatewayd.listeners.sockets import printable
from gatewayd.snapshot import FilterChain, ListenerSpec
from gatewayd.tls.modes import MODES

#: What a client offers that speaks HTTP.
_ALPN: Final = ("h2", "http/1.1")
_MAX_SHOWN: Final = 10
_SECURE: Final = frozenset({"https", "tls"})


def choose_chain(
    listeners: Sequence[ListenerSpec], asked: Asked, told: Explanation, place_of: PlaceOf, *, live: bool
) -> FilterChain | None:
    """The chain that takes the connection; None, and ``told`` says why there is none.

    ``live``: what is not there (a certificate) is missing; else it may only not be on this machine.
    """
    spec = _listener(listeners, asked, told)
    if spec is None:
        return None
    told.listener = {
        "port": spec.port,
        "protocol": spec.protocol,
        "name": spec.name,
        "gateway": "",
        "server": "",
    }
    secure = asked.scheme in _SECURE
    if spec.protocol == "TLS" and not secure:
        _reject(told, f"{_title(spec)} expects TLS: use https://")
        return None
    if spec.protocol == "HTTP" and secure:
        _reject(told, f"{_title(spec)} speaks plain HTTP: use http://")
        return None
    if spec.protocol != "TLS":
        (chain,) = spec.chains
        _say(spec, chain, asked, told, place_of)
        return chain
    chosen: FilterChain | None = ChainIndex(spec.chains).choose(
        asked.sni, _ALPN if asked.scheme == "https" else ()
    )
    if chosen is None:
        names = sorted({name for each in spec.chains for name in each.server_names})
        near = get_close_matches(asked.sni, names, n=1)
        hint = f' (did you mean "{near[0]}"?)' if near else f": it serves {_listed(names)}"
        _reject(told, f'{_title(spec)} has no server for SNI "{asked.sni}"{hint}')
        return None
    _say(spec, chosen, asked, told, place_of)
    holder = chosen.tls
    if holder is not None:
        if holder.context is None and holder.problem:
            text = f"no certificate can be used: {holder.problem}"
            told.add("tls", False if live else None, text)
            if live:
                told.outcome, told.result = TLS_REJECT, text
                return None
        wants = MODES[holder.spec.mode].client_certificate
        if wants != "none":
            told.add("tls", None, f"{holder.spec.mode}: a client certificate is {wants}")
    return chosen


def _listener(listeners: Sequence[ListenerSpec], asked: Asked, told: Explanation) -> ListenerSpec | None:
    """By the Gateway's own port number, else by the one that is bound."""
    by_gateway = [spec for spec in listeners if spec.port == asked.port]
    found = by_gateway or [spec for spec in listeners if any(port == asked.port for _, port in spec.bind)]
    if not found:
        for spec in listeners[:_MAX_SHOWN]:
            told.add("listener", False, f"{_title(spec)} is not port {asked.port}")
        told.outcome = NO_LISTENER
        told.result = f"nothing listens on port {asked.port}"
        return None
    secure = asked.scheme in _SECURE
    fitting = [spec for spec in found if (spec.protocol == "TLS") == secure]
    exact = [spec for spec in fitting if any(host == asked.host for host, _ in spec.bind)]
    return (exact or fitting or found)[0]


def _reject(told: Explanation, text: str) -> None:
    told.add("listener", False, text)
    told.outcome = TLS_REJECT
    told.result = text


def _title(spec: ListenerSpec, protocol: str = "") -> str:
    """``0.0.0.0:8443 TLS (Gateway port 443)``."""
    host, port = spec.bind[0]
    own = f" (Gateway port {spec.port})" if port not in (spec.port, 0) or host.startswith("unix:") else ""
    return f"{printable(host, port or spec.port)} {protocol or spec.protocol}{own}"


def _say(spec: ListenerSpec, chain: FilterChain, asked: Asked, told: Explanation, place_of: PlaceOf) -> None:
    if spec.protocol == "TLS" and chain.routes is not None:
        told.listener["protocol"] = "HTTPS"
    text = _title(spec, told.listener["protocol"])
    if spec.protocol == "TLS":
        text += f"  SNI {asked.sni or 'none'}"
    file, line = "", 0
    if chain.gateways:
        namespace, name, index = chain.gateways[0]
        server = f"servers[{index}]"
        text += f" -> Gateway {namespace}/{name} {server}"
        if len(chain.gateways) > 1:
            text += f" and {len(chain.gateways) - 1} more"
        told.listener |= {"gateway": f"{namespace}/{name}", "server": server}
        file, line = place_of("Gateway", namespace, name, "servers", index)
    told.add("listener", True, text, file, line)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "no names"
    text = ", ".join(names[:_MAX_SHOWN])
    return text if len(names) <= _MAX_SHOWN else f"{text} and {len(names) - _MAX_SHOWN} more"
