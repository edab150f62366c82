"""Connection pool limits as the real Envoy enforces them (semantics 8.3)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.differential.crowd import Crowd, CrowdPair
from tests.differential.envoy import DEFAULT_RETRY, cluster, route
from tests.differential.pair import Request, service

_UNLIMITED = 4294967295


@dataclass(frozen=True)
class Case:
    """Limits of a cluster, 0 for none; ``name`` is the first segment of its paths."""

    name: str
    connections: int = 0
    pending: int = 0
    requests: int = 0
    retries: int = 0
    per_connection: int = 0
    budget: tuple[float, int] | None = None
    #: of the budget, in seconds
    interval: float = 0.0

    def rule(self) -> str:
        """Its DestinationRule."""
        budget = ""
        if self.budget is not None:
            within = f", budgetInterval: {self.interval}s" if self.interval else ""
            budget = f"\n    retryBudget: {{percent: {self.budget[0]}, minRetryConcurrency: {self.budget[1]}{within}}}"
        return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {self.name}, namespace: default}}
spec:
  host: {self.name}.test
  trafficPolicy:
    connectionPool:
      tcp: {{maxConnections: {self.connections}}}
      http:
        http1MaxPendingRequests: {self.pending}
        http2MaxRequests: {self.requests}
        maxRetries: {self.retries}
        maxRequestsPerConnection: {self.per_connection}{budget}
"""

    def cluster(self, port: int) -> dict[str, Any]:
        """What istiod makes of it (semantics 8.3.1)."""
        limits: dict[str, Any] = {
            "max_connections": self.connections or _UNLIMITED,
            "max_pending_requests": self.pending or _UNLIMITED,
            "max_requests": self.requests or _UNLIMITED,
            "max_retries": self.retries or _UNLIMITED,
        }
        if self.budget is not None:
            limits["retry_budget"] = {
                "budget_percent": {"value": self.budget[0]},
                "min_retry_concurrency": self.budget[1],
                **({"budget_interval": f"{self.interval}s"} if self.interval else {}),
            }
        fields: dict[str, Any] = {"circuit_breakers": {"thresholds": [limits]}}
        if self.per_connection:
            fields["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "common_http_protocol_options": {"max_requests_per_connection": self.per_connection},
                    "explicit_http_config": {"http_protocol_options": {}},
                }
            }
        return cluster(self.name, [port], **fields)

    def crowd(self, draw: random.Random) -> Crowd:
        """One whose outcome does not depend on who is faster."""
        held = min(limit for limit in (self.connections, self.requests, 4) if limit)
        first, more = held, draw.randrange(1, 7)
        if self.connections and self.connections <= (self.requests or self.connections):
            early = max(0, more - self.pending) if self.pending else 0
        else:
            early = more  # each gets a connection, and finds that it may not be sent
        return Crowd(f"/{self.name}/", first, more, early)


CASES = [
    Case("conn1", connections=1),
    Case("conn3", connections=3),
    Case("one-one", connections=1, pending=1),
    Case("two-one", connections=2, pending=1),
    Case("two-three", connections=2, pending=3),
    Case("once", connections=2, pending=2, per_connection=1),
    Case("few", connections=1, pending=3, per_connection=2),
    Case("rq1", requests=1),
    Case("rq3", requests=3),
    Case("rq2-pend", requests=2, pending=8),
    Case("tight", connections=1, requests=1),
    Case("tight-pend", connections=2, pending=2, requests=2),
    Case("wide", connections=2, pending=1, requests=3),
]
RETRYING = [
    Case("retry1", retries=1),
    Case("retry2", retries=2),
    Case("budget", budget=(0.0, 1)),
    Case("budget3", budget=(10.0, 3)),
]


def rules(cases: list[Case]) -> str:
    return "".join(
        f"""
  - match: [{{uri: {{prefix: /{case.name}/}}}}]
    retries: {{attempts: 3, retryOn: 5xx, backoff: 1ms}}
    route: [{{destination: {{host: {case.name}.test}}}}]"""
        for case in cases
    )


def both(cases: list[Case]) -> Any:
    """For Pair: Envoy's configuration, and our documents."""
    policy = {
        **DEFAULT_RETRY,
        "retry_on": "5xx",
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.001s"},
    }

    def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        (port,) = ports.values()
        routes = [route(f"/{case.name}/", case.name, action={"retry_policy": policy}) for case in cases]
        return routes, [case.cluster(port) for case in cases], []

    def more(ports: dict[str, int]) -> str:
        return "---".join(
            text
            for case in cases
            for text in (service(f"{case.name}.test", list(ports.values())), case.rule())
        )

    return envoy, more


@pytest.mark.parametrize("seed", [1, 2])
async def test_8_3_who_waits_who_is_sent_and_who_overflows(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    envoy, more = both(CASES)
    async with CrowdPair(tmp_path, ["up"], rules(CASES), envoy, more) as pair:
        for case in CASES:
            for _ in range(4):
                await pair.same_crowd(case.crowd(draw))
        await pair.same_log_counts()


async def test_8_3_6_retries_over_the_limit_leave_the_answer_as_it_is(tmp_path: Path) -> None:
    envoy, more = both(RETRYING)
    async with CrowdPair(tmp_path, ["up"], rules(RETRYING), envoy, more) as pair:
        for case in RETRYING:
            room = case.retries or (case.budget[1] if case.budget is not None else 0)
            for count in (room + 1, room + 3, room):
                answers = await pair.same_crowd(Crowd(f"/{case.name}/", count, retried=room))
                assert sum(answers.values()) == count
        await pair.same_log_counts()


async def test_8_3_10_a_retry_budget_with_an_interval_counts_what_began_within_it(tmp_path: Path) -> None:
    long, short = (
        Case("long", budget=(20.0, 1), interval=600.0),
        Case("short", budget=(20.0, 1), interval=1.0),
    )
    envoy, more = both([long, short])
    async with CrowdPair(tmp_path, ["up"], rules([long, short]), envoy, more) as pair:
        for case in (long, short):
            for number in range(20):
                await pair.same(Request(f"/{case.name}/{number}"))
        # 20 and those of the crowd; with each retry there is one more. One retry would be 20 % of the 8 in progress.
        await pair.same_crowd(Crowd("/long/", 8, retried=6))
        await pair.same_crowd(Crowd("/long/", 10, retried=10))
        await asyncio.sleep(1.2)
        await pair.same_crowd(Crowd("/short/", 4, retried=1))
        await asyncio.sleep(1.2)
        await pair.same_crowd(Crowd("/short/", 10, retried=2))


async def test_8_3_5_connections_end_after_so_many_requests(tmp_path: Path) -> None:
    cases = [Case("ever"), Case("once", per_connection=1), Case("thrice", per_connection=3)]
    envoy, more = both(cases)
    async with CrowdPair(tmp_path, ["up"], rules(cases), envoy, more) as pair:
        for case, each in zip(cases, (100, 1, 3), strict=True):
            begun = []
            for number in range(12):
                before = pair.upstream.connections
                await pair.same(Request(f"/{case.name}/{number}"))
                begun.append(pair.upstream.connections - before)
            # of each of the two programs
            assert begun == [2 if number % each == 0 else 0 for number in range(12)], case
