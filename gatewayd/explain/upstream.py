"""The request as it would go upstream, built by the proxy's own code for an exchange that is never sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from gatewayd.http.message import Pair
from gatewayd.http.request import ParsedRequest
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy.forwarding import Client
from gatewayd.proxy.plan import Plan
from gatewayd.proxy.upstream_head import built_parts
from gatewayd.routing.route import Destination, Route
from gatewayd.snapshot import FilterChain

#: A client nobody has (RFC 5737), and an id that says that it is none.
_CLIENT: Final = ("192.0.2.1", 50000)
_REQUEST_ID: Final = b"00000000-0000-4000-8000-000000000000"


class Routed(NamedTuple):
    """A request that has found its route."""

    parsed: ParsedRequest
    plan: Plan
    route: Route
    chain: FilterChain


class DryExchange(StreamInfo):
    """What the proxy's code reads of an exchange before anything is sent."""

    __slots__ = ("destination", "parsed", "plan", "stream", "timeout")

    def __init__(self, routed: Routed, destination: Destination) -> None:
        chain = routed.chain
        head, options = routed.parsed.head, chain.options
        assert head is not None
        assert options is not None
        self.parsed = routed.parsed
        self.plan = routed.plan
        self.route = routed.route
        self.destination = destination
        self.stream = SimpleNamespace(
            edge=SimpleNamespace(options=options), port=SimpleNamespace(number=chain.port)
        )
        self.timeout = None
        self.connection = Client(_CLIENT, ("0.0.0.0", chain.port), options)
        self.request = head
        self.method = head.method
        self.path = head.target
        self.protocol = b"HTTP/1.1"
        self.status = 0
        self.flags = self.details = self.termination_details = self.transport_failure = ""
        self.bytes_received = self.bytes_sent = 0
        self.started_wall = self.started_at = self.responded_at = self.finished_at = 0.0
        self.upstream_host = self.upstream_local_address = ""
        self.upstream_cluster = destination.cluster_name
        self.request_id = _REQUEST_ID if options.request_id else b""
        self.x_forwarded_for = self.trusted_address = b""
        self.attempts = 1
        self.response_pairs = self.request_pairs = None


def upstream_request(routed: Routed, destination: Destination) -> dict[str, Any]:
    """Method, path, authority and fields, and which of them the rule sets and removes."""
    exchange = DryExchange(routed, destination)
    method, target, authority, fields = built_parts(exchange)  # type: ignore[arg-type]  # has what is read of one
    plain = Destination(
        destination.cluster, destination.cluster_name, authority=destination.authority, authority_told=False
    )
    _, _, _, before = built_parts(DryExchange(routed, plain))  # type: ignore[arg-type]  # as above
    return {
        "method": _text(method),
        "path": _text(target),
        "authority": _text(authority),
        "headers_set": [[_text(name), _text(value)] for name, value in _new(fields, before)],
        "headers_removed": sorted({_text(name) for name, _ in before} - {_text(name) for name, _ in fields}),
        "headers": [[_text(name), _text(value)] for name, value in fields],
    }


def _new(fields: list[Pair], before: list[Pair]) -> list[Pair]:
    known = set(before)
    return [pair for pair in fields if pair not in known and pair[0] != b"x-envoy-original-host"]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
