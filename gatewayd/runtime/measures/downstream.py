"""Metrics of listeners and of the HTTP connections behind them, named as Envoy's with Istio's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from gatewayd.listeners.listener import Listener
from gatewayd.observe.exposition import COUNTER, GAUGE, MAX, Family, Sample, labels
from gatewayd.observe.sums import Sums, class_of
from gatewayd.runtime.deployment import Deployment

#: Connections looked at in one go.
_STEP: Final = 2000
_NO_CHAIN: Final = "filter_chain_not_found"
_TOO_SLOW: Final = "arrival_timeout"
_TLS: Final = "tls_handshake"


def downstream_families(deployment: Deployment, sums: Sums) -> Iterator[Family]:
    """The families of all listeners in force."""
    listeners = [(labels(listener_address=each.spec.name), each) for each in deployment.listeners]
    yield Family(
        "envoy_listener_manager_total_listeners_active",
        GAUGE,
        "Listeners in force.",
        [("", len(listeners))],
        MAX,
    )
    yield Family(
        "envoy_listener_manager_total_listeners_draining",
        GAUGE,
        "Listeners that are gone but for some connections.",
        [("", len(deployment.leaving))],
        MAX,
    )
    yield from _listener_families(deployment, listeners)
    managers = [(labels(http_conn_manager_prefix=stat_prefix(each)), each) for _, each in listeners]
    yield from _manager_families([pair for pair in managers if _speaks_http(pair[1])], sums)


def stat_prefix(listener: Listener) -> str:
    """What Istio calls the HTTP connection manager of a gateway's listener."""
    return f"outbound_{listener.spec.name}"


def _listener_families(deployment: Deployment, listeners: list[tuple[str, Listener]]) -> Iterator[Family]:
    name = "envoy_listener_downstream_cx"
    accepted = [(text, each.accepted) for text, each in listeners]
    active = [(text, len(each.connections)) for text, each in listeners]
    yield Family(f"{name}_total", COUNTER, "Connections accepted.", accepted)
    yield Family(f"{name}_active", GAUGE, "Open connections.", active)
    yield Family(
        f"{name}_destroy",
        COUNTER,
        "Connections that ended.",
        [(text, all_ - now) for (text, all_), (_, now) in zip(accepted, active, strict=True)],
    )
    refused = [(text, deployment.refused(each)) for text, each in listeners]
    for metric, help, reason in (
        ("ssl_connection_error", "TLS handshakes that failed.", _TLS),
        ("no_filter_chain_match", "Connections that no server wanted.", _NO_CHAIN),
        ("downstream_pre_cx_timeout", "Connections that did not say what they want in time.", _TOO_SLOW),
    ):
        samples = [(text, counts.get(reason, 0)) for text, counts in refused]
        yield Family(f"envoy_listener_{metric}", COUNTER, help, samples)
    yield Family(
        "gatewayd_listener_refused_total",
        COUNTER,
        "Connections turned away before they were anybody's.",
        [
            (f"{text},{labels(reason=reason)}", count)
            for text, counts in refused
            for reason, count in sorted(counts.items())
        ],
    )


def _manager_families(managers: list[tuple[str, Listener]], sums: Sums) -> Iterator[Family]:
    """Of HTTP connection managers. A connection becomes its once it is known to be HTTP, after a handshake."""
    answered = [(text, _answered(each, sums)) for text, each in managers]
    name = "envoy_http_downstream"
    yield Family(
        f"{name}_rq_completed",
        COUNTER,
        "Requests that ended.",
        [(text, sum(statuses.values())) for text, statuses in answered],
    )
    yield Family(
        f"{name}_rq_xx",
        COUNTER,
        "Requests by the class of their status.",
        [
            (f"{labels(response_code_class=f'{number}xx')},{text}", count)
            for text, statuses in answered
            for number, count in sorted(_by_class(statuses).items())
            if number
        ],
    )
    yield Family(f"{name}_cx_active", GAUGE, "Open connections.", _counted(managers, _is_http))
    yield Family(f"{name}_rq_active", GAUGE, "Requests under way.", _counted(managers, _requests))


def _answered(listener: Listener, sums: Sums) -> Counter[int]:
    found: Counter[int] = Counter()
    for name in {chain.name for chain in listener.spec.chains if chain.routes is not None}:
        found.update(sums.chains.get(name, {}))
    return found


def _by_class(statuses: Counter[int]) -> Counter[int]:
    found: Counter[int] = Counter()
    for status, count in statuses.items():
        found[class_of(status)] += count
    return found


def _speaks_http(listener: Listener) -> bool:
    return any(chain.routes is not None for chain in listener.spec.chains)


def _counted(managers: list[tuple[str, Listener]], what: Any) -> Iterator[Sample | None]:
    for text, listener in managers:
        total = 0
        for count, connection in enumerate(list(listener.connections), 1):
            total += what(connection)
            if not count % _STEP:
                yield None
        yield text, total


def _is_http(connection: Any) -> int:
    return hasattr(connection, "under_way")


def _requests(connection: Any) -> int:
    """Requests under way on a connection, of which one that is not HTTP (any more, or yet) has none."""
    return getattr(connection, "under_way", 0)
