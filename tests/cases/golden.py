"""Plays one case of the golden format: its upstreams, one gateway process, its calls in order."""

from __future__ import annotations

import asyncio
import base64
import random
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cases.calls import h2_request, numbered, pieces, request_bytes, with_cookie
from tests.cases.golden_check import check_call
from tests.cases.golden_repeat import check_repeat
from tests.cases.loading import Call, Case
from tests.cases.observed import Observed
from tests.cases.port_plan import PortPlan
from tests.support.behaviour import to_bytes
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import LOG_S, GatewayProcess
from tests.support.h2_client import H2Client
from tests.support.h2_recorder import H2Recorder
from tests.support.raw_client import TCP_IDLE_S, Outcome, RawClient
from tests.support.recorder import Recorder, Seen

LABELS = "istio=ingressgateway,app=istio-ingressgateway"
# How long an expected request may take to reach its upstream after the client is done.
SETTLE_S = 20.0
TIMEOUT_S = 30.0  # for calls that name none: only a call that fails reaches it
NO_LOG_S = 0.1  # how long a line that must not come is waited for
CALL_LIMIT_S = 60.0


class GoldenPlay:
    """One case, running. ``async with GoldenPlay.of(case) as play: await play.call(call)``."""

    def __init__(self, case: Case, plan: PortPlan, folder: Path) -> None:
        self.case = case
        self.plan = plan
        self.folder = folder
        self.recorders: dict[str, Recorder] = {}
        self.gateway: GatewayProcess
        self.certificates: CertificateFolder | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, case: Case) -> AsyncIterator[GoldenPlay]:
        """Start recorders and gateway. Raises GatewayError when the gateway does not get ready."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatewayd-case-")))
            plan = PortPlan(case.data.get("upstreams") or [])
            stack.callback(plan.release)
            play = cls(case, plan, folder)
            play._make_certificates()
            await play._start_recorders(stack)
            play.gateway = await stack.enter_async_context(play._gateway())
            yield play

    async def call(self, call: Call) -> list[str]:
        """Make one call and give what differs from its expectation; empty when nothing does."""
        behaviours = call.data.get("behaviour") or {}
        for name, recorder in self.recorders.items():
            recorder.play(behaviours.get(name) or {})
        marks = {name: len(recorder.seen) for name, recorder in self.recorders.items()}
        await asyncio.sleep(float(call.data.get("pause_ms", 0)) / 1000)
        async with asyncio.timeout(CALL_LIMIT_S):
            if "repeat" in call.data:
                outcomes = await self._repeat(call)
            else:
                outcomes = [await self._once(call.data)]
            observed = Observed(
                outcomes, await self._settled(call, marks), listener_ports=self._listener_ports()
            )
            observed.log = await self._log(call)
        check = check_repeat if "repeat" in call.data else check_call
        differences = check(self.case, call, observed, self.plan)
        for recorder in self.recorders.values():
            differences += [f"the recorder {recorder.name} failed: {error!r}" for error in recorder.errors]
            recorder.errors.clear()
        return differences

    # Starting

    def _make_certificates(self) -> None:
        wishes = {
            name: CertificateWish(**words) for name, words in (self.case.data.get("certs") or {}).items()
        }
        if wishes:
            self.certificates = CertificateFolder(self.folder / "certs", wishes)

    async def _start_recorders(self, stack: AsyncExitStack) -> None:
        sockets = {port: held.take() for port, held in self.plan.reservations.items()}
        for upstream in self.case.data.get("upstreams") or []:
            sock = sockets[int(upstream["port"])].pop(0)
            if upstream["kind"] == "dead":  # bound, never listening, so refused
                stack.callback(sock.close)
                continue
            recorder = self._recorder(upstream)
            await recorder.start(sock=sock)
            stack.push_async_callback(recorder.close)
            self.recorders[recorder.name] = recorder

    def _recorder(self, upstream: Mapping[str, Any]) -> Recorder:
        name, kind = upstream["name"], upstream["kind"]
        context = None
        if kind in ("https", "h2s") and self.certificates is not None:
            alpn = upstream.get("alpn") or (["h2"] if kind == "h2s" else [])
            context = self.certificates.server_context(
                upstream["cert"], alpn=alpn, client_ca=upstream.get("client_ca")
            )
        return H2Recorder(name, context) if kind in ("h2c", "h2s") else Recorder(name, kind, context)

    def _gateway(self) -> GatewayProcess:
        config = self.folder / "config"
        config.mkdir()
        certificates = str(self.folder / "certs")
        text = self.plan.in_config(self.case.config).replace("${CERTS}", certificates)
        (config / "case.yaml").write_text("\n---\n".join([text, *map(yaml.safe_dump, self._secrets())]))
        flags = ["--labels", LABELS, "--namespace", "istio-system", "--unknown-hosts", "reject"]
        mesh = dict(self.case.data.get("mesh_config") or {})
        if proxy := self.case.data.get("proxy_config"):
            mesh["defaultConfig"] = {**(mesh.get("defaultConfig") or {}), **proxy}
        if mesh:
            text = yaml.safe_dump(mesh).replace("${CERTS}", certificates)
            (self.folder / "mesh.yaml").write_text(text)
            flags += ["--mesh-config", str(self.folder / "mesh.yaml")]
        return GatewayProcess(
            [config], listen=listener_ports(self.case), flags=[*flags, *place_flags(self.case)]
        )

    def _secrets(self) -> list[dict[str, Any]]:
        documents = []
        for secret in self.case.data.get("secrets") or []:
            data = {
                key: base64.b64encode(self._secret_value(value)).decode()
                for key, value in secret["data"].items()
            }
            metadata = {"name": secret["name"], "namespace": secret.get("namespace", "istio-system")}
            documents.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        return documents

    def _secret_value(self, value: str) -> bytes:
        kind, _, name = value.partition(":")
        if self.certificates is None or kind not in ("cert", "key"):
            return to_bytes(value)
        return (
            self.certificates.certificate(name) if kind == "cert" else self.certificates.key(name)
        ).read_bytes()

    # Calling

    async def _once(self, call: Mapping[str, Any]) -> Outcome:
        tls = call.get("tls")
        context = None
        if tls is not None:
            folder = self.certificates or CertificateFolder(self.folder / "certs", {})
            context = folder.client_context(
                client_cert=tls.get("client_cert"),
                trust=tls.get("trust"),
                alpn=tls.get("alpn") or (),
                versions=(tls.get("min"), tls.get("max")),
                ciphers=tls.get("ciphers"),
            )
        port, sni = self.gateway.port(call["port"]), (tls or {}).get("sni")
        timeout_s = call.get("timeout", TIMEOUT_S)
        if call["protocol"] == "http2":
            return await self._http2(call, H2Client(port, tls=context, sni=sni, timeout_s=timeout_s))
        client = RawClient(port, tls=context, sni=sni, timeout_s=timeout_s)
        if call["protocol"] == "tcp":
            return await client.tcp(
                to_bytes(call.get("data") or call.get("raw") or ""),
                pieces=pieces(call),
                half_close=bool(call.get("half_close")),
                wait_first=bool(call.get("wait_first")),
                idle_s=call.get("idle", TCP_IDLE_S),
                closes=_closes(call["expect"].get("client")),
            )
        return await client.http(
            request_bytes(call),
            pieces=pieces(call),
            responses=call.get("responses", 1),
            tunnel=to_bytes(call["tunnel"]) if "tunnel" in call else None,
            observe_s=0 if "repeat" in call else 0.06,
            closes=_closes(call["expect"].get("client")),
        )

    async def _http2(self, call: Mapping[str, Any], client: H2Client) -> Outcome:
        """Its request, or its several at once, whose responses then stand in the order of the requests."""
        several = [{**call, "request": each} for each in call.get("requests") or ()]
        outcomes = await client.together([h2_request(each) for each in several or [call]])
        first, *others = outcomes
        first.responses += [response for other in others for response in other.responses]
        return first

    async def _repeat(self, call: Call) -> list[Outcome]:
        variants = [numbered(call.data, number) for number in range(call.data["repeat"])]
        if call.data.get("parallel"):
            return list(await asyncio.gather(*map(self._once, variants)))
        outcomes: list[Outcome] = []
        cookie: str | None = None
        for variant in variants:
            if outcomes and (gap_ms := call.data.get("gap_ms")):
                await asyncio.sleep(gap_ms / 1000)
            if cookie is not None:
                variant = with_cookie(variant, cookie)
            outcomes.append(await self._once(variant))
            if call.data.get("keep_cookies") and cookie is None and outcomes[-1].responses:
                cookies = outcomes[-1].response.values("set-cookie")
                cookie = cookies[0].split(";")[0] if cookies else None
        return outcomes

    # Gathering

    async def _settled(self, call: Call, marks: Mapping[str, int]) -> dict[str, list[Seen]]:
        """What reached each upstream since ``marks``, once as many as expected are there and complete."""
        expected: dict[str, int] = dict(
            (call.data["expect"].get("distribution") or {}).get("by_upstream") or {}
        )
        for entry in call.data["expect"].get("upstream") or []:
            expected[entry["upstream"]] = expected.get(entry["upstream"], 0) + 1
        total = sum(expected.values())
        deadline = time.monotonic() + SETTLE_S
        while True:
            seen = {name: recorder.seen[marks[name] :] for name, recorder in self.recorders.items()}
            complete = all(entry.settled for entries in seen.values() for entry in entries)
            if (complete and sum(map(len, seen.values())) >= total) or time.monotonic() > deadline:
                return seen
            await asyncio.sleep(0.005)

    async def _log(self, call: Call) -> list[dict[str, Any]]:
        if "repeat" in call.data:
            return await self.gateway.log_records(call.data["repeat"], LOG_S)
        expected = len(call.data["expect"].get("log") or [])
        return await self.gateway.log_records(expected or 1, LOG_S if expected else NO_LOG_S)

    def _listener_ports(self) -> dict[str, str]:
        return {str(self.gateway.port(number)): str(number) for number in listener_ports(self.case)}


def _closes(client: Any) -> bool:
    """Whether the peer is expected to end the connection after its last response."""
    return isinstance(client, Mapping) and client.get("after") == "closed"


def listener_ports(case: Case) -> list[int]:
    """Ports to map: those of the calls, of Gateway servers and of Ingress.

    A server behind a Service that changes its number is met on the other number: then the server's own
    must stay out of the map, where it would decide. The same holds when a call names a port no server has.
    """
    called = {int(call.data["port"]) for call in case.calls}
    opened, changed = set(), set()
    for document in case.documents():
        opened |= {int(server["port"]["number"]) for server in _servers(document) if "port" in server}
        if document.get("kind") == "Ingress":
            opened |= {80, 443}
        elif document.get("kind") in ("Service", "ServiceEntry"):
            ports = (document.get("spec") or {}).get("ports") or []
            changed |= {
                port.get("port", port.get("number")) for port in ports if port.get("targetPort") in called
            }
    return sorted(called if called - opened else called | (opened - changed))


def place_flags(case: Case) -> list[str]:
    """Where ports that are not mapped go, and servers without a bind: high up, and on the loopback.

    Servers that name an address themselves would clash with a bind for the others.
    """
    binds = [server.get("bind") for document in case.documents() for server in _servers(document)]
    # Several gateways run at once, and not only here: each has an offset of its own.
    return [
        "--port-offset",
        str(random.randrange(10_000, 11_900)),
        *([] if any(binds) else ["--bind", "127.0.0.1"]),
    ]


def _servers(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    if document.get("kind") != "Gateway":
        return []
    return (document.get("spec") or {}).get("servers") or []
