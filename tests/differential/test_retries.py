"""Retries and timeouts as the real Envoy does them (semantics 6.6, 6.7, 15)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.differential.envoy import DEFAULT_RETRY, cluster, route
from tests.differential.pair import Pair, Request, service

CONDITIONS = [
    "5xx",
    "gateway-error",
    "connect-failure",
    "retriable-4xx",
    "reset",
    "reset-before-request",
    "refused-stream",
    "envoy-ratelimited",
    "503,429",
    "unavailable,cancelled",
    "resource-exhausted,internal,deadline-exceeded",
]


def envoy_retry(condition: str, attempts: int) -> dict[str, Any]:
    """What istiod makes of ``retryOn`` (semantics 6.7.3)."""
    words = condition.split(",")
    codes = [int(word) for word in words if word.isdigit()]
    on = [word for word in words if not word.isdigit()]
    policy = {**DEFAULT_RETRY, "retry_on": ",".join([*on, *(["retriable-status-codes"] if codes else [])])}
    policy["num_retries"] = attempts
    policy["retry_back_off"] = {"base_interval": "0.001s"}
    if codes:
        policy["retriable_status_codes"] = codes
    return policy


def rules() -> str:
    out = []
    for index, condition in enumerate(CONDITIONS):
        out.append(f"""
  - match: [{{uri: {{prefix: /r{index}/}}}}]
    retries: {{attempts: {1 + index % 3}, retryOn: "{condition}", backoff: 1ms}}
    route: [{{destination: {{host: a.test}}}}]""")
    out.append("""
  - match: [{uri: {prefix: /off/}}]
    retries: {attempts: 0}
    route: [{destination: {host: a.test}}]
  - route: [{destination: {host: a.test}}]""")
    return "".join(out)


def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
    routes = [
        route(f"/r{index}/", "a", action={"retry_policy": envoy_retry(condition, 1 + index % 3)})
        for index, condition in enumerate(CONDITIONS)
    ]
    off = route("/off/", "a")
    del off["route"]["retry_policy"]
    return [*routes, off, route("/", "a")], [cluster("a", list(ports.values()))], []


STEPS: list[dict[str, Any]] = [
    {"status": 200},
    {"status": 200},
    {"status": 500},
    {"status": 502},
    {"status": 503},
    {"status": 504},
    {"status": 409},
    {"status": 429},
    {"status": 429, "headers": [("x-envoy-ratelimited", "true")]},
    {"status": 503, "headers": [("x-envoy-ratelimited", "true")]},
    {"status": 404},
    {"close": "before_headers"},
    {"reset": "before_headers"},
    {"status": 200, "headers": [("grpc-status", "14")]},
    {"status": 200, "headers": [("grpc-status", "8")]},
    {"status": 200, "headers": [("grpc-status", "1")]},
    {"raw": b"HTTP/1.1 200 OK\r\nbroken"},
]


@pytest.mark.parametrize("seed", [1, 2])
async def test_6_7_and_15_every_condition_against_every_kind_of_answer(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    prefixes = [f"/r{index}/" for index in range(len(CONDITIONS))] + ["/off/", "/"]
    async with Pair(
        tmp_path, ["one", "two"], rules(), envoy, lambda ports: service("a.test", list(ports.values()))
    ) as pair:
        for number in range(200):
            body = draw.choice([b"", b"", b"x" * draw.randrange(1, 200)])
            request = Request(
                draw.choice(prefixes) + str(number),
                "POST" if body else draw.choice(["GET", "HEAD", "DELETE", "GET"]),
                body=body,
                # The same for both upstreams, which count apart: a retry on the other begins at the first step.
                script=[draw.choice(STEPS)],
            )
            await pair.same(request)
        await pair.same_logs()
