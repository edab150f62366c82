"""gatewayd and Envoy side by side on the same upstreams: the same request to both, the answers compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.differential.envoy import EnvoyProcess
from tests.support.gateway_process import GatewayProcess
from tests.support.h1_text import Headers
from tests.support.raw_client import Outcome, RawClient
from tests.support.recorder import Recorder, Seen

#: Fields that differ between any two runs, or say which program it was.
ANSWER_NOISE: Final = frozenset({"date", "x-envoy-upstream-service-time"})
REQUEST_NOISE: Final = frozenset(
    {
        "x-request-id",
        "x-forwarded-for",  # of a client on the loopback: the address of Envoy's node
        "x-envoy-decorator-operation",  # written by tracing
        "x-envoy-expected-rq-timeout-ms",
    }
)

_COPY_S: Final = 10.0
_POLL_S: Final = 0.002

GATEWAY: Final = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ["*"]}
"""


def service(host: str, ports: Sequence[int]) -> str:
    """A ServiceEntry with an endpoint on the loopback for each port."""
    endpoints = "".join(f"\n  - {{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host.replace(".", "-")}, namespace: default}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:{endpoints}
"""


def virtual_service(rules: str) -> str:
    """A VirtualService for every host with ``rules``, the items of ``http`` indented by two."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: routes, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
{rules}
"""


@dataclass
class Request:
    """One request, and what the upstreams do with it and its retries."""

    path: str
    method: str = "GET"
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    #: behaviours of the upstreams, one per attempt, the last repeating; the same for all of them
    script: Sequence[Mapping[str, Any]] = ()
    #: upstreams that get it without the client waiting for them: it is waited for here
    copied_to: Sequence[str] = ()
    host: str = "a.test"

    def wire(self, case: str) -> bytes:
        """The bytes to send; ``case`` goes into the user-agent, by which log lines are found again."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"host: {self.host}", f"user-agent: {case}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass
class Told:
    """What one program did with one request, noise taken out."""

    outcome: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    attempts: list[tuple[str, str, list[tuple[str, str]], bytes]]


class Pair:
    """Both programs and their upstreams; use ``async with Pair(...) as pair`` and ``await pair.same(request)``.

    upstreams: names; each is a recorder. rules: of the VirtualService. envoy: (routes, clusters, filters) from the
    recorders' ports. more: further documents from the ports.
    """

    #: what its upstreams are
    recorder: type[Recorder] = Recorder

    def __init__(
        self,
        folder: Path,
        upstreams: Sequence[str],
        rules: str,
        envoy: Callable[[dict[str, int]], tuple[list[Any], list[Any], list[Any]]],
        more: Callable[[dict[str, int]], str],
        *,
        any_upstream: bool = True,
    ) -> None:
        self._folder = folder
        self._names = upstreams
        self._rules = rules
        self._make_envoy = envoy
        self._more = more
        #: which of the upstreams serves an attempt is chance, so it is not compared
        self._any_upstream = any_upstream
        self._stack = AsyncExitStack()
        self._count = 0

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        try:
            self.recorders = {name: await enter(self.recorder(name)) for name in self._names}
            ports = {name: recorder.port for name, recorder in self.recorders.items()}
            (self._folder / "all.yaml").write_text(
                "---".join([GATEWAY, virtual_service(self._rules), self._more(ports)])
            )
            routes, clusters, filters = self._make_envoy(ports)
            self.envoy = await enter(EnvoyProcess(routes, clusters, filters=filters))
            self.gatewayd = await enter(GatewayProcess([self._folder], listen=[80]))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def same(self, request: Request) -> Told:
        """Send ``request`` to both; AssertionError unless both did the same. Returns what they did."""
        self._count += 1
        case = f"case-{self._count}"
        envoy = await self._tell(self.envoy.port, request, case)
        ours = await self._tell(self.gatewayd.port(80), request, case)
        assert ours == envoy, f"{case} {request}\n  Envoy:    {envoy}\n  gatewayd: {ours}"
        return ours

    async def _tell(self, port: int, request: Request, case: str) -> Told:
        for recorder in self.recorders.values():
            recorder.seen.clear()
            recorder.play(request.script)
        outcome = await self.send(port, request, case)
        for name in request.copied_to:
            await self._reached(name)
        seen = [one for recorder in self.recorders.values() for one in recorder.seen]
        return self.told(outcome, sorted((self._attempt(one) for one in seen), key=repr))

    async def send(self, port: int, request: Request, case: str) -> Outcome:
        """One request to one of the programs."""
        return await RawClient(port).http(request.wire(case), observe_s=0.0)

    def told(self, outcome: Outcome, attempts: list[Any]) -> Told:
        """What a client and the upstreams saw, noise taken out."""
        if not outcome.responses:
            return Told(outcome.outcome, 0, [], b"", attempts)
        response = outcome.responses[0]
        return Told(
            outcome.outcome,
            response.status,
            sorted(
                (name.lower(), value) for name, value in response.headers if name.lower() not in ANSWER_NOISE
            ),
            self._anonymous(response.body),
            attempts,
        )

    async def _reached(self, name: str) -> None:
        deadline = time.monotonic() + _COPY_S
        recorder = self.recorders[name]
        while not (recorder.seen and recorder.seen[-1].settled):
            assert time.monotonic() < deadline, f"no copy reached {name}"
            await asyncio.sleep(_POLL_S)

    def _attempt(self, seen: Seen) -> tuple[str, str, list[tuple[str, str]], bytes]:
        headers = sorted(
            (name.lower(), value) for name, value in seen.headers if name.lower() not in REQUEST_NOISE
        )
        return ("" if self._any_upstream else seen.upstream), f"{seen.method} {seen.path}", headers, seen.body

    def _anonymous(self, body: bytes) -> bytes:
        return b"<upstream>" if self._any_upstream and body.decode("latin-1") in self.recorders else body

    async def same_logs(self) -> None:
        """Compare what both wrote about every request so far: status, flags, details and bytes."""
        envoy = {record["case"]: record for record in await self.envoy.records(self._count)}
        ours = {record["user_agent"]: record for record in await self.gatewayd.log_records(self._count)}
        assert envoy.keys() == ours.keys()
        for case, theirs in envoy.items():
            own = ours[case]
            for envoys, gatewayds in (
                ("status", "response_code"),
                ("flags", "response_flags"),
                ("details", "response_code_details"),
                ("bytes_received", "bytes_received"),
                ("bytes_sent", "bytes_sent"),
            ):
                assert str(own[gatewayds] or "-") == str(theirs[envoys] or "-"), (
                    case,
                    gatewayds,
                    own,
                    theirs,
                )
