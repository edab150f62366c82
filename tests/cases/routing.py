"""Plays one routing example: backends as recorders, one gateway process, its calls in order."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cases.either_recorder import EitherRecorder
from tests.cases.endpoints import Backend, backends_of, documents_with_endpoints
from tests.cases.golden import CALL_LIMIT_S, SETTLE_S, listener_ports, place_flags
from tests.cases.loading import Call, Case
from tests.cases.routing_check import check_call, repeats
from tests.support.behaviour import render_headers, to_bytes
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess
from tests.support.h2_client import H2Client, H2Request
from tests.support.h2_recorder import AnyVersionRecorder
from tests.support.raw_client import Outcome, RawClient
from tests.support.recorder import Recorder, Seen

SECURE = ("https", "tls")
UPSTREAM_CERTIFICATE = "upstreams"
DEFAULT_LABELS = {"istio": "ingressgateway"}


class RoutingPlay:
    """One example, running. ``async with RoutingPlay.of(case) as play: await play.call(call)``."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self.recorders: dict[Backend, Recorder] = {}
        self.certificates = CertificateFolder(folder / "certs", _certificate_wishes(case))
        self.gateway: GatewayProcess

    @classmethod
    @asynccontextmanager
    async def of(cls, case: Case) -> AsyncIterator[RoutingPlay]:
        """Start recorders and gateway. Raises GatewayError when the gateway does not get ready."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatewayd-case-")))
            play = cls(case, folder)
            for backend in backends_of(case):
                recorder = play._recorder(backend)
                await recorder.start()
                stack.push_async_callback(recorder.close)
                play.recorders[backend] = recorder
            play.gateway = await stack.enter_async_context(play._gateway())
            yield play

    async def call(self, call: Call) -> list[str]:
        """Make one call (as often as its expectation needs) and give what differs."""
        marks = {backend: len(recorder.seen) for backend, recorder in self.recorders.items()}
        async with asyncio.timeout(CALL_LIMIT_S):
            outcomes = [await self._once(call.data) for _ in range(repeats(call))]
            seen = await self._settled(call, marks)
        differences = check_call(call, outcomes, seen)
        for recorder in self.recorders.values():
            differences += [f"the recorder {recorder.name} failed: {error!r}" for error in recorder.errors]
            recorder.errors.clear()
        return differences

    def _recorder(self, backend: Backend) -> Recorder:
        if backend.protocol == "tcp":
            return Recorder(backend.name, "tcp")
        if backend.protocol not in SECURE:
            return AnyVersionRecorder(backend.name)
        context = self.certificates.server_context(UPSTREAM_CERTIFICATE, alpn=["h2", "http/1.1"])
        return EitherRecorder(backend.name, context)

    def _gateway(self) -> GatewayProcess:
        config = self.folder / "config"
        config.mkdir()
        ports = {backend: recorder.port for backend, recorder in self.recorders.items()}
        documents = documents_with_endpoints(self.case, ports) + self._secrets()
        (config / "case.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
        gateway = self.case.data.get("gateway") or {}
        labels = gateway.get("labels") or DEFAULT_LABELS
        flags = ["--labels", ",".join(f"{key}={value}" for key, value in labels.items())]
        flags += ["--namespace", str(gateway.get("namespace", "istio-system")), "--unknown-hosts", "reject"]
        if mesh := self.case.data.get("mesh_config"):
            (self.folder / "mesh.yaml").write_text(mesh if isinstance(mesh, str) else yaml.safe_dump(mesh))
            flags += ["--mesh-config", str(self.folder / "mesh.yaml")]
        return GatewayProcess(
            [config],
            listen=listener_ports(self.case),
            flags=[*flags, *place_flags(self.case)],
            # "The system's roots" of an example that names no other.
            env={"SSL_CERT_FILE": str(self.certificates.certificate(UPSTREAM_CERTIFICATE))}
            if secure_backends(self.case)
            else None,
        )

    def _secrets(self) -> list[dict[str, Any]]:
        documents = []
        for secret in self.case.data.get("secrets") or []:
            name = _certificate_name(secret)
            own = self.certificates.certificate(name)
            # A server that asks for client certificates needs an authority, whoever it may be.
            files = {"tls.crt": own, "tls.key": self.certificates.key(name), "ca.crt": own}
            documents.append(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "type": secret.get("type", "kubernetes.io/tls"),
                    "metadata": {
                        "name": secret["name"],
                        "namespace": secret.get("namespace", "istio-system"),
                    },
                    "data": {
                        key: base64.b64encode(path.read_bytes()).decode() for key, path in files.items()
                    },
                }
            )
        return documents

    async def _once(self, call: Mapping[str, Any]) -> Outcome:
        secure, http2 = call["protocol"] in SECURE, str(call.get("http_version", "1.1")) == "2"
        context = self.certificates.client_context(alpn=["h2"] if http2 else ()) if secure else None
        port, sni = self.gateway.port(call["port"]), call.get("sni") or call.get("host")
        if http2:
            return await H2Client(port, tls=context, sni=sni).http(h2_request(call))
        client = RawClient(port, tls=context, sni=sni)
        if call["protocol"] == "tcp":
            return await client.tcp(b"hello")
        if call["protocol"] == "tls":  # whatever it ends at, a request is something to answer
            return await client.tcp(request_bytes(call))
        return await client.http(request_bytes(call))

    async def _settled(self, call: Call, marks: Mapping[Backend, int]) -> dict[Backend, list[Seen]]:
        routed = call.data["expect"]["kind"] in ("route", "distribution", "sticky")
        deadline = time.monotonic() + (SETTLE_S if routed else 0)
        while True:
            seen = {backend: recorder.seen[marks[backend] :] for backend, recorder in self.recorders.items()}
            entries = [entry for group in seen.values() for entry in group]
            if time.monotonic() >= deadline or (entries and all(entry.settled for entry in entries)):
                return seen
            await asyncio.sleep(0.005)


def request_bytes(call: Mapping[str, Any]) -> bytes:
    """The request of an example call; Host first, then its headers."""
    line = f"{call.get('method', 'GET')} {call.get('path', '/')} HTTP/1.1\r\n"
    headers = [("host", str(call.get("host", "")))]
    headers += [(str(name), str(value)) for name, value in (call.get("headers") or {}).items()]
    body = to_bytes(str(call.get("body") or ""))
    if body:
        headers.append(("content-length", str(len(body))))
    return to_bytes(line) + render_headers(headers) + body


def h2_request(call: Mapping[str, Any]) -> H2Request:
    """The same over HTTP/2."""
    return H2Request(
        str(call.get("path", "/")),
        call.get("method", "GET"),
        str(call.get("host", "")),
        "https" if call["protocol"] in SECURE else "http",
        [(str(name).lower(), str(value)) for name, value in (call.get("headers") or {}).items()],
        to_bytes(str(call.get("body") or "")),
    )


def _certificate_name(secret: Mapping[str, Any]) -> str:
    return f"{secret.get('namespace', 'istio-system')}-{secret['name']}"


def secure_backends(case: Case) -> list[str]:
    """Hosts of the upstreams that speak TLS."""
    return [backend.host for backend in backends_of(case) if backend.protocol in SECURE]


def _certificate_wishes(case: Case) -> dict[str, CertificateWish]:
    wishes = {
        _certificate_name(secret): CertificateWish(cn=str(secret["name"]), sans=secret.get("hosts") or ())
        for secret in case.data.get("secrets") or []
    }
    if hosts := secure_backends(case):
        wishes[UPSTREAM_CERTIFICATE] = CertificateWish("upstreams", list(dict.fromkeys(hosts)), is_ca=True)
    return wishes
