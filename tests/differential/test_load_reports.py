"""Balancing by what endpoints say of their load, as with the real Envoy (semantics 9.19)."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.differential.envoy import cluster, route
from tests.differential.pair import Pair, service
from tests.support.raw_client import RawClient

NAMES = ["e0", "e1", "e2"]
POLICY = (
    "type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3"
    ".ClientSideWeightedRoundRobin"
)
PLAIN = "cpu_utilization:0.5,rps_fractional:10"
NAMED = {"metricNamesForComputingUtilization": ["named_metrics.foo", "mem_utilization", "utilization.*"]}


def text(more: str = PLAIN) -> list[tuple[str, str]]:
    return [("endpoint-load-metrics", f"TEXT {more}")]


def in_json(**fields: Any) -> list[tuple[str, str]]:
    return [("endpoint-load-metrics", "JSON " + json.dumps(fields))]


def message(*doubles: tuple[int, float], tail: bytes = b"") -> str:
    encoded = b"".join(bytes([number << 3 | 1]) + struct.pack("<d", value) for number, value in doubles)
    return base64.b64encode(encoded + tail).decode()


def entry(number: int, key: bytes, value: float) -> bytes:
    """One entry of a map."""
    inside = bytes([10, len(key)]) + key + b"\x11" + struct.pack("<d", value)
    return bytes([number << 3 | 2, len(inside)]) + inside


HALF = ((1, 0.5), (6, 10.0))
#: fields of other kinds, of which nothing is known
FOREIGN = b"\x7a\x01A\x10\x05"
#: of no use, so the endpoint counts as the median of the others: 20 and 40 in these cases
NONE_OF_THESE = {
    "twice": text("cpu_utilization:0.5,cpu_utilization:0.5,rps_fractional:10"),
    "unknown": text(PLAIN + ",disk:1"),
    "negative": text(PLAIN + ",eps:-1"),
    "nan": text("cpu_utilization:nan,rps_fractional:10"),
    "spaces": text("cpu_utilization : 0.5,rps_fractional : 10"),
    "prefix": [("endpoint-load-metrics", PLAIN)],
    "lower": [("endpoint-load-metrics", "text " + PLAIN)],
    "strange": in_json(cpu_utilization=0.5, rps_fractional=10, x=1),
    "broken": [("endpoint-load-metrics", 'JSON {"cpu_utilization":0.5,"rps_fractional":10')],
    "characters": [("endpoint-load-metrics", f"BIN {message(*HALF)}!!")],
    "garbage": [("endpoint-load-metrics-bin", "AAAA"), *text()],
    "no-rate": text("cpu_utilization:0.5"),
    "no-load": text("rps_fractional:10"),
}


@dataclass(frozen=True)
class Case:
    """``reports`` of the three endpoints, and the weights they come to."""

    reports: tuple[list[tuple[str, str]], ...]
    weights: tuple[int, ...]
    written: dict[str, Any] = field(default_factory=dict)

    def policy(self) -> dict[str, Any]:
        """Envoy's."""
        found: dict[str, Any] = {"@type": POLICY, "blackout_period": "0.1s", "weight_update_period": "0.1s"}
        if names := self.written.get("metricNamesForComputingUtilization"):
            found["metric_names_for_computing_utilization"] = names
        if percent := self.written.get("errorUtilizationPenaltyPercent"):
            found["error_utilization_penalty"] = percent / 100
        return {
            "load_balancing_policy": {
                "policies": [{"typed_extension_config": {"name": "x", "typed_config": found}}]
            }
        }


CASES = {
    "rate": Case(
        (
            text(),
            text("cpu_utilization:0.5,rps_fractional:40"),
            text("cpu_utilization:0.25,rps_fractional:10"),
        ),
        (20, 80, 40),
    ),
    "application": Case((text(PLAIN + ",application_utilization:0.25"), text(), []), (40, 20, 30)),
    "nobody": Case(([], [], []), (1, 1, 1)),
    "errors": Case(
        (text(PLAIN + ",eps:5"), text(), text()), (10, 20, 20), {"errorUtilizationPenaltyPercent": 100}
    ),
    "errors-are-nothing": Case((text(PLAIN + ",eps:5"), text(), text()), (20, 20, 20)),
    "names": Case(
        (
            text(PLAIN + ",named_metrics.foo:0.25"),
            text(PLAIN + ",mem_utilization:0.125,named_metrics.bar:9"),
            text(),
        ),
        (40, 80, 20),
        NAMED,
    ),
    "families": Case(
        (
            in_json(cpuUtilization=0.5, rpsFractional=10, utilization={"a": 0.2, "b": 0.25}),
            in_json(cpu_utilization="0.5", rps_fractional=10, named_metrics={"foo": 0.125}, rps=3),
            in_json(cpu_utilization=0.5, rps_fractional=10, eps=-1),
        ),
        (40, 80, 20),
        NAMED,
    ),
    "binary": Case(
        (
            [("endpoint-load-metrics", f"BIN {message(*HALF, tail=entry(5, b'a', 0.25))}")],
            [
                ("endpoint-load-metrics-bin", message(*HALF, tail=entry(8, b"foo", 0.125)).rstrip("=")),
                *text(),
            ],
            [("endpoint-load-metrics", f"BIN {message((1, 0.1), *HALF, tail=FOREIGN)}")],
        ),
        (40, 80, 20),
        NAMED,
    ),
    "ways-to-write": Case(
        (
            text("cpu_utilization:5e-1, ,rps_fractional:+10,"),
            [*text("cpu_utilization:0.25 ,rps_fractional:10"), *text("cpu_utilization:9,rps_fractional:10")],
            text("cpu_utilization:3,rps_fractional:2"),
        ),
        (20, 40, 1),
    ),
    **{
        f"not-{name}": Case((report, text(), text("cpu_utilization:0.25,rps_fractional:10")), (30, 20, 40))
        for name, report in NONE_OF_THESE.items()
    },
}


def rule(name: str, case: Case) -> str:
    written = {"weightStabilizationPeriod": "0.1s", "weightUpdatePeriod": "0.1s", **case.written}
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: default}}
spec:
  host: {name}.test
  trafficPolicy: {{loadBalancer: {{backendUtilization: {json.dumps(written)}}}}}
"""


async def test_9_19_load_reports_come_to_the_same_shares(tmp_path: Path) -> None:
    rules = "".join(
        f"""
  - match: [{{uri: {{prefix: /{name}/}}}}]
    route: [{{destination: {{host: {name}.test}}}}]"""
        for name in CASES
    )

    def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        every = [ports[name] for name in NAMES]
        clusters = []
        for name, case in CASES.items():
            made = cluster(name, every, **case.policy())
            del made["lb_policy"]
            clusters.append(made)
        return [route(f"/{name}/", name) for name in CASES], clusters, []

    def more(ports: dict[str, int]) -> str:
        every = [ports[name] for name in NAMES]
        documents = [service(f"{name}.test", every) for name in CASES]
        return "---".join([*documents, *(rule(name, case) for name, case in CASES.items())])

    async with Pair(tmp_path, NAMES, rules, envoy, more) as pair:
        recorders = [pair.recorders[name] for name in NAMES]

        async def ask(port: int, name: str, count: int) -> Counter[str]:
            for recorder in recorders:
                recorder.seen.clear()
            one = f"GET /{name}/ HTTP/1.1\r\nhost: a.test\r\n".encode()
            request = (one + b"\r\n") * (count - 1) + one + b"connection: close\r\n\r\n"
            outcome = await RawClient(port, timeout_s=20).http(request, responses=count, observe_s=0.0)
            assert len(outcome.responses) == count
            return Counter(one.upstream for recorder in recorders for one in recorder.seen)

        for name, case in CASES.items():
            for recorder, headers in zip(recorders, case.reports, strict=True):
                recorder.play({"headers": headers})
            both = (pair.envoy.port, pair.gatewayd.port(80))
            for _ in range(2):  # so that all are known, then known for long enough
                for port in both:
                    await ask(port, name, 6)
                await asyncio.sleep(0.25)
            total = 60
            for port in both:
                seen = await ask(port, name, total)
                expected = [total * weight / sum(case.weights) for weight in case.weights]
                shares = [seen[each] for each in NAMES]
                assert all(abs(share - wish) <= 2 for share, wish in zip(shares, expected, strict=True)), (
                    f"{name}: {shares}, not {expected}, {'Envoy' if port == both[0] else 'gatewayd'}"
                )
