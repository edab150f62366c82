"""Istio's standard metrics (semantics 18.1 to 18.5) as families, from what the traffic came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from gatewayd.observe.exposition import BUCKETS, COUNTER, HISTOGRAM, Family, Sample, escaped, labels
from gatewayd.observe.sums import SeriesKey, Sums
from gatewayd.observe.traffic import (
    CLOSED,
    DURATION,
    DURATION_SUM,
    RECEIVED,
    RECEIVED_SUM,
    REQUEST_MESSAGES,
    RESPONSE_MESSAGES,
    SENT,
    SENT_SUM,
    TCP_RECEIVED,
    TCP_SENT,
    TcpKey,
)

UNKNOWN: Final = "unknown"


class Source:
    """What is said of this proxy itself in every series (18.2)."""

    def __init__(self, proxy_labels: Mapping[str, str] | None, namespace: str) -> None:
        own = proxy_labels or {}
        app = own.get("app") or own.get("app.kubernetes.io/name") or UNKNOWN
        version = own.get("version") or own.get("app.kubernetes.io/version") or UNKNOWN
        name = own.get("service.istio.io/canonical-name") or app
        self.text = labels(
            reporter="source",
            source_workload=name,
            source_canonical_service=name,
            source_canonical_revision=own.get("service.istio.io/canonical-revision") or "latest",
            source_workload_namespace=namespace or UNKNOWN,
            source_principal=UNKNOWN,
            source_app=app,
            source_version=version,
            source_cluster=UNKNOWN,
        )


_HISTOGRAMS: Final = (
    ("istio_request_duration_milliseconds", "From a request's beginning to its end.", DURATION, DURATION_SUM),
    ("istio_request_bytes", "Sizes of request bodies.", RECEIVED, RECEIVED_SUM),
    ("istio_response_bytes", "Sizes of response bodies.", SENT, SENT_SUM),
)


_MESSAGES: Final = (
    ("istio_request_messages_total", "Messages of gRPC from clients.", REQUEST_MESSAGES),
    ("istio_response_messages_total", "Messages of gRPC to clients.", RESPONSE_MESSAGES),
)


def http_families(source: Source, sums: Sums) -> Iterator[Family]:
    """The families of HTTP and gRPC."""
    series = [(_http_labels(source.text, key), key, cell) for key, cell in sums.series.items()]
    yield Family(
        "istio_requests_total",
        COUNTER,
        "Requests that ended.",
        [
            (f'{text},grpc_response_status="{key.grpc_status or ""}"', sum(cell[:BUCKETS]))
            for text, key, cell in series
        ],
    )
    # Of gRPC statuses histograms know nothing: what differs by them alone is one series there.
    folded: dict[str, list[float]] = {}
    for text, _, cell in series:
        known = folded.get(text)
        folded[text] = cell if known is None else [a + b for a, b in zip(known, cell, strict=True)]
    for name, help, first, total in _HISTOGRAMS:
        yield Family(name, HISTOGRAM, help, _cut(folded, first, total))

    grpc: dict[str, list[float]] = {
        text: folded[text] for text, key, _ in series if key.grpc_status is not None
    }
    for name, help, at in _MESSAGES:
        yield Family(name, COUNTER, help, [(text, cell[at]) for text, cell in grpc.items()])


def _cut(series: Mapping[str, list[float]], first: int, total: int) -> Iterator[Sample]:
    """One of the three histograms of each series."""
    for text, cell in series.items():
        yield text, cell[first : first + BUCKETS], cell[total]


def tcp_families(
    source: Source, tcp: Mapping[TcpKey, list[float]], open_connections: Mapping[str, int]
) -> Iterator[Family]:
    """The families of TCP; ``open_connections``: those under way, by cluster."""
    opened = dict(open_connections)
    for (cluster, _), cell in tcp.items():
        opened[cluster] = opened.get(cluster, 0) + int(cell[CLOSED])
    yield Family(
        "istio_tcp_connections_opened_total",
        COUNTER,
        "TCP connections that began.",
        [(_tcp_labels(source.text, (cluster, "")), count) for cluster, count in opened.items()],
    )
    for name, help, at in (
        ("istio_tcp_connections_closed_total", "TCP connections that ended.", CLOSED),
        ("istio_tcp_sent_bytes_total", "Bytes sent to clients, once they left.", TCP_SENT),
        ("istio_tcp_received_bytes_total", "Bytes from clients, once they left.", TCP_RECEIVED),
    ):
        yield Family(
            name, COUNTER, help, [(_tcp_labels(source.text, key), cell[at]) for key, cell in tcp.items()]
        )


@lru_cache(maxsize=2048)
def _http_labels(source: str, key: SeriesKey) -> str:
    rest = labels(
        request_protocol="http" if key.grpc_status is None else "grpc",
        response_code=str(key.status),
        response_flags=key.flags or "-",
        connection_security_policy=UNKNOWN,
    )
    return f"{source},{destination(key.cluster)},{rest}"


@lru_cache(maxsize=2048)
def _tcp_labels(source: str, key: TcpKey) -> str:
    cluster, flags = key
    rest = labels(request_protocol="tcp", response_flags=flags or "-", connection_security_policy=UNKNOWN)
    return f"{source},{destination(cluster)},{rest}"


def destination(cluster: str) -> str:
    """The labels of where requests went, by ``outbound|port|subset|host`` (18.4)."""
    host = cluster.rpartition("|")[2]
    first, _, rest = host.partition(".")
    namespace, dot, domain = rest.partition(".")
    in_mesh = bool(dot) and domain.startswith("svc.")
    return (
        'destination_workload="unknown",destination_workload_namespace="unknown",destination_principal="unknown",'
        'destination_app="unknown",destination_version="unknown",'
        f'destination_service="{escaped(host or UNKNOWN)}",'
        f'destination_service_name="{escaped((first if in_mesh else host) or UNKNOWN)}",'
        f'destination_service_namespace="{escaped(namespace if in_mesh else UNKNOWN)}",'
        'destination_cluster="unknown",destination_canonical_service="unknown",'
        'destination_canonical_revision="unknown"'
    )
