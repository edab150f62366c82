"""Header operations as the real Envoy does them, with every variable both know (semantics 6.2)."""

from __future__ import annotations

import json
import random
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gatewayd.observe.operators import OPERATORS
from tests.differential.envoy import cluster, route
from tests.differential.pair import Pair, Request, Told, service
from tests.support.raw_client import Outcome
from tests.support.recorder import Seen

CLUSTER = "outbound|80||a.test"
DEAD = "outbound|80||dead.test"
MISSING = "outbound|80|none|a.test"
#: Variables whose value is the same in both programs.
EQUAL = [
    "%TRACE_ID%",  # nothing is traced
    "%SPAN_ID%",
    "%BYTES_RECEIVED%",
    "%BYTES_SENT%",
    "%CONNECTION_TERMINATION_DETAILS%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_PEER_SUBJECT%",
    "%DOWNSTREAM_PEER_CERT%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_TLS_CIPHER%",
    "%DOWNSTREAM_TLS_VERSION%",
    "%ENVIRONMENT(HOME)%",
    "%ENVIRONMENT(NO_SUCH_NAME)%",
    "%GRPC_STATUS%",
    "%GRPC_STATUS_NUMBER%",
    "%HOSTNAME%",
    "%PATH%",
    "%PATH(NQ)%",
    "%PATH(WQ)%",
    "%PROTOCOL%",
    "%QUERY_PARAM(a)%",
    "%QUERY_PARAM(b)%",
    "%QUERY_PARAMS%",
    "%REQ(x-a)%",
    "%REQ(X-B?x-c)%",
    "%REQ(x-none?:path)%",
    "%REQ(:authority)%",
    "%REQ(:method)%",
    "%REQ(:path):7%",
    "%REQ(:scheme)%",
    "%REQ(x-forwarded-proto)%",
    "%REQ(x-envoy-attempt-count)%",
    "%REQUESTED_SERVER_NAME%",
    "%RESP(:status)%",
    "%RESP(x-a)%",
    "%RESP(x-c?x-b)%",
    "%RESPONSE_CODE%",
    "%RESPONSE_CODE_DETAILS%",
    "%RESPONSE_FLAGS%",
    "%RESPONSE_FLAGS_LONG%",
    "%ROUTE_NAME%",
    "%TRAILER(x-a)%",
    "%UPSTREAM_CLUSTER%",
    "%UPSTREAM_CLUSTER_RAW%",
    "%UPSTREAM_HOST%",
    "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "%UPSTREAM_PROTOCOL%",
    "%UPSTREAM_REMOTE_ADDRESS%",
    "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%UPSTREAM_REMOTE_PORT%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
]
#: Variables with ports, times and numbers of their own: only the shape is compared, in ``x-shape-*``.
SHAPED = [
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
    "%DOWNSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_LOCAL_PORT%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
    "%DOWNSTREAM_REMOTE_PORT%",
    "%DURATION%",
    "%EMIT_TIME%",
    "%RESPONSE_DURATION%",
    "%START_TIME%",
    "%START_TIME(%Y/%m/%d %H:%M %3f %6f %f)%",
    "%START_TIME(%s)%",
    "%STREAM_ID%",
    "%UNIQUE_ID%",
    "%UPSTREAM_LOCAL_ADDRESS%",
    "%UPSTREAM_LOCAL_PORT%",
    "%REQ(x-request-id)%",
    "%REQ(x-envoy-external-address)%",
]
LITERALS = ["one", "two words", "100%%", "a,b", "", "x" * 40]
NAMES = ["x-a", "X-B", "x-c", "accept", "x-d_e", "cache-control"]
HOSTS = ["rule.test", "destination.test:81"]
KINDS = ["plain", "plain", "weighted", "weighted", "direct", "redirect", "missing", "dead", "fault"]


def test_every_variable_of_the_table_is_compared() -> None:
    compared = {name for text in [*EQUAL, *SHAPED] for name in re.findall(r"%([A-Z_0-9]+)", text)}
    certificates = {name for name in OPERATORS if name.startswith("DOWNSTREAM_PEER_")}  # all empty here
    assert OPERATORS.keys() - compared - certificates == {
        "UPSTREAM_TRANSPORT_FAILURE_REASON",  # words of the libraries
        "METADATA",  # of the place in our files
    }


def value(draw: random.Random) -> str:
    parts = [draw.choice([draw.choice(LITERALS), draw.choice(EQUAL), draw.choice(EQUAL)])]
    if draw.random() < 0.3:
        parts.append(draw.choice(["-", " ", *EQUAL]))
    return "".join(parts)


def operations(draw: random.Random, *, hosts: bool) -> dict[str, Any]:
    """``set``, ``add`` and ``remove`` of one direction."""
    found: dict[str, Any] = {}
    for kind in ("set", "add"):
        pairs = {name: value(draw) for name in draw.sample(NAMES, draw.choice([0, 1, 2]))}
        if draw.random() < 0.3:
            pairs[f"x-shape-{draw.randrange(3)}"] = draw.choice(SHAPED)
        if hosts and draw.random() < 0.15:
            pairs[draw.choice(["Host", ":authority"])] = draw.choice(HOSTS)
        if pairs:
            found[kind] = pairs
    if draw.random() < 0.4:
        found["remove"] = draw.sample([*NAMES, "x-none"], draw.choice([1, 2]))
    return found


def headers(draw: random.Random) -> dict[str, Any]:
    found = {way: operations(draw, hosts=way == "request") for way in ("request", "response")}
    return {way: given for way, given in found.items() if given}


class Rule:
    """One rule of the VirtualService, and the route that istiod makes of it."""

    def __init__(self, number: int, draw: random.Random) -> None:
        self.kind = draw.choice(KINDS)
        self.prefix = f"/{number}/"
        self.name = f"r{number}"
        self.rule = headers(draw) if draw.random() < 0.8 else {}
        self.destination = headers(draw) if draw.random() < 0.6 else {}
        self.other = headers(draw)
        if self.kind == "dead":
            # Where no connection was made, no request was written here, so there are no changed fields that
            # response operations could see: a deliberate difference (docs/decisions/differences_from_envoy.md).
            for level in (self.rule, self.destination):
                level.pop("request", None)

    def yaml(self) -> dict[str, Any]:
        rule: dict[str, Any] = {"name": self.name, "match": [{"uri": {"prefix": self.prefix}}]}
        if self.rule:
            rule["headers"] = self.rule
        if self.kind == "direct":
            return rule | {"directResponse": {"status": 418, "body": {"string": "short and stout"}}}
        if self.kind == "redirect":
            return rule | {"redirect": {"uri": "/there"}}
        host = "dead.test" if self.kind == "dead" else "a.test"
        target: dict[str, Any] = {"host": host, "port": {"number": 80}}
        if self.kind == "missing":
            target["subset"] = "none"  # of no DestinationRule
        first: dict[str, Any] = {"destination": target}
        if self.destination:
            first["headers"] = self.destination
        if self.kind == "weighted":
            second = {**first, "headers": self.other, "weight": 0}
            return rule | {"route": [{**first, "weight": 1}, second]}
        if self.kind == "fault":
            rule["fault"] = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
        return rule | {"route": [first]}

    def envoy(self) -> dict[str, Any]:
        if self.kind in ("direct", "redirect"):
            answer: dict[str, Any] = {"redirect": {"path_redirect": "/there"}}
            if self.kind == "direct":
                body = {"inline_string": "short and stout"}
                answer = {"direct_response": {"status": 418, "body": body}}
            return {"name": self.name, "match": {"prefix": self.prefix}, **answer, **written(self.rule)}
        name = {"missing": MISSING, "dead": DEAD}.get(self.kind, CLUSTER)
        action: dict[str, Any] = {}
        if host := host_of(self.rule):
            action["host_rewrite_literal"] = host
        fields = written(self.rule)
        if self.kind == "weighted":
            one = {"name": name, "weight": 1, **written(self.destination)}
            if host := host_of(self.destination):
                one["host_rewrite_literal"] = host
            if "host_rewrite_literal" in action:
                one.pop("host_rewrite_literal", None)
            action["weighted_clusters"] = {"clusters": [one]}
            name = ""
        else:
            for key, more in written(self.destination).items():
                fields[key] = [*fields.get(key, []), *more]
            if "host_rewrite_literal" not in action and (host := host_of(self.destination)):
                action["host_rewrite_literal"] = host
        if self.kind == "fault":
            abort = {"http_status": 503, "percentage": {"numerator": 1_000_000, "denominator": "MILLION"}}
            fault = {"@type": FAULT, "abort": abort}
            fields["typed_per_filter_config"] = {"envoy.filters.http.fault": fault}  # type: ignore[assignment]
        return {**route(self.prefix, name, action=action), "name": self.name, **fields}


FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"


def host_of(operations: dict[str, Any]) -> str:
    """The authority that ``Host`` or ``:authority`` in request operations asks for (6.2.6)."""
    request = operations.get("request", {})
    for pairs in (request.get("set", {}), request.get("add", {})):
        for name in sorted(pairs):
            if name.lower() in ("host", ":authority"):
                return str(pairs[name])
    return ""


def written(operations: dict[str, Any]) -> dict[str, list[Any]]:
    """The four fields of a route or weighted cluster that istiod makes of ``headers``."""
    out: dict[str, list[Any]] = {}
    for way, given in operations.items():
        lines = [
            {"header": {"key": name, "value": pairs[name]}, "append_action": action}
            for pairs, action in (
                (given.get("set", {}), "OVERWRITE_IF_EXISTS_OR_ADD"),
                (given.get("add", {}), "APPEND_IF_EXISTS_OR_ADD"),
            )
            for name in sorted(pairs)
            if name.lower() not in ("host", ":authority")
        ]
        if lines:
            out[f"{way}_headers_to_add"] = lines
        if given.get("remove"):
            out[f"{way}_headers_to_remove"] = given["remove"]
    return out


class ShapedPair(Pair):
    """Compares ``x-shape-*`` by where their numbers stand, not by what they are."""

    def told(self, outcome: Outcome, attempts: list[Any]) -> Told:
        found = super().told(outcome, attempts)
        found.headers = sorted((name, shape(name, text)) for name, text in found.headers)
        return found

    def _attempt(self, seen: Seen) -> tuple[str, str, list[tuple[str, str]], bytes]:
        upstream, line, fields, body = super()._attempt(seen)
        return upstream, line, sorted((name, shape(name, text)) for name, text in fields), body


def shape(name: str, text: str) -> str:
    return re.sub("[0-9a-f]+", "N", text) if name.startswith("x-shape") else text


def drawn(draw: random.Random, rules: list[Rule], number: int) -> Request:
    fields = [
        (draw.choice(["x-a", "X-A", "x-b", "x-c", "accept"]), draw.choice(["", "v", "a, b", "%REQ(x-a)%"]))
        for _ in range(draw.choice([0, 1, 2, 3]))
    ]
    answer = [
        (draw.choice(["x-a", "X-A", "X-b", "cache-control", "x-d_e"]), draw.choice(["", "up", "a,b"]))
        for _ in range(draw.choice([0, 1, 2]))
    ]
    step = {"status": draw.choice([200, 200, 404, 503]), "headers": answer}
    query = draw.choice(["", "?a=1", "?a=%20x&a=2", "?b", "?%61=q&b=c+d&b=2"])
    return Request(
        f"{draw.choice(rules).prefix}{number}{query}",
        draw.choice(["GET", "POST", "HEAD"]),
        fields,
        draw.choice([b"", b"", b"abc"]),
        [step if draw.random() < 0.9 else {"close": "before_headers"}],
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_6_2_operations_of_rules_and_destinations(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    rules = [Rule(number, draw) for number in range(60)]

    def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        fault = {"name": "envoy.filters.http.fault", "typed_config": {"@type": FAULT}}
        # Nobody listens on port 1.
        return (
            [rule.envoy() for rule in rules],
            [cluster(CLUSTER, [ports["one"]]), cluster(DEAD, [1])],
            [fault],
        )

    def documents(ports: dict[str, int]) -> str:
        return service("a.test", [ports["one"]]) + "---" + service("dead.test", [1])

    text = textwrap.indent(json.dumps([rule.yaml() for rule in rules], indent=1), "    ")
    async with ShapedPair(tmp_path, ["one"], text, envoy, documents, any_upstream=False) as pair:
        for number in range(200):
            await pair.same(drawn(draw, rules, number))
        await pair.same_logs()
