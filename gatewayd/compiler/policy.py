"""The traffic policy of one (port, subset) of a service, as one pure function (semantics 8.2.1 to 8.2.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gatewayd.resources.mesh_config import DefaultTrafficPolicy
from gatewayd.resources.traffic_policy import (
    ClientTLS,
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    PortTrafficPolicy,
    ProxyProtocol,
    RetryBudget,
    TrafficPolicy,
    Tunnel,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The blocks in force; None means Istio's default for that block."""

    connection_pool: ConnectionPool | None = None
    load_balancer: LoadBalancer | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLS | None = None
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


NO_POLICY: Final = Policy()

#: The blocks that have a port-level form.
_PORT_BLOCKS: Final = ("connection_pool", "load_balancer", "outlier_detection", "tls")
_ALL_BLOCKS: Final = (*_PORT_BLOCKS, "tunnel", "proxy_protocol", "retry_budget")


def resolve_policy(
    top: TrafficPolicy | None,
    subset: TrafficPolicy | None,
    port: int,
    mesh_default: DefaultTrafficPolicy | None = None,
) -> Policy:
    """The policy towards ``port``, of a subset when ``subset`` is its policy.

    A port-level entry replaces the four port blocks wholesale, what it leaves out becoming the default,
    and loses the blocks that have no port-level form (8.2.1). A block a subset writes replaces the
    result; its own port-level entry again replaces four (8.2.2). The mesh's default fills connection
    pool and outlier detection where nothing was said (8.2.3).
    """
    policy = NO_POLICY
    if top is not None:
        entry = _port_entry(top, port)
        policy = _port_blocks(NO_POLICY, entry) if entry else _written(NO_POLICY, top)
    if subset is not None:
        policy = _written(policy, subset)
        entry = _port_entry(subset, port)
        if entry:
            policy = _port_blocks(policy, entry)
    if mesh_default is not None:
        policy = replace(
            policy,
            connection_pool=policy.connection_pool or mesh_default.connection_pool,
            outlier_detection=policy.outlier_detection or mesh_default.outlier_detection,
        )
    return policy


def _port_entry(policy: TrafficPolicy, port: int) -> PortTrafficPolicy | None:
    for entry in policy.port_level_settings:
        if entry.port is not None and entry.port.number == port:
            return entry
    return None


def _port_blocks(policy: Policy, entry: PortTrafficPolicy) -> Policy:
    return replace(policy, **{name: getattr(entry, name) for name in _PORT_BLOCKS})


def _written(policy: Policy, layer: TrafficPolicy) -> Policy:
    blocks = {name: getattr(layer, name) for name in _ALL_BLOCKS}
    return replace(policy, **{name: block for name, block in blocks.items() if block is not None})
