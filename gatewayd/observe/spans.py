"""Spans of sampled exchanges, named and described as Envoy does: one of the server, one for each attempt.

Made once per sampled exchange, when it has ended. Values are text, all of them: Envoy's tags are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from gatewayd.observe.formatter import compile_format
from gatewayd.observe.operators import OPERATORS, remote_address
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.observe.trace import Attempt, SampledTrace

SERVER: Final = "SERVER"
CLIENT: Final = "CLIENT"
#: The name of a server's span where no route has one.
_NAMELESS: Final = "ingress"
_MAX_TAG_BYTES: Final = 8192

Reader = Callable[[StreamInfo], bytes | None]
Tag = tuple[str, Callable[[StreamInfo], str | None]]


class Span(NamedTuple):
    """One span. Ids are hexadecimal; times are seconds since 1970."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: str  # SERVER or CLIENT
    began: float
    ended: float
    attributes: Mapping[str, str]
    error: bool
    state: str = ""


class SpanMaker:
    """Makes the spans of an exchange. ``node_id`` names this proxy; ``tags`` are on every span."""

    def __init__(self, node_id: str, tags: Mapping[str, str] | None = None) -> None:
        self._node_id = node_id
        self._tags = dict(tags or {})

    def __call__(self, info: StreamInfo, trace: SampledTrace) -> list[Span]:
        """The spans of a sampled exchange that has ended, attempts first."""
        own = dict(self._tags)
        for name, read in _compiled(trace.options.tags):
            value = read(info)
            if value is not None:
                own[name] = value
        request, response = _grpc(info, trace)
        state = trace.context.state.decode("latin-1") if trace.context is not None else ""
        spans = [
            _attempt_span(info, trace, attempt, number, own, state, grpc=bool(request))
            for number, attempt in enumerate(trace.attempts)
        ]
        attributes = self._server(info, trace) | request | _common(info) | own | response
        spans.append(
            Span(
                trace.trace_id,
                trace.span_id,
                trace.parent_id,
                _operation(info),
                SERVER,
                info.started_wall,
                info.started_wall + info.finished_at - info.started_at,
                attributes,
                info.status >= 500 or not info.status,
                state,
            )
        )
        return spans

    def _server(self, info: StreamInfo, trace: SampledTrace) -> dict[str, str]:
        request = info.request
        assert request is not None  # what was not read is not traced
        path = info.path[: trace.options.max_path_length]
        url = b"%b://%b%b" % (request.scheme, request.authority, path)
        agent = request.fields.get(b"user-agent")
        return {
            "node_id": self._node_id,
            "zone": "",
            "guid:x-request-id": _shown(info.request_id) or "-",
            "http.url": _shown(url),
            "http.method": _shown(info.method),
            "downstream_cluster": "-",  # a client's word for itself is never believed (semantics 14.3.2)
            "user_agent": _shown(agent) if agent else "-",
            "http.protocol": _shown(info.protocol),
            "peer.address": _without_port(remote_address(info)),
            "request_size": str(info.bytes_received),
            "response_size": str(info.bytes_sent),
        }


def _operation(info: StreamInfo) -> str:
    decorator = getattr(info.route, "decorator", b"")
    return _shown(decorator) if decorator else _NAMELESS


def _common(info: StreamInfo) -> dict[str, str]:
    found = {
        "component": "proxy",
        "http.status_code": str(info.status),
        "response_flags": info.flags or "-",
    }
    if info.upstream_cluster:
        found["upstream_cluster"] = found["upstream_cluster.name"] = info.upstream_cluster
    if info.status >= 500 or not info.status:
        found["error"] = "true"
    return found


def _attempt_span(
    info: StreamInfo,
    trace: SampledTrace,
    attempt: Attempt,
    number: int,
    own: dict[str, str],
    state: str,
    *,
    grpc: bool,
) -> Span:
    found = {
        "http.protocol": "HTTP/1.1" if attempt.connected else "-",
        "upstream_address": attempt.endpoint,
        "peer.address": attempt.endpoint,
        "component": "proxy",
        "upstream_cluster": info.upstream_cluster,
        "upstream_cluster.name": info.upstream_cluster,
        "http.status_code": str(attempt.status),
        "response_flags": "-",
    }
    if number:
        found["retry.count"] = str(number)
    if attempt.status >= 500 or not attempt.status:
        found["error"] = "true"
    if attempt.canceled:
        found["canceled"] = "true"
    failure = attempt.failure
    if failure is not None:
        found["response_flags"] = failure.flag
        if failure.reset_reason:
            found["error.reason"] = failure.reset_reason.decode()
    status = attempt.grpc_status if grpc else None
    if status:
        found["grpc.status_code"] = _shown(status)
    shift = info.started_wall - info.started_at
    return Span(
        trace.trace_id,
        attempt.id,
        trace.span_id,
        f"router {info.upstream_cluster} egress",
        CLIENT,
        attempt.began + shift,
        (attempt.ended or info.finished_at) + shift,
        found | own,
        attempt.status >= 400 or status not in (None, b"", b"0"),
        state,
    )


def _grpc(info: StreamInfo, trace: SampledTrace) -> tuple[dict[str, str], dict[str, str]]:
    """What is said besides of a gRPC request, and of its answer."""
    request = info.request
    kind = request.fields.get(b"content-type") if request is not None else None
    if request is None or kind is None or not kind.startswith(b"application/grpc"):
        return {}, {}
    asked = {
        "grpc.path": _shown(info.path),
        "grpc.authority": _shown(request.authority),
        "grpc.content_type": _shown(kind),
    }
    last = trace.attempt
    status = last.grpc_status if last is not None else None
    return asked, {"grpc.status_code": _shown(status)} if status else {}


@lru_cache(maxsize=64)
def _compiled(tags: tuple[tuple[str, str, str, str], ...]) -> tuple[Tag, ...]:
    """MeshConfig's ``customTags`` as readers."""
    return tuple((name, _tag(kind, what, default)) for name, kind, what, default in tags)


def _tag(kind: str, what: str, default: str) -> Callable[[StreamInfo], str | None]:
    if kind == "literal":
        return lambda info: what
    if kind == "format":
        text = compile_format(what)
        if isinstance(text, bytes):
            return lambda info: _shown(text)
        return lambda info: _shown(text(info)) or None
    if kind == "environment":
        value = os.environ.get(what) or default
        return lambda info: value or None
    read: Reader = OPERATORS["REQ"](what)
    return lambda info: _shown(found) if (found := read(info)) else default or None


def _shown(value: bytes) -> str:
    return value[:_MAX_TAG_BYTES].decode("utf-8", "backslashreplace")


def _without_port(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
