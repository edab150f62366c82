"""Time-outs of routes and tries, and shares of destinations, as the real Envoy has them (6.1, 6.6, 6.7).

Where the time is short upstreams never answer, where it is long they do at once, so no answer depends on how fast
the machine is.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.differential.envoy import DEFAULT_RETRY, cluster, route
from tests.differential.pair import Pair, Request, service

#: name -> fields of the rule, and of the RouteAction that istiod makes of them
LONG = "20s"
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "short": ("timeout: 15ms", {"timeout": "0.015s"}),
    "long": (f"timeout: {LONG}", {"timeout": LONG}),
    "none": ("retries: {attempts: 0}", {"retry_policy": None}),
    "long-try": (
        f"retries: {{attempts: 2, perTryTimeout: {LONG}, retryOn: 5xx, backoff: 1ms}}",
        {"retry_policy": {"retry_on": "5xx", "num_retries": 2, "per_try_timeout": LONG}},
    ),
    "try": (
        "retries: {attempts: 1, perTryTimeout: 15ms, retryOn: 5xx, backoff: 1ms}",
        {"retry_policy": {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.015s"}},
    ),
    "only-try": (
        "retries: {attempts: 2, perTryTimeout: 15ms, retryOn: reset, backoff: 1ms}",
        {"retry_policy": {"retry_on": "reset", "num_retries": 2, "per_try_timeout": "0.015s"}},
    ),
    "not-retried": (
        "retries: {attempts: 2, perTryTimeout: 15ms, retryOn: retriable-4xx, backoff: 1ms}",
        {"retry_policy": {"retry_on": "retriable-4xx", "num_retries": 2, "per_try_timeout": "0.015s"}},
    ),
    "both": (
        f"timeout: {LONG}\n    retries: {{attempts: 1, perTryTimeout: 15ms, retryOn: gateway-error, backoff: 1ms}}",
        {
            "timeout": LONG,
            "retry_policy": {"retry_on": "gateway-error", "num_retries": 1, "per_try_timeout": "0.015s"},
        },
    ),
    "sooner": (
        "timeout: 15ms\n    retries: {attempts: 3, perTryTimeout: 20s, retryOn: 5xx, backoff: 1ms}",
        {
            "timeout": "0.015s",
            "retry_policy": {"retry_on": "5xx", "num_retries": 3, "per_try_timeout": "20s"},
        },
    ),
    "backoff": (
        "timeout: 15ms\n    retries: {attempts: 3, retryOn: 5xx, backoff: 3600s}",
        {
            "timeout": "0.015s",
            "retry_policy": {
                "retry_on": "5xx",
                "num_retries": 3,
                "retry_back_off": {"base_interval": "3600s"},
            },
        },
    ),
}


def rules() -> str:
    return "".join(
        f"""
  - match: [{{uri: {{prefix: /{name}/}}}}]
    {written}
    headers: {{response: {{set: {{x-rule: "{name}"}}}}}}
    route: [{{destination: {{host: a.test}}}}]"""
        for name, (written, _) in ROUTES.items()
    )


def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
    routes = []
    for name, (_, action) in ROUTES.items():
        action = dict(action)
        retry = action.get("retry_policy")
        if retry is not None:
            action["retry_policy"] = {
                **DEFAULT_RETRY,
                "retry_back_off": {"base_interval": "0.001s"},
                **retry,
            }
        header = {"header": {"key": "x-rule", "value": name}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        made = route(f"/{name}/", "a", action=action, response_headers_to_add=[header])
        if made["route"]["retry_policy"] is None:
            del made["route"]["retry_policy"]
        routes.append(made)
    return routes, [cluster("a", list(ports.values()))], []


#: Tries of a request that is never answered, where the time is short.
TRIES = {"short": 1, "try": 2, "only-try": 3, "not-retried": 1, "both": 2, "sooner": 1, "backoff": 1}


class PatientPair(Pair):
    """Waits for ``tries`` of a request to be seen: the last may still be on its way when the client is answered."""

    tries = 1

    async def _reached(self, name: str) -> None:
        deadline = time.monotonic() + 10
        while len(self.recorders[name].seen) < self.tries:
            assert time.monotonic() < deadline, f"{len(self.recorders[name].seen)} of {self.tries} tries came"
            await asyncio.sleep(0.002)


def drawn(draw: random.Random, number: int) -> tuple[int, Request]:
    """How often it is tried at least, and a request."""
    name = draw.choice(list(ROUTES))
    tries = TRIES.get(name, 0)
    step: dict[str, Any] = {"hang": True}
    if name == "backoff" and draw.random() < 0.5:
        step = {"status": 503}  # the time ends while the next try waits, for up to an hour
    elif not tries:
        step = draw.choice([{}, {"status": 404}, {"status": 503}, {"close": "before_headers"}])
    body = draw.choice([b"", b"", b"x" * 50])
    method = "POST" if body else draw.choice(["GET", "HEAD", "DELETE"])
    return tries, Request(f"/{name}/{number}", method, [], body, [step], ["one"] if tries else [])


@pytest.mark.parametrize("seed", [1, 2])
async def test_6_6_and_6_7_4_time_outs_of_routes_and_tries(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    async with PatientPair(
        tmp_path, ["one"], rules(), envoy, lambda ports: service("a.test", list(ports.values()))
    ) as pair:
        for number in range(75):
            pair.tries, request = drawn(draw, number)
            await pair.same(request)
        await pair.same_logs()


async def test_6_1_5_shares_of_destinations(tmp_path: Path) -> None:
    """Both programs give three destinations their shares, within five sigma of 400 requests."""
    weights = {"one": 1, "two": 3, "three": 0}
    routes = "\n".join(
        f"    - {{destination: {{host: {name}.test}}, weight: {weight}}}" for name, weight in weights.items()
    )

    def shares(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        # istiod leaves out a destination of weight 0.
        clusters = [{"name": name, "weight": weight} for name, weight in weights.items() if weight]
        action = {"weighted_clusters": {"clusters": clusters}}
        return [route("/", action=action)], [cluster(name, [ports[name]]) for name in weights], []

    async with Pair(
        tmp_path,
        list(weights),
        f"  - route:\n{routes}",
        shares,
        lambda ports: "---".join(service(f"{name}.test", [ports[name]]) for name in weights),
        any_upstream=False,
    ) as pair:
        for port in (pair.envoy.port, pair.gatewayd.port(80)):
            told = [await pair._tell(port, Request("/"), f"share-{n}") for n in range(400)]
            counts = {name: sum(one.body.decode() == name for one in told) for name in weights}
            assert counts["three"] == 0
            assert abs(counts["two"] - 300) < 5 * (400 * 0.25 * 0.75) ** 0.5, counts
