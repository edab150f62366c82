"""The real process, once, with what only a process shows: its log and its memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.bare_sockets import Net
from tests.support.gateway_process import GatewayProcess
from tests.support.in_process import request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: default}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - route: [{destination: {host: up.test}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: up, namespace: default}
spec:
  hosts: [up.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: PORT}}]
"""


def _folder(tmp_path: Path, port: int) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("PORT", str(port)))
    return tmp_path


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_requests_of_all_kinds_pass_and_are_logged(tmp_path: Path, loop: str) -> None:
    data = request("HEAD", "/a") + request(path="/b") + request("POST", "/c", b"hello")
    data += request("PUT", "/d", headers=["transfer-encoding: chunked"]) + b"2\r\nhi\r\n0\r\n\r\n"
    async with (
        Recorder("alpha") as alpha,
        GatewayProcess([_folder(tmp_path, alpha.port)], listen=[80], flags=["--loop", loop]) as gateway,
    ):
        outcome = await RawClient(gateway.port(80)).http(data, responses=4)
        assert [response.status for response in outcome.responses] == [200] * 4
        assert [(seen.path, seen.body) for seen in alpha.seen] == [
            ("/a", b""),
            ("/b", b""),
            ("/c", b"hello"),
            ("/d", b"hi"),
        ]
        records = await gateway.log_records(4)
        assert [record["path"] for record in records] == ["/a", "/b", "/c", "/d"]
        assert [record["bytes_received"] for record in records] == [0, 0, 5, 2]


async def test_an_upload_to_a_slow_upstream_costs_no_memory(tmp_path: Path) -> None:
    """Issue figure: an upload to an upstream that reads slowly grows the process by at most 8 MiB."""
    size = 256 * 1024 * 1024
    with Net(receive_buffer=4096) as net:
        async with GatewayProcess([_folder(tmp_path, net.port)], listen=[80]) as gateway:
            port = gateway.port(80)
            loop = asyncio.get_running_loop()
            warm = await net.connect(port)
            warm.send(request("POST", headers=["content-length: 5"]) + b"hello")
            await (await net.accept()).receive(b"hello")
            warm.reset()
            await asyncio.sleep(0.05)
            memory = _rss(gateway.pid)
            client = await net.connect(port)
            client.send(request("POST", headers=[f"content-length: {size}"]))
            sending = asyncio.ensure_future(loop.sock_sendall(client.socket, b"x" * size))
            upstream = await net.accept()
            for _ in range(40):
                await loop.sock_recv(upstream.socket, 4096)
                await asyncio.sleep(0.01)
            assert not sending.done()
            assert _rss(gateway.pid) - memory < 8 * 1024 * 1024
            sending.cancel()
            client.reset()
            await gateway.log_records(1)
            assert gateway.exit_code is None


def _rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError
