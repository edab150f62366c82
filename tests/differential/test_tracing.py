"""Traces beside the real Envoy: which fields go upstream, which requests are sampled, what spans say.

Ids are compared by what they are (the client's, or new ones, and whose child), not by their digits.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gatewayd.http.options import B3, B3_W3C, W3C, HttpOptions, TraceOptions
from gatewayd.observe.spans import Span, SpanMaker
from gatewayd.observe.trace import SampledTrace, trace_of
from gatewayd.routing.route import RetryPolicy
from tests.differential.envoy import DEFAULT_RETRY, EnvoyProcess, cluster, route
from tests.support.h1_text import Headers
from tests.support.in_process import InProcess, forward
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder, Seen

CLUSTER: Final = "outbound|80||a.test"
_ANY: Final = "type.googleapis.com/envoy.config.trace.v3."
_TOLD: Final = re.compile(r"traceparent|tracestate|b3|x-b3-.*|x-request-id|x-client-trace-id").fullmatch
_HEX: Final = re.compile(r"[0-9a-fA-F]{16,32}")
_FLUSH_S: Final = 30.0
_MORE: Final = 3

# --- what clients send

TRACE, SPAN = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
OTHER, PARENT = "80f198ee56343ba864fe8b2a57d3eff7", "05e3ac9a4f6e3b90"


def w3c(flags: str = "01", *, version: str = "00", trace: str = TRACE, span: str = SPAN) -> Headers:
    return [("traceparent", f"{version}-{trace}-{span}-{flags}")]


def b3(
    sampled: str | None = "1", *, trace: str = TRACE, span: str = SPAN, parent: str | None = None
) -> Headers:
    fields = [("x-b3-traceid", trace), ("x-b3-spanid", span)]
    if parent is not None:
        fields.append(("x-b3-parentspanid", parent))
    if sampled is not None:
        fields.append(("x-b3-sampled", sampled))
    return fields


def single(*parts: str) -> Headers:
    return [("b3", "-".join(parts))]


ASKED: Final[Headers] = [("x-client-trace-id", "abc")]
CASES: Final[dict[str, Headers]] = {
    "nothing": [],
    "own request id": [("x-request-id", "11111111-2222-4333-8444-555555555555")],
    "client asks": ASKED,
    "client asks for a trace that is not sampled": [*ASKED, *w3c("00")],
    "force is for insiders": [("x-envoy-force-trace", "true")],
    # W3C
    "w3c sampled": [*w3c(), ("tracestate", "a=1,b=2")],
    "w3c not sampled": [*w3c("00"), ("tracestate", "a=1")],
    "w3c more flags": w3c("03"),
    "w3c all flags": w3c("ff"),
    "w3c flags unread": w3c("xx"),
    "w3c nonsense": [("traceparent", "00-xyz-1-01"), ("tracestate", "a=1")],
    "w3c empty": [("traceparent", "")],
    "w3c no trace": w3c(trace="0" * 32),
    "w3c no span": w3c(span="0" * 16),
    "w3c version 01": w3c(version="01"),
    "w3c version 01 with more": [("traceparent", f"01-{TRACE}-{SPAN}-01-more")],
    "w3c version ff": w3c(version="ff"),
    "w3c upper case": w3c(trace=TRACE.upper(), span=SPAN.upper()),
    "w3c twice": [*w3c(), *w3c("00", trace=OTHER)],
    "w3c state alone": [("tracestate", "a=1")],
    "w3c state twice": [*w3c(), ("tracestate", "a=1"), ("tracestate", "b=2")],
    "w3c state empty": [*w3c(), ("tracestate", "")],
    # B3, several fields
    "b3 sampled": b3(parent=PARENT),
    "b3 not sampled": b3("0"),
    "b3 undecided": b3(None),
    "b3 flags": [*b3(None), ("x-b3-flags", "1")],
    "b3 true": b3("true"),
    "b3 false": b3("false"),
    "b3 unknown decision": b3("d"),
    "b3 decision alone, no": [("x-b3-sampled", "0")],
    "b3 decision alone, yes": [("x-b3-sampled", "1")],
    "b3 trace alone": [("x-b3-traceid", TRACE), ("x-b3-sampled", "1")],
    "b3 span alone": [("x-b3-spanid", SPAN)],
    "b3 parent alone": [("x-b3-parentspanid", SPAN)],
    "b3 64 bits": b3(trace=TRACE[16:]),
    "b3 short ids": b3(trace="abc", span="def"),
    "b3 odd length": b3(trace="0123456789abcdef0123"),
    "b3 upper case": b3(trace=TRACE.upper(), span=SPAN.upper()),
    "b3 nonsense": b3(trace="zz"),
    "b3 parent nonsense": b3(parent="zz"),
    "b3 twice": [*b3(), ("x-b3-traceid", OTHER)],
    # B3, one field
    "single sampled with parent": single(OTHER, SPAN, "1", PARENT),
    "single sampled": single(OTHER, SPAN, "1"),
    "single not sampled": single(OTHER, SPAN, "0"),
    "single undecided": single(OTHER, SPAN),
    "single debug": single(OTHER, SPAN, "d"),
    "single 64 bits": single(OTHER[:16], SPAN, "1"),
    "single upper case": single(OTHER.upper(), SPAN.upper(), "1"),
    "single no alone": single("0"),
    "single yes alone": single("1"),
    "single debug alone": single("d"),
    "single short": single("abc", "def", "1"),
    "single unknown decision": single(OTHER, SPAN, "true"),
    "single parent nonsense": single(OTHER, SPAN, "1", "zz"),
    "single parent without decision": single(OTHER, SPAN, PARENT),
    "single more": single(OTHER, SPAN, "1", PARENT, "x"),
    "single nonsense": single("nonsense"),
    "single empty": single(""),
    "single twice": [*single(TRACE, SPAN, "0"), *single(OTHER, SPAN, "1")],
    "single beside several": [*single(TRACE, SPAN, "0"), *b3(trace=OTHER)],
    "no beside ids": [*single("0"), *b3()],
    # both
    "both kinds": [*w3c(trace=OTHER), *b3("0")],
}


def request(fields: Headers, path: str = "/", *, body: bytes = b"") -> bytes:
    method = "POST" if body else "GET"
    lines = [f"{method} {path} HTTP/1.1", "host: a.test", "user-agent: test"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def told(seen: Seen, sent: Headers) -> list[tuple[str, str]]:
    """What a request says of its trace: ids of the client as they are, new ones numbered as they come."""
    known = {found.lower() for _, value in sent for found in _HEX.findall(value)}
    new: dict[str, str] = {}

    def shown(found: re.Match[str]) -> str:
        text = found[0]
        return text if text.lower() in known else new.setdefault(text, f"<{len(text)} digits, {len(new)}>")

    fields = []
    for name, value in sorted((name.lower(), value) for name, value in seen.headers):
        if name == "x-request-id":
            fields.append((name, f"{value[14]} of {len(value)}"))
        elif _TOLD(name):
            fields.append((name, _HEX.sub(shown, value)))
    return fields


# --- the two programs


def tracer(propagation: str) -> dict[str, Any]:
    if propagation == W3C:
        uri = {"uri": "http://collector/v1/traces", "cluster": "collector", "timeout": "1s"}
        config: dict[str, Any] = {
            "@type": _ANY + "OpenTelemetryConfig",
            "service_name": "edge",
            "http_service": {"http_uri": uri},
        }
        return {"name": "envoy.tracers.opentelemetry", "typed_config": config}
    config = {
        "@type": _ANY + "ZipkinConfig",
        "collector_cluster": "collector",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
        "trace_id_128bit": True,
        "shared_span_context": False,
        "trace_context_option": "USE_B3" if propagation == B3 else "USE_B3_WITH_W3C_PROPAGATION",
    }
    return {"name": "envoy.tracers.zipkin", "typed_config": config}


def manager(propagation: str, percent: float, **more: Any) -> dict[str, Any]:
    """What istiod gives a gateway."""
    tracing = {
        "client_sampling": {"value": 100.0},
        "overall_sampling": {"value": 100.0},
        "random_sampling": {"value": percent},
        **more,
    }
    if propagation:
        tracing |= {"provider": tracer(propagation), "spawn_upstream_span": True}
    return {"tracing": tracing}


@pytest.mark.parametrize(
    ("propagation", "percent"),
    [(W3C, 100), (W3C, 0), (B3, 100), (B3, 0), (B3_W3C, 100), (B3_W3C, 0), ("", 100), ("", 0)],
)
async def test_what_upstreams_are_told(propagation: str, percent: int) -> None:
    options = HttpOptions(tracing=TraceOptions(percent * 100, propagation))
    different = []
    async with (
        Recorder("up") as up,
        Recorder("collector") as collector,
        InProcess([up.port], options=options) as ours,
    ):
        clusters = [cluster(CLUSTER, [up.port]), cluster("collector", [collector.port])]
        async with EnvoyProcess(
            [route("/", CLUSTER)], clusters, manager=manager(propagation, percent)
        ) as envoy:
            for name, fields in CASES.items():
                if not propagation and ASKED[0] in fields:
                    continue  # what chance says is then all that an id tells (docs/tracing.md)
                seen = {}
                for who, port in (("Envoy", envoy.port), ("gatewayd", ours.port)):
                    up.seen.clear()
                    await RawClient(port).http(request(fields), observe_s=0.0)
                    seen[who] = told(up.seen[0], fields)
                if seen["Envoy"] != seen["gatewayd"]:
                    different.append(f"{name}:\n  Envoy:    {seen['Envoy']}\n  gatewayd: {seen['gatewayd']}")
    assert not different, "\n".join(different)


# --- spans

RETRY: Final[dict[str, Any]] = {
    **DEFAULT_RETRY,
    "retry_on": "5xx",
    "retry_back_off": {"base_interval": "0.001s"},
}
TAGS: Final = (
    ("env", "environment", "HOME", ""),
    ("field", "header", "x-field", "none"),
    ("literal", "literal", "text", ""),
    ("missing", "header", "x-missing", ""),
)
ENVOY_TAGS: Final = [
    {"tag": "env", "environment": {"name": "HOME"}},
    {"tag": "field", "request_header": {"name": "x-field", "default_value": "none"}},
    {"tag": "literal", "literal": {"value": "text"}},
    {"tag": "missing", "request_header": {"name": "x-missing"}},
]
GRPC: Final[Headers] = [("content-type", "application/grpc")]


@dataclass(frozen=True)
class Story:
    """One request, and what its upstream does with it and its retries."""

    path: str = "/"
    fields: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    script: Sequence[Mapping[str, Any]] = ()
    #: there is an upstream
    served: bool = True


STORIES: Final[dict[str, Story]] = {
    "answered": Story("/items?x=1", [("x-field", "here")]),
    "with a body": Story("/", body=b"hello"),
    "a long path": Story("/" + "x" * 400),
    "part of a trace": Story("/", [*w3c(), ("tracestate", "a=1")]),
    "not found": Story(script=[{"status": 404}]),
    "failed": Story(script=[{"status": 503}] * 3),
    "failed once": Story(script=[{"status": 503}, {"status": 200}]),
    "too slow": Story(script=[{"hang": True}]),
    "closed": Story(script=[{"close": "before_headers"}] * 3),
    "gRPC": Story("/pkg.Service/Method", GRPC, script=[{"headers": [["grpc-status", "0"]]}]),
    "gRPC failed": Story("/pkg.Service/Method", GRPC, script=[{"headers": [["grpc-status", "5"]]}]),
    "refused": Story(served=False),
}
#: Different on any two runs, or say which program it was.
_NOISE: Final = frozenset({"node_id", "guid:x-request-id"})
_ADDRESSES: Final = frozenset({"upstream_address", "peer.address"})


Shown = dict[str, Any]


def tree(spans: Sequence[Shown]) -> list[Shown]:
    """Spans in order, ids as numbers, noise taken out."""
    ids = {span["id"]: str(number) for number, span in enumerate(spans)}
    made = []
    for span in spans:
        attributes = {
            name: re.sub(r":\d+", ":port", value) if name in _ADDRESSES else value
            for name, value in span["attributes"].items()
            if name not in _NOISE
        }
        parent = span["parent"]
        made.append(
            span | {"id": ids[span["id"]], "parent": ids.get(parent, parent), "attributes": attributes}
        )
    return made


def of_envoy(body: bytes) -> list[Shown]:
    """The spans of an OTLP request."""
    message = ExportTraceServiceRequest()
    message.ParseFromString(body)
    found = []
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {each.key: each.value.string_value for each in span.attributes}
                found.append(
                    {
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "kind": MessageToDict(span)["kind"].removeprefix("SPAN_KIND_"),
                        "error": span.status.code == span.status.STATUS_CODE_ERROR,
                        "state": span.trace_state,
                        "attributes": attributes,
                    }
                )
    return found


def of_ours(span: Span) -> Shown:
    return {
        "trace": span.trace_id.decode(),
        "id": span.span_id.decode(),
        "parent": span.parent_id.decode(),
        "name": span.name,
        "kind": span.kind,
        "error": span.error,
        "state": span.state,
        "attributes": dict(span.attributes),
    }


async def until(condition: Any) -> None:
    deadline = time.monotonic() + _FLUSH_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_what_spans_say() -> None:
    retry = RetryPolicy(2, frozenset({"5xx"}), base_interval_s=0.001)
    options = HttpOptions(tracing=TraceOptions(10_000, W3C, tags=TAGS))
    operation = {"operation": "a.test:80/*"}
    own: list[Shown] = []
    different = []
    async with Recorder("up") as up, Recorder("collector") as collector:
        served = InProcess([up.port], options=options, route=lambda c: forward(c, retry=retry, timeout_s=0.3))
        refused = InProcess([1], options=options, route=lambda c: forward(c, retry=retry, timeout_s=0.3))
        action = {"retry_policy": RETRY, "timeout": "0.3s"}
        async with served, refused:
            make = SpanMaker("test")

            def take(info: Any) -> None:
                trace = trace_of(info)
                assert isinstance(trace, SampledTrace)
                own.extend(of_ours(span) for span in make(info, trace))

            served.proxy.spans = refused.proxy.spans = take
            tracing = manager(W3C, 100, custom_tags=ENVOY_TAGS)
            for ours, port in ((served, up.port), (refused, 1)):
                clusters = [cluster(CLUSTER, [port]), cluster("collector", [collector.port])]
                routes = [route("/", CLUSTER, action=action, decorator=operation)]
                stories = {name: story for name, story in STORIES.items() if story.served is (ours is served)}
                collector.seen.clear()
                own.clear()
                async with EnvoyProcess(routes, clusters, manager=tracing) as envoy:
                    for story in stories.values():
                        for program in (envoy.port, ours.port):
                            up.play(story.script)
                            await RawClient(program).http(
                                request(list(story.fields), story.path, body=story.body), observe_s=0.0
                            )
                    for _ in range(_MORE):  # it sends five spans at once, else what it has every five seconds
                        await RawClient(envoy.port).http(request([]), observe_s=0.0)
                    await until(lambda: len(own) and len(theirs(collector)) >= len(own))
                by_trace = [grouped(spans)[: len(stories)] for spans in (theirs(collector), own)]
                for name, envoys, gatewayds in zip(stories, *by_trace, strict=True):
                    if envoys != gatewayds:
                        different.append(told_apart(name, envoys, gatewayds))
    assert not different, "\n".join(different)


def theirs(collector: Recorder) -> list[Shown]:
    return [span for seen in collector.seen if seen.settled for span in of_envoy(seen.body)]


def grouped(spans: Sequence[Shown]) -> list[list[Shown]]:
    """The trees of all requests, in the order in which they ended. A client may name the same trace again."""
    trees: list[list[Shown]] = []
    open_ones: list[Shown] = []
    for span in spans:
        open_ones.append(span)
        if span["kind"] == "SERVER":
            made = tree(open_ones)
            for each in made:
                each["trace"] = each["trace"] if each["trace"] == TRACE else "new"
            trees.append(made)
            open_ones = []
    return trees


def told_apart(name: str, envoys: list[Shown], gatewayds: list[Shown]) -> str:
    lines = [f"{name}: {len(envoys)} spans of Envoy, {len(gatewayds)} of gatewayd"]
    for one, other in zip(envoys, gatewayds, strict=False):
        for key in one.keys() - {"attributes"}:
            if one[key] != other[key]:
                lines.append(f"  {one['name']} {key}: {one[key]!r}, {other[key]!r}")
        for key in sorted(one["attributes"].keys() | other["attributes"].keys()):
            pair = one["attributes"].get(key), other["attributes"].get(key)
            if pair[0] != pair[1]:
                lines.append(f"  {one['name']} [{key}]: {pair[0]!r}, {pair[1]!r}")
    return "\n".join(lines)
