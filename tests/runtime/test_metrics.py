"""Metrics of a real process: the numbers are those its clients counted (semantics 18)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from grpc.aio import AioRpcError
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.exit_codes import EXIT_CANNOT_BIND
from tests.admin.asking import Port
from tests.runtime.running import GATEWAY, Running, client, configuration, get, running, serve, slow_upstream
from tests.support.front import rules, service
from tests.support.grpc_peers import EchoClient, EchoServer
from tests.support.h2_client import H2Client, H2Request
from tests.tls.material import leaf, write_pair

DOCUMENTS = (
    GATEWAY,
    """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: ["shop.test"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 200, body: {string: hello}}
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - route: [{destination: {host: backend.test, port: {number: 80}}}]
""",
)
METRICS = ("--metrics", "127.0.0.1:0")


class Scrape:
    def __init__(self, text: str) -> None:
        assert list(text_string_to_metric_families(text)), "with its types"
        # Without them: the parser makes one of `envoy_cluster_upstream_rq` and `..._rq_total`, which Envoy has both.
        untyped = "".join(line for line in text.splitlines(True) if not line.startswith("# TYPE"))
        self.samples = [each for family in text_string_to_metric_families(untyped) for each in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the series of that name whose labels are such; there must be one."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no {name} with {labels}"
        return sum(found)


async def metrics_port(gatewayd: Running) -> int:
    return int((await gatewayd.until_said(r"metrics\s+http://127\.0\.0\.1:(\d+)/stats/prometheus"))[1])


async def scrape(port: int) -> Scrape:
    answer = await Port(("127.0.0.1", port)).get("/stats/prometheus")
    assert answer.status == 200
    assert "content-type: text/plain; version=0.0.4" in answer.head
    return Scrape(answer.text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configuration(tmp_path, *DOCUMENTS)


@pytest.mark.parametrize("access_log", ["off", "/dev/null"])
async def test_numbers_are_those_the_client_counted(folder: Path, access_log: str) -> None:
    async with serve(folder, *METRICS, "--access-log", access_log) as gatewayd:
        port, _ = await gatewayd.ready()
        metrics = await metrics_port(gatewayd)
        statuses: Counter[int] = Counter()
        size = 0
        for _ in range(3):
            async with client(port) as connection:
                for path, host in [("/direct", "shop.test")] * 60 + [
                    ("/teapot", "shop.test"),
                    ("/", "no.test"),
                ]:
                    status, _, body = await connection.get(path, host)
                    statuses[status] += 1
                    size += len(body)
        seen = await scrape(metrics)
    assert statuses == {200: 180, 418: 3, 404: 3}
    for status, count in statuses.items():
        assert seen("istio_requests_total", response_code=str(status), reporter="source") == count
    assert seen("istio_request_duration_milliseconds_count") == 186
    assert seen("istio_request_duration_milliseconds_bucket", le="+Inf") == 186
    assert seen("istio_response_bytes_sum") == size
    assert seen("envoy_listener_downstream_cx_total") == 3
    assert seen("gatewayd_config_findings", level="error") == 0
    assert seen("process_resident_memory_bytes") > 10_000_000
    assert seen("process_open_fds") > 5


async def test_requests_under_way_are_counted_stream_by_stream(folder: Path) -> None:
    async with slow_upstream() as slow:
        pin = f"backend.test=127.0.0.1:{slow.port}"
        async with serve(folder, *METRICS, "--endpoint", pin) as gatewayd:
            port, _ = await gatewayd.ready()
            metrics = await metrics_port(gatewayd)
            requests = [H2Request("/slow", authority="shop.test")] * 3
            asking = asyncio.ensure_future(H2Client(port).together(requests))
            await slow.arrived.wait()
            async with asyncio.timeout(30.0):
                while (during := await scrape(metrics))("envoy_http_downstream_rq_active") < 3:
                    pass
            slow.go.set()
            assert [each.response.status for each in await asking] == [200] * 3
    assert during("envoy_http_downstream_cx_active") == 1
    assert during("envoy_http_downstream_rq_active") == 3


async def test_clusters_tell_what_is_under_way_and_what_became_of_connections(folder: Path) -> None:
    cluster = {"cluster_name": "outbound|80||backend.test"}
    async with slow_upstream() as slow:
        pin = f"backend.test=127.0.0.1:{slow.port}"
        async with serve(folder, *METRICS, "--endpoint", pin) as gatewayd:
            port, _ = await gatewayd.ready()
            metrics = await metrics_port(gatewayd)
            async with client(port) as connection:
                connection.send("/slow")
                await slow.arrived.wait()
                during = await scrape(metrics)
                slow.go.set()
                assert (await connection.receive())[0] == 200
            after = await scrape(metrics)
    assert during("envoy_cluster_upstream_rq_active", **cluster) == 1
    assert during("envoy_listener_downstream_cx_active") == 1
    assert during("envoy_cluster_membership_healthy", **cluster) == 1
    assert after("envoy_cluster_upstream_rq_active", **cluster) == 0
    assert after("envoy_cluster_upstream_rq_total", **cluster) == 1
    assert after("envoy_cluster_upstream_cx_total", **cluster) == 1
    assert after("envoy_cluster_upstream_cx_active", **cluster) == 1  # idle, kept
    assert after("istio_requests_total", destination_service="backend.test", response_code="200") == 1


async def test_connections_that_cannot_be_opened_are_counted(folder: Path) -> None:
    async with serve(folder, *METRICS, "--endpoint", "backend.test=127.0.0.1:1") as gatewayd:
        port, _ = await gatewayd.ready()
        metrics = await metrics_port(gatewayd)
        assert (await get(port, "/x"))[0] == 503
        seen = await scrape(metrics)
    failed = seen("envoy_cluster_upstream_cx_connect_fail")
    assert failed >= 1
    assert seen("envoy_cluster_upstream_rq_retry") == failed - 1
    assert seen("istio_requests_total", response_code="503", response_flags="URX,UF") == 1


async def test_a_scrape_beside_load_sees_counters_grow_and_loses_no_request(folder: Path) -> None:
    async with serve(folder, *METRICS) as gatewayd:
        port, _ = await gatewayd.ready()
        metrics = await metrics_port(gatewayd)

        async def load(requests: int) -> int:
            async with client(port) as connection:
                return sum([(await connection.get("/direct"))[2] == b"hello" for _ in range(requests)])

        tasks = [asyncio.ensure_future(load(200)) for _ in range(4)]
        totals: list[float] = []
        while not all(task.done() for task in tasks):
            seen = await scrape(metrics)
            totals.append(sum(s.value for s in seen.samples if s.name == "istio_requests_total"))
        assert [await task for task in tasks] == [200] * 4
        assert totals == sorted(totals)
        assert (await scrape(metrics))("istio_requests_total") == 800


async def test_a_reload_is_counted(folder: Path) -> None:
    async with serve(folder, *METRICS) as gatewayd:
        await gatewayd.ready()
        metrics = await metrics_port(gatewayd)
        (folder / "1.yaml").write_text(DOCUMENTS[1].replace("hello", "goodbye"))
        await gatewayd.until_said(r"reload 1: ")
        seen = await scrape(metrics)
    assert seen("gatewayd_config_reloads_total", result="in_force") == 1


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /metrics HTTP/1.1", 404), ("POST /stats/prometheus HTTP/1.1", 405), ("GET x HTTP/1.1", 400)],
)
async def test_anything_else_is_refused(folder: Path, request_line: str, status: int) -> None:
    async with serve(folder, *METRICS) as gatewayd:
        await gatewayd.ready()
        async with client(await metrics_port(gatewayd)) as connection:
            connection.writer.write(f"{request_line}\r\nhost: x\r\n\r\n".encode())
            assert (await connection.receive())[0] == status


async def test_off_serves_no_metrics(folder: Path) -> None:
    async with serve(folder, "--metrics", "off") as gatewayd:
        port, _ = await gatewayd.ready()
        assert (await get(port, "/direct"))[0] == 200
        assert not re.search("stats/prometheus", gatewayd.said)


async def test_an_address_that_is_taken_is_an_error_that_says_what_to_do(folder: Path) -> None:
    async def nothing(*_: Any) -> None:
        return

    server = await asyncio.start_server(nothing, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    words = ("--port-map", "80=0", "--status", "off", "--bind", "127.0.0.1", "--metrics", address)
    async with server, running("run", folder, *words) as gatewayd:
        assert await gatewayd.ended() == EXIT_CANNOT_BIND
        assert f"metrics port: cannot bind {address}: address already in use: --metrics" in gatewayd.said


async def test_a_certificate_tells_when_it_ends_and_a_failed_handshake_is_counted(tmp_path: Path) -> None:
    issued = leaf("shop.test")
    write_pair(tmp_path, issued)
    secure = GATEWAY.replace("protocol: HTTP", "protocol: HTTPS").replace(
        '    hosts: ["*"]',
        '    hosts: ["*"]\n    tls: {mode: SIMPLE, serverCertificate: FOLDER/tls.crt, privateKey: FOLDER/tls.key}',
    )
    path = tmp_path / "conf.yaml"
    path.write_text(secure.replace("FOLDER", str(tmp_path)) + "---\n" + DOCUMENTS[1])
    async with serve(path, *METRICS) as gatewayd:
        found = await gatewayd.until_said(r"listener\s+https://[\d.]+:(\d+)")
        metrics = await metrics_port(gatewayd)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
        writer.write(b"GET / HTTP/1.1\r\n\r\n" + b"no handshake " * 10)
        await reader.read()
        writer.close()
        seen = await scrape(metrics)
    ends = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes()).not_valid_after_utc
    assert seen("gatewayd_certificate_expiration_unix_time_seconds", role="server") == ends.timestamp()
    assert seen("gatewayd_listener_refused_total") == 1


async def test_18_1_messages_and_statuses_of_grpc(tmp_path: Path) -> None:
    async with EchoServer() as server:
        documents = [
            GATEWAY.replace("protocol: HTTP}", "protocol: GRPC}"),
            rules("- route: [{destination: {host: echo.test}}]"),
            service("echo.test", server.port, protocol="GRPC"),
        ]
        folder = configuration(tmp_path, *(document.removeprefix("---\n") for document in documents))
        async with serve(folder, *METRICS) as gatewayd:
            port, _ = await gatewayd.ready()
            metrics = await metrics_port(gatewayd)
            async with EchoClient(port) as grpc:
                await grpc.unary(b"x" * 100_000)
                many = grpc.server_stream(b"m", metadata=(("x-messages", "5"),))
                assert len([message async for message in many]) == 5
                with pytest.raises(AioRpcError):
                    await grpc.unary(b"", metadata=(("x-fail", "NOT_FOUND:no"),))
            found = await scrape(metrics)
    assert found("istio_requests_total", request_protocol="grpc", grpc_response_status="0") == 2
    assert found("istio_requests_total", request_protocol="grpc", grpc_response_status="5") == 1
    assert found("istio_request_messages_total", request_protocol="grpc") == 3
    assert found("istio_response_messages_total", request_protocol="grpc") == 6
