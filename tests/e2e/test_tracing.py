"""Client, gatewayd, upstream, collector: the spans of a request form one tree with those of whom it calls."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.collectors import Got, GrpcCollector, otlp_spans, zipkin_spans
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

SITE = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: default}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {prefix: /copied}}]
    route: [{destination: {host: up.test}}]
    mirror: {host: copy.test}
  - match: [{uri: {prefix: /operations}}]
    headers: {request: {set: {x-trace: "%REQ(traceparent)%"}}}
    route: [{destination: {host: up.test}}]
  - route: [{destination: {host: up.test}}]
    retries: {attempts: 2, retryOn: 5xx}
"""
TRACE, SPAN = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
#: every request, and a collector at ADDRESS
ALWAYS = "defaultConfig: {tracing: {sampling: 100, customTags: {stage: {literal: {value: test}}}}}\n"
WAIT_S = 30.0


async def until(condition: Callable[[], Any], what: str = "") -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def request(path: str = "/", *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: a.test", *fields, "", ""]).encode()


def gateway(folder: Path, up: int, mesh: str, *flags: str, copy: int = 1, **more: Any) -> GatewayProcess:
    """gatewayd in front of an upstream; ``mesh``: its mesh configuration."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "all.yaml").write_text(SITE)
    (folder / "mesh.config").write_text(mesh)
    pins = ["--endpoint", f"up.test=127.0.0.1:{up}", "--endpoint", f"copy.test=127.0.0.1:{copy}"]
    words = [*pins, "--mesh-config", str(folder / "mesh.config"), *flags]
    return GatewayProcess([site], listen=[80], hosts=["127.0.0.1"], flags=words, **more)


def parts(recorder: Recorder) -> list[list[str]]:
    """The parts of each traceparent that came."""
    return [value.split("-") for seen in recorder.seen for value in seen.values("traceparent")]


def check_tree(spans: Sequence[Got], calls: Sequence[Sequence[str]]) -> None:
    """A server's span with the client as its parent, and a child of it for each call the upstream saw."""
    *attempts, server = spans
    assert (server.kind, server.trace, server.parent) == ("SERVER", TRACE, SPAN)
    assert [(each.kind, each.trace, each.parent) for each in attempts] == [
        ("CLIENT", TRACE, server.id) for _ in calls
    ]
    assert [[each.trace, each.id] for each in attempts] == [call[1:3] for call in calls]
    assert all(each.attributes["stage"] == "test" for each in spans)
    assert {each.service for each in spans} == {"gatewayd.istio-system"}


async def test_over_grpc_with_a_retry(tmp_path: Path) -> None:
    with GrpcCollector() as collector:
        async with Recorder("up") as up:
            up.play([{"status": 503}, {"status": 200}])
            async with gateway(tmp_path, up.port, ALWAYS, "--otlp", f"127.0.0.1:{collector.port}") as ours:
                asked = request("/", f"traceparent: 00-{TRACE}-{SPAN}-01", "tracestate: a=1")
                answer = await RawClient(ours.port(80)).http(asked)
                assert answer.responses[0].status == 200
                await until(lambda: len(collector.spans) >= 3, ours.stderr_text())
                (record,) = await ours.log_records(1)
    check_tree(collector.spans, parts(up))
    first, second, server = collector.spans
    assert [first.attributes["http.status_code"], second.attributes["http.status_code"]] == ["503", "200"]
    assert [first.error, second.error, server.error] == [True, False, False]
    assert second.attributes["retry.count"] == "1"
    assert server.state == "a=1"
    assert server.name == "up.test:80/*"
    assert server.attributes["istio.namespace"] == "istio-system"
    assert server.attributes["node_id"].startswith("router~")
    # the access log names the same
    assert (record["trace_id"], record["span_id"]) == (server.trace, server.id)
    assert server.attributes["guid:x-request-id"] == record["request_id"]


async def test_over_http_to_a_provider_of_the_mesh(tmp_path: Path) -> None:
    mesh = ALWAYS + (
        "defaultProviders: {tracing: [otel]}\n"
        "extensionProviders: [{name: otel, opentelemetry: {service: otel.test, port: 4318, http: "
        "{path: /in/v1/traces, timeout: 5s, headers: [{name: x-token, value: secret}]}}}]\n"
    )
    async with Recorder("up") as up, Recorder("collector") as collector:
        pin = ("--endpoint", f"otel.test=127.0.0.1:{collector.port}")
        async with gateway(tmp_path, up.port, mesh, *pin) as ours:
            await RawClient(ours.port(80)).http(request("/", f"traceparent: 00-{TRACE}-{SPAN}-01"))
            await until(lambda: len(otlp_spans(collector.seen)) >= 2, ours.stderr_text())
    check_tree(otlp_spans(collector.seen), parts(up))
    (sent,) = collector.seen
    assert (sent.path, sent.values("x-token"), sent.values("host")) == (
        "/in/v1/traces", ["secret"], ["otel.test"],
    )  # fmt: skip


async def test_to_zipkin_in_b3(tmp_path: Path) -> None:
    async with Recorder("up") as up, Recorder("collector") as collector:
        collector.play({"status": 202})
        mesh = (
            "defaultConfig: {tracing: {sampling: 100, customTags: {stage: {literal: {value: test}}}, "
            f"zipkin: {{address: '127.0.0.1:{collector.port}'}}}}}}\n"
        )
        async with gateway(tmp_path, up.port, mesh) as ours:
            fields = (f"x-b3-traceid: {TRACE}", f"x-b3-spanid: {SPAN}", "x-b3-sampled: 1")
            await RawClient(ours.port(80)).http(request("/", *fields))
            await until(lambda: len(zipkin_spans(collector.seen)) >= 2, ours.stderr_text())
    attempt, server = zipkin_spans(collector.seen)
    assert (server.trace, server.parent) == (TRACE, SPAN)
    (seen,) = up.seen
    assert seen.values("x-b3-spanid") == [attempt.id]
    assert seen.values("x-b3-parentspanid") == [server.id] == [attempt.parent]
    assert collector.seen[0].path == "/api/v2/spans"


async def test_copies_are_called_by_the_same_request(tmp_path: Path) -> None:
    async with Recorder("up") as up, Recorder("copy") as copy, Recorder("collector") as collector:
        otlp = ("--otlp", f"http://127.0.0.1:{collector.port}")
        async with gateway(tmp_path, up.port, ALWAYS, *otlp, copy=copy.port) as ours:
            await RawClient(ours.port(80)).http(request("/copied"))
            await until(lambda: copy.seen and otlp_spans(collector.seen), ours.stderr_text())
    attempt, server = otlp_spans(collector.seen)
    assert parts(up) == [["00", server.trace, attempt.id, "01"]]
    assert parts(copy) == [["00", server.trace, server.id, "01"]]


async def test_header_operations_see_what_is_sent(tmp_path: Path) -> None:
    async with Recorder("up") as up, Recorder("collector") as collector:
        otlp = ("--otlp", f"http://127.0.0.1:{collector.port}")
        async with gateway(tmp_path, up.port, ALWAYS, *otlp) as ours:
            await RawClient(ours.port(80)).http(request("/operations"))
    (seen,) = up.seen
    assert seen.values("x-trace") == seen.values("traceparent")


async def test_a_collector_that_is_not_there_costs_spans_and_nothing_else(tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    async with (
        Recorder("up") as up,
        gateway(tmp_path, up.port, ALWAYS, "--otlp", "http://127.0.0.1:1", env=env) as ours,
    ):
        for _ in range(3):
            answer = await RawClient(ours.port(80)).http(request())
            assert answer.responses[0].status == 200
        await until(lambda: "spans do not reach http://127.0.0.1:1" in ours.stderr_text())
        metrics = await RawClient(ours.metrics_port).http(
            b"GET /stats/prometheus HTTP/1.1\r\nhost: x\r\n\r\n"
        )
        text = metrics.responses[0].body.decode()
        assert re.search(r'gatewayd_spans_total\{result="failed"\} [1-9]', text)
        assert ours.stderr_text().count("spans do not reach") == 1
        assert await ours.stop() == 0


async def test_a_reload_takes_another_collector(tmp_path: Path) -> None:
    async with Recorder("up") as up, Recorder("one") as one, Recorder("two") as two:

        def mesh(collector: Recorder) -> str:
            return f"defaultConfig: {{tracing: {{sampling: 100, zipkin: {{address: '127.0.0.1:{collector.port}'}}}}}}\n"

        async with gateway(tmp_path, up.port, mesh(one)) as ours:
            await RawClient(ours.port(80)).http(request("/one"))
            await until(lambda: zipkin_spans(one.seen))
            (tmp_path / "mesh.config").write_text(mesh(two))
            ours.signal(signal.SIGHUP)
            await until(lambda: "reload 1" in ours.stderr_text())
            await RawClient(ours.port(80)).http(request("/two"))
            await until(lambda: zipkin_spans(two.seen), ours.stderr_text())
    assert len(zipkin_spans(one.seen)) == 2


@pytest.mark.parametrize("mesh", ["", "enableTracing: false\n"])
async def test_without_a_collector_fields_go_on_as_they_are(tmp_path: Path, mesh: str) -> None:
    async with Recorder("up") as up, gateway(tmp_path, up.port, mesh) as ours:
        fields = (f"traceparent: 00-{TRACE}-{SPAN}-01", "tracestate: a=1", "b3: 1", f"x-b3-traceid: {TRACE}")
        await RawClient(ours.port(80)).http(request("/", *fields))
        (record,) = await ours.log_records(1)
    (seen,) = up.seen
    told = {f"{name}: {value}" for name, value in seen.headers}
    assert told >= set(fields)
    assert "trace_id" not in record
