"""Which endpoint serves a request, as with the real Envoy: consistent hashing, round robin (semantics 9.1 to 9.5)."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.differential.envoy import cluster, route
from tests.differential.pair import Pair, Request, Told, service
from tests.support.raw_client import Outcome

NAMES = ["e0", "e1", "e2", "e3", "e4"]
_MAX_RING = 8388608
#: host -> loadBalancer of its DestinationRule, hash policies of istiod's, balancer of the cluster
BALANCERS: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "header": (
        "consistentHash: {httpHeaderName: X-Key}",
        [{"header": {"header_name": "X-Key"}}],
        {
            "lb_policy": "RING_HASH",
            "ring_hash_lb_config": {"minimum_ring_size": 1024, "maximum_ring_size": _MAX_RING},
        },
    ),
    "cookie": (
        "consistentHash: {httpCookie: {name: user, path: /c, ttl: 60s}, minimumRingSize: 64}",
        [{"cookie": {"name": "user", "path": "/c", "ttl": "60s"}}],
        {
            "lb_policy": "RING_HASH",
            "ring_hash_lb_config": {"minimum_ring_size": 64, "maximum_ring_size": _MAX_RING},
        },
    ),
    "session": (
        "consistentHash: {httpCookie: {name: s, ttl: 0s}, maglev: {tableSize: 503}}",
        [{"cookie": {"name": "s", "ttl": "0s"}}],
        {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 503}},
    ),
    "address": (
        "consistentHash: {useSourceIp: true, maglev: {}}",
        [{"connection_properties": {"source_ip": True}}],
        {"lb_policy": "MAGLEV"},
    ),
    "query": (
        "consistentHash: {httpQueryParameterName: key}",
        [{"query_parameter": {"name": "key"}}],
        {
            "lb_policy": "RING_HASH",
            "ring_hash_lb_config": {"minimum_ring_size": 1024, "maximum_ring_size": _MAX_RING},
        },
    ),
}


def destination_rule(name: str, balancer: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: default}}
spec:
  host: {name}.test
  trafficPolicy: {{loadBalancer: {{{balancer}}}}}
"""


def documents(ports: dict[str, int], balancers: dict[str, str]) -> str:
    every = [ports[name] for name in NAMES]
    made = [service(f"{name}.test", every) for name in balancers]
    made += [destination_rule(name, balancer) for name, balancer in balancers.items()]
    return "---".join(made)


def rules(names: list[str]) -> str:
    return "".join(
        f"""
  - match: [{{uri: {{prefix: /{name}/}}}}]
    route: [{{destination: {{host: {name}.test}}}}]"""
        for name in names
    )


class CookiePair(Pair):
    """Values of generated cookies are made of a connection's ports, so only their shape is compared."""

    def told(self, outcome: Outcome, attempts: list[Any]) -> Told:
        found = super().told(outcome, attempts)
        found.headers = [
            (name, re.sub('"[0-9a-f]{15,16}"', '"N"', text) if name == "set-cookie" else text)
            for name, text in found.headers
        ]
        made = any(name == "set-cookie" for name, _ in found.headers)
        if made:  # the endpoint follows from the cookie
            found.body = b"<any>"
            found.attempts = [("", *attempt[1:]) for attempt in found.attempts]
        return found


def drawn(draw: random.Random, number: int) -> Request:
    """A request with something to hash: without it the endpoint is chance (9.3), but for cookies that are made."""
    name = draw.choice(list(BALANCERS))
    path = f"/{name}/{number}"
    key = f"{draw.randrange(1000)}{draw.choice(['', ' x', ',', '%20'])}"
    fields: list[tuple[str, str]] = []
    if name == "header":
        fields = [(draw.choice(["x-key", "X-Key"]), key)]
        if draw.random() < 0.3:
            fields.append(("X-KEY", str(draw.randrange(5))))
    elif name == "query":
        path += draw.choice(
            [f"?key={key.strip()}".replace(" ", "+"), f"?a=b&key={number}&key=2", "?key=", "?key"]
        )
    elif name in ("cookie", "session") and draw.random() < 0.7:
        cookie = {"cookie": "user", "session": "s"}[name]
        text = draw.choice(
            [f"{cookie}={key.strip()}", f'x=y; {cookie}="{number}"', f"{cookie}={number}; {cookie}=2"]
        )
        fields = [("cookie", text)]
    return Request(path, draw.choice(["GET", "HEAD", "POST"]), fields)


@pytest.mark.parametrize("seed", [1, 2])
async def test_9_2_to_9_5_the_same_endpoint_for_the_same_hash(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)

    def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        every = [ports[name] for name in NAMES]
        routes = []
        for name, (_, policies, _) in BALANCERS.items():
            made = route(f"/{name}/", name, action={"hash_policy": policies})
            retry = {**made["route"]["retry_policy"]}
            del retry["retry_host_predicate"]  # istiod leaves it out where hashing decides (semantics 6.7.6)
            made["route"]["retry_policy"] = retry
            routes.append(made)
        return routes, [cluster(name, every, **fields) for name, (_, _, fields) in BALANCERS.items()], []

    written = {name: balancer for name, (balancer, _, _) in BALANCERS.items()}
    async with CookiePair(
        tmp_path,
        NAMES,
        rules(list(BALANCERS)),
        envoy,
        lambda ports: documents(ports, written),
        any_upstream=False,
    ) as pair:
        served: Counter[bytes] = Counter()
        for number in range(300):
            told = await pair.same(drawn(draw, number))
            served[told.body] += 1
        await pair.same_logs()
    assert len([name for name in NAMES if served[name.encode()] > 5]) == len(NAMES)


async def test_9_1_round_robin_goes_round(tmp_path: Path) -> None:
    """Where a round begins is chance in Envoy; the order is that of the endpoints in both."""

    def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        every = [ports[name] for name in NAMES]
        return [route("/", "a")], [cluster("a", every, lb_policy="ROUND_ROBIN")], []

    balancers = {"round": "simple: ROUND_ROBIN"}
    async with Pair(
        tmp_path,
        NAMES,
        rules(["round"]),
        envoy,
        lambda ports: documents(ports, balancers),
        any_upstream=False,
    ) as pair:
        orders = []
        for port in (pair.envoy.port, pair.gatewayd.port(80)):
            told = [await pair._tell(port, Request("/round/x"), f"round-{n}") for n in range(4 * len(NAMES))]
            orders.append([one.body.decode() for one in told])
    for order in orders:
        first = NAMES.index(order[0])
        assert order == [NAMES[(first + n) % len(NAMES)] for n in range(4 * len(NAMES))], orders
