"""Two workers behind one port: limits, failures and load are those of both (semantics 8.3, 9.1, 9.8)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.support.gateway_process import GatewayProcess
from tests.support.in_process import request
from tests.support.raw_client import Outcome, RawClient
from tests.support.recorder import Recorder

_SITE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 80, name: http, protocol: HTTP}}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all, namespace: shop}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - route: [{{destination: {{host: up.test, port: {{number: 80}}}}}}]
    retries: {{attempts: 0}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: up, namespace: shop}}
spec:
  hosts: [up.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: up, namespace: shop}}
spec:
  host: up.test
  trafficPolicy: {policy}
"""
CLIENTS = 40
WORKERS = ("--workers", "2")


def site(folder: Path, policy: str, *ports: int) -> Path:
    endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
    (folder / "site.yaml").write_text(_SITE.format(policy=policy, endpoints=endpoints))
    return folder


async def test_8_3_4_a_limit_of_requests_holds_for_both(tmp_path: Path) -> None:
    """Or is passed by one, if both look in the same moment."""
    async with Recorder("alpha") as alpha:
        alpha.play({"hang": True})
        folder = site(tmp_path, "{connectionPool: {http: {http2MaxRequests: 4}}}", alpha.port)
        async with GatewayProcess([folder], listen=[80], flags=WORKERS) as gateway:
            port = gateway.port(80)
            asked = [asyncio.ensure_future(RawClient(port).http(request())) for _ in range(CLIENTS)]
            await most_are_refused(asked)
            assert 4 <= len(alpha.seen) <= 5
        await asyncio.wait(asked)


async def test_9_8_failures_seen_by_either_eject_for_both(tmp_path: Path) -> None:
    async with Recorder("alpha") as alpha, Recorder("beta") as beta:
        alpha.play({"status": 500})
        policy = (
            "{outlierDetection: {consecutive5xxErrors: 5, maxEjectionPercent: 50, baseEjectionTime: 60s}}"
        )
        folder = site(tmp_path, policy, alpha.port, beta.port)
        async with GatewayProcess([folder], listen=[80], flags=WORKERS) as gateway:
            port = gateway.port(80)
            statuses = []
            for _ in range(CLIENTS):
                outcome = await RawClient(port).http(request(), observe_s=0.0)
                statuses.append(outcome.response.status)
            assert statuses.count(500) == 5


async def test_what_a_killed_worker_had_under_way_is_free_again(tmp_path: Path) -> None:
    async with Recorder("alpha") as alpha:
        alpha.play({"hang": True})
        folder = site(tmp_path, "{connectionPool: {http: {http2MaxRequests: 4}}}", alpha.port)
        async with GatewayProcess([folder], listen=[80], flags=WORKERS) as gateway:
            port = gateway.port(80)
            hanging = [asyncio.ensure_future(RawClient(port).http(request())) for _ in range(CLIENTS)]
            await most_are_refused(hanging)
            for worker in children(gateway.pid):
                os.kill(worker, signal.SIGKILL)
            await asyncio.wait(hanging)
            alpha.play()
            while True:  # until workers are back
                outcome = await RawClient(port).http(request())
                if outcome.responses and outcome.response.status == 200:
                    break
            statuses = await asyncio.gather(*(RawClient(port).http(request()) for _ in range(4)))
            assert {outcome.response.status for outcome in statuses} == {200}


async def most_are_refused(asked: list[asyncio.Task[Outcome]]) -> None:
    """Wait until 503 was the answer to all but five."""
    refused = 0
    for done in asyncio.as_completed(asked):
        refused += (await done).response.status == 503
        if refused == len(asked) - 5:
            return


def children(pid: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
