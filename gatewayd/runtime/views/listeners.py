"""Topic ``listeners``: one row for each listener in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gatewayd.listeners.listener import Listener
from gatewayd.listeners.sockets import socket_address
from gatewayd.runtime.deployment import Deployment
from gatewayd.snapshot import FilterChain

_MAX_HOSTS: Final = 20


def listener_rows(deployment: Deployment) -> Iterator[dict[str, Any]]:
    """The listeners, and who still has connections although it is gone."""
    for listener in deployment.all_listeners:
        spec = listener.spec
        yield {
            "name": spec.name,
            "addresses": list(listener.addresses),
            "bound": [list(place) for place in bound(listener)],
            "port": spec.port,
            "protocol": spec.protocol,
            "proxy_protocol": spec.proxy_protocol,
            "state": _state(listener),
            "gateways": [f"{ns}/{name} servers[{index}]" for ns, name, index in spec.gateways],
            "chains": [_chain(chain) for chain in spec.chains],
            "connections": len(listener.connections),
            "accepted": listener.accepted,
            "refused": dict(deployment.refused(listener)),
        }


def bound(listener: Listener) -> list[tuple[str, int]]:
    """Its addresses, with the numbers that the kernel chose."""
    return [socket_address(sock) for sock in listener.sockets]


def _state(listener: Listener) -> str:
    return "DRAINING" if listener.draining else "ACCEPTING" if listener.accepting else "PAUSED"


def _chain(chain: FilterChain) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": chain.name,
        "server_names": list(chain.server_names),
        "alpn": list(chain.alpn),
        "tls": None,
    }
    if chain.tls is not None:
        made["tls"] = {
            "mode": chain.tls.spec.mode,
            "owner": chain.tls.spec.owner,
            "problem": chain.tls.problem,
            "usable": chain.tls.context is not None,
        }
    if chain.routes is not None:
        hosts = chain.routes.virtual_hosts
        made["virtual_hosts"] = len(hosts)
        made["domains"] = [domain for host in hosts[:_MAX_HOSTS] for domain in host.domains][:_MAX_HOSTS]
    if chain.tcp is not None:
        made["clusters"] = [each.cluster_name for each in chain.tcp.destinations]
    return made
