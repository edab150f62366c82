"""Passive health as the real Envoy judges it (semantics 9.8 to 9.12)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.differential.envoy import cluster, route
from tests.differential.pair import Pair, Request, Told, service
from tests.support.ports import PortReservation

#: What an upstream does with a request.
ANSWERS: list[dict[str, Any]] = [
    {"status": 200},
    {"status": 404},
    {"status": 500},
    {"status": 500},
    {"status": 502},
    {"status": 503},
    {"status": 503},
    {"status": 504},
    {"close": "before_headers"},
    {"reset": "before_headers"},
    {"status": 200, "headers": [("grpc-status", "14")]},
    {"status": 200, "headers": [("grpc-status", "2")]},
    {"raw": b"HTTP/1.1 200 OK\r\nbroken"},
]
_OUT = b"no healthy upstream"


@dataclass(frozen=True)
class Case:
    """One ``outlierDetection``; None leaves a field out."""

    name: str
    consecutive_5xx: int | None = None
    gateway: int | None = None
    local: int | None = None
    percent: int | None = 100

    def written(self) -> dict[str, Any]:
        """The block."""
        out: dict[str, Any] = {"interval": "300s", "baseEjectionTime": "300s"}
        if self.consecutive_5xx is not None:
            out["consecutive5xxErrors"] = self.consecutive_5xx
        if self.gateway is not None:
            out["consecutiveGatewayErrors"] = self.gateway
        if self.local is not None:
            out |= {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": self.local}
        if self.percent is not None:
            out["maxEjectionPercent"] = self.percent
        return out

    def rule(self) -> str:
        """Its DestinationRule."""
        return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {self.name}, namespace: default}}
spec:
  host: {self.name}.test
  trafficPolicy:
    loadBalancer: {{simple: ROUND_ROBIN}}
    outlierDetection: {self.written()}
"""

    def cluster(self, ports: list[int]) -> dict[str, Any]:
        """What istiod makes of it (semantics 9.8, 9.9)."""
        out: dict[str, Any] = {"interval": "300s", "base_ejection_time": "300s", "enforcing_success_rate": 0}
        for value, count, enforcing in (
            (self.consecutive_5xx, "consecutive_5xx", "enforcing_consecutive_5xx"),
            (self.gateway, "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"),
        ):
            if value is not None:
                out |= {count: value, enforcing: 100 if value else 0}
        if self.local is not None:
            out |= {
                "split_external_local_origin_errors": True,
                "consecutive_local_origin_failure": self.local,
                "enforcing_consecutive_local_origin_failure": 100,
                "enforcing_local_origin_success_rate": 0,
            }
        if self.percent is not None:
            out["max_ejection_percent"] = self.percent
        # Envoy gathers changes of health for a second; without it the next request sees them.
        at_once = {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"}
        return cluster(
            self.name, ports, lb_policy="ROUND_ROBIN", outlier_detection=out, common_lb_config=at_once
        )


def rules(cases: list[Case]) -> str:
    return "".join(
        f"""
  - match: [{{uri: {{prefix: /{case.name}/}}}}]
    retries: {{attempts: 0}}
    route: [{{destination: {{host: {case.name}.test}}}}]"""
        for case in cases
    )


def both(cases: list[Case], dead: int = 0) -> Any:
    """For Pair; ``dead`` is a port where nobody listens, in place of the upstreams."""

    def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        where = [dead] if dead else list(ports.values())
        routes = []
        for case in cases:
            routes.append(route(f"/{case.name}/", case.name))
            del routes[-1]["route"]["retry_policy"]
        return routes, [case.cluster(where) for case in cases], []

    def more(ports: dict[str, int]) -> str:
        where = [dead] if dead else list(ports.values())
        return "---".join(
            text for case in cases for text in (service(f"{case.name}.test", where), case.rule())
        )

    return envoy, more


class OutlierPair(Pair):
    """A pair that lets Envoy's main thread carry an ejection out before the next request."""

    async def same_settled(self, request: Request, case: Case) -> Told:
        """As ``same``; then Envoy's ejections are in force."""
        told = await self.same(request)
        await self.ejected(case)
        return told

    async def served_by(self, port: int, request: Request) -> str:
        """The upstream that one of the two asks; "" for none."""
        self._count += 1
        await self._tell(port, request, f"case-{self._count}")
        return "".join(name for name, recorder in self.recorders.items() if recorder.seen)

    async def ejected(self, case: Case) -> int:
        """How many endpoints Envoy has ejected."""
        stats = await self.envoy.statistics(f"cluster.{case.name}.outlier_detection.")
        return stats["ejections_active"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_9_8_to_9_11_when_the_only_endpoint_is_ejected(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    cases = [
        Case(
            f"p{number}",
            draw.choice([None, 0, 1, 2, 3, 4]),
            draw.choice([None, None, 0, 1, 2, 3]),
            draw.choice([None, None, 1, 2, 3]),
            draw.choice([100, 100, 100, None, 50]),
        )
        for number in range(16)
    ]
    envoy, more = both(cases)
    out = 0
    async with OutlierPair(tmp_path, ["up"], rules(cases), envoy, more) as pair:
        for case in cases:
            liked = draw.sample(ANSWERS, 4)  # few, so that rows happen
            for number in range(12):
                answer = draw.choice(liked)
                grpc = [("content-type", "application/grpc")] if draw.random() < 0.5 else []
                request = Request(f"/{case.name}/{number}", headers=grpc, script=[answer])
                told = await pair.same_settled(request, case)
                if told.body == _OUT:
                    out += 1
                    break
        await pair.same_logs()
    assert 3 <= out <= 14, "some are ejected, and some are not"


@pytest.mark.parametrize("split", [False, True])
async def test_9_11_connections_that_are_refused_count(split: bool, tmp_path: Path) -> None:
    dead = PortReservation()
    try:
        await refused(split, dead.port, tmp_path)
    finally:
        dead.release()


async def refused(split: bool, dead: int, tmp_path: Path) -> None:
    cases = [Case("r1", 1, None, 2 if split else None), Case("r3", 3, None, 3 if split else None)]
    envoy, more = both(cases, dead=dead)
    async with OutlierPair(tmp_path, ["up"], rules(cases), envoy, more) as pair:
        for case in cases:
            bodies = [
                (await pair.same_settled(Request(f"/{case.name}/{number}"), case)).body for number in range(5)
            ]
            allowed = (case.local if split else case.consecutive_5xx) or 0
            assert [body == _OUT for body in bodies] == [False] * allowed + [True] * (5 - allowed)


async def test_9_10_and_9_12_of_four_that_fail_only_so_many_are_ejected(tmp_path: Path) -> None:
    expected = {None: 0, 24: 0, 25: 1, 60: 2, 99: 3, 100: 4}
    cases = {percent: Case(f"at{percent}", 2, percent=percent) for percent in expected}
    envoy, more = both(list(cases.values()))
    names = ["one", "two", "three", "four"]
    async with OutlierPair(tmp_path, names, rules(list(cases.values())), envoy, more) as pair:
        for percent, case in cases.items():
            used = []
            for port in (pair.envoy.port, pair.gatewayd.port(80)):
                for number in range(16):
                    await pair.served_by(port, Request(f"/{case.name}/{number}", script=[{"status": 500}]))
                    await pair.ejected(case)
                served = {await pair.served_by(port, Request(f"/{case.name}/{n}")) for n in range(8)}
                used.append(len(served - {""}))
            assert await pair.ejected(case) == expected[percent], case
            assert used == [4 - expected[percent]] * 2, case
