"""PROXY protocol through the whole process: in (semantics 10.12), out (10.11), and what is told on the way."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess
from tests.support.nginx import Nginx
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
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
  gateways: [istio-system/edge]
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
  endpoints: [ENDPOINT]
"""
OUT = """\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: up, namespace: default}
spec:
  host: up.test
  trafficPolicy: {proxyProtocol: {version: VERSION}}
"""
MESH = "defaultConfig: {gatewayTopology: {proxyProtocol: {}}}\n"

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + struct.pack("!HH", 5555, 443)
)
V6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n"
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

#: What nginx says of the header it got, and of its own connection.
TELL = 'location / { return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $connection"; }'


TLS = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, serverCertificate: CERT, privateKey: KEY}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: default}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
  - route: [{destination: {host: up.test}}]
  tcp:
  - route: [{destination: {host: told.test, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: up, namespace: default}
spec:
  hosts: [up.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [UP]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: told, namespace: default}
spec:
  hosts: [told.test]
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [TOLD]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: told, namespace: default}
spec:
  host: told.test
  trafficPolicy: {proxyProtocol: {version: V2}}
"""


@asynccontextmanager
async def gateway(
    tmp_path: Path, endpoint: str, *, takes: bool = False, gives: str = ""
) -> AsyncIterator[Any]:
    folder = tmp_path / "config"
    folder.mkdir()
    text = CONFIG.replace("ENDPOINT", endpoint) + (OUT.replace("VERSION", gives) if gives else "")
    (folder / "a.yaml").write_text(text)
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text(MESH if takes else "{}\n")
    async with GatewayProcess([folder], listen=[80], flags=["--mesh-config", str(mesh)]) as running:
        yield running


def recorder_at(recorder: Recorder) -> str:
    return f"{{address: 127.0.0.1, ports: {{http: {recorder.port}}}}}"


def nginx_at(nginx: Nginx) -> str:
    return f"{{address: 'unix://{nginx.socket}'}}"


async def test_the_announced_client_is_the_client(tmp_path: Path) -> None:
    """In x-forwarded-for, in x-envoy-external-address, and in the log, however the header is cut."""
    async with Recorder("alpha") as alpha, gateway(tmp_path, recorder_at(alpha), takes=True) as running:
        client = RawClient(running.port(80))
        for data in (V1 + GET, V2 + GET, V6 + GET, LOCAL + GET, b"PROXY UNKNOWN\r\n" + GET):
            assert (await client.http(data)).response.status == 200
        cut = [(0.02, V1[at : at + 9]) for at in range(9, len(V1), 9)]
        assert (await client.http(V1[:9], pieces=[*cut, (0.02, GET)])).response.status == 200
        told = [seen.values("x-forwarded-for") for seen in alpha.seen]
        assert told == [
            ["192.0.2.7"],
            ["192.0.2.7"],
            ["2001:db8::7"],
            ["127.0.0.1"],
            ["127.0.0.1"],
            ["192.0.2.7"],
        ]
        assert alpha.seen[0].values("x-envoy-external-address") == ["192.0.2.7"]
        lines = [json.loads(line) for line in await running.log_lines(6)]
        assert [line["downstream_remote_address"] for line in lines[:3]] == [
            "192.0.2.7:5555",
            "192.0.2.7:5555",
            "[2001:db8::7]:5555",
        ]
        assert lines[0]["downstream_local_address"] == "198.51.100.1:443"
        assert lines[3]["downstream_remote_address"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    "data", [GET, V1.replace(b"TCP4", b"TCP6") + GET, V2.replace(b"\x21\x11", b"\x21\x41") + GET]
)
async def test_a_connection_without_a_good_header_is_closed(tmp_path: Path, data: bytes) -> None:
    async with Recorder("alpha") as alpha, gateway(tmp_path, recorder_at(alpha), takes=True) as running:
        outcome = await RawClient(running.port(80)).http(data)
        assert outcome.outcome in ("closed", "reset")
        assert alpha.seen == []
        (line,) = [json.loads(line) for line in await running.log_lines(1)]
        assert line["response_code_details"] == "proxy_protocol_error"


async def test_curl_can_be_the_proxy_in_front(tmp_path: Path) -> None:
    async with Recorder("alpha") as alpha, gateway(tmp_path, recorder_at(alpha), takes=True) as running:
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-s", "--noproxy", "*", "--haproxy-protocol", f"http://127.0.0.1:{running.port(80)}/"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await curl.communicate()
        assert (curl.returncode, out) == (0, b"alpha")
        assert alpha.seen[0].values("x-forwarded-for") == ["127.0.0.1"]


@pytest.mark.parametrize("version", ["V1", "V2"])
async def test_nginx_behind_is_told_of_the_client(tmp_path: Path, version: str) -> None:
    """One upstream connection per client connection, kept as long as that asks (10.11)."""
    async with (
        Nginx(TELL, "proxy_protocol") as nginx,
        gateway(tmp_path, nginx_at(nginx), gives=version) as running,
    ):
        client = RawClient(running.port(80))
        twice = await client.http(GET + GET, responses=2)
        other = await client.http(GET)
        first, again, third = (
            answer.body.decode().split(" ") for answer in (*twice.responses, other.response)
        )
        assert first == again, "one connection for one client connection"
        assert first[:3] == ["127.0.0.1", str(twice.local_port), "127.0.0.1"]
        assert third[:2] == ["127.0.0.1", str(other.local_port)]
        assert third[3] != first[3], "another for the next"


async def test_what_was_announced_is_passed_on(tmp_path: Path) -> None:
    async with (
        Nginx(TELL, "proxy_protocol") as nginx,
        gateway(tmp_path, nginx_at(nginx), takes=True, gives="V2") as running,
    ):
        client = RawClient(running.port(80))
        assert (await client.http(V1 + GET)).response.body.startswith(b"192.0.2.7 5555 198.51.100.1 ")
        assert (await client.http(V6 + GET)).response.body.startswith(b"2001:db8::7 5555 2001:db8::1 ")


async def test_before_tls_and_before_bytes_too(tmp_path: Path) -> None:
    """10.12: all TCP listeners; 10.11: TCP routes pass the announcement on."""
    certificates = CertificateFolder(
        tmp_path / "certificates", {"a": CertificateWish("a", ["a.test"], key="ec")}
    )
    async with Recorder("alpha") as alpha, Recorder("told", "tcp") as told:
        text = TLS.replace("CERT", str(certificates.certificate("a"))).replace(
            "KEY", str(certificates.key("a"))
        )
        text = text.replace("UP", recorder_at(alpha))
        text = text.replace("TOLD", recorder_at(told).replace("http", "tcp"))
        folder = tmp_path / "config"
        folder.mkdir()
        (folder / "a.yaml").write_text(text)
        mesh = tmp_path / "mesh.yaml"
        mesh.write_text(MESH)
        async with GatewayProcess(
            [folder], listen=[443, 9000], flags=["--mesh-config", str(mesh)]
        ) as running:
            for header, rest in ((V1, []), (V2[:20], [V2[20:]])):
                assert await _https(running.port(443), certificates, header, rest) == b"alpha"
            assert [seen.values("x-forwarded-for") for seen in alpha.seen] == [["192.0.2.7"]] * 2
            assert alpha.seen[0].values("x-forwarded-proto") == ["https"]
            outcome = await RawClient(running.port(9000)).tcp(V1 + b"bytes")
            assert outcome.data == b"told:" + V2 + b"bytes"
            assert told.seen[0].body == V2 + b"bytes"
            assert not (await RawClient(running.port(443)).http(GET)).responses


async def _https(port: int, certificates: CertificateFolder, header: bytes, pieces: list[bytes]) -> bytes:
    """The body of an answer over TLS, on a connection that begins with a PROXY header in pieces."""

    def talk() -> bytes:
        context = certificates.client_context()
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(header)
            for piece in pieces:
                sock.sendall(piece)
            with context.wrap_socket(sock, server_hostname="a.test") as tls:
                tls.sendall(GET)
                return tls.recv(65536).partition(b"\r\n\r\n")[2]

    return await asyncio.to_thread(talk)
