"""Faults, CORS and mirrors as the real Envoy does them (semantics 6.8 to 6.10)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.differential.envoy import cluster, route
from tests.differential.pair import Pair, Request, service

_ANY = "type.googleapis.com/"
_HUNDRED = {"numerator": 1_000_000, "denominator": "MILLION"}

RULES = """
  - match: [{uri: {prefix: /abort/}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: a.test}}]
  - match: [{uri: {prefix: /grpc-abort/}}]
    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
    route: [{destination: {host: a.test}}]
  - match: [{uri: {prefix: /delay/}}]
    fault: {delay: {fixedDelay: 2ms, percentage: {value: 100}}}
    route: [{destination: {host: a.test}}]
  - match: [{uri: {prefix: /both/}}]
    fault: {delay: {fixedDelay: 2ms, percentage: {value: 100}}, abort: {httpStatus: 503, percentage: {value: 100}}}
    corsPolicy: &cors
      allowOrigins: [{exact: "https://a.test"}, {prefix: "https://b."}, {regex: "https://c[0-9]+[.]test"}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-one, X-Two]
      exposeHeaders: [x-exp]
      maxAge: 600s
      allowCredentials: true
    route: [{destination: {host: a.test}}]
  - match: [{uri: {prefix: /cors/}}]
    corsPolicy: *cors
    headers: {response: {set: {x-set: "1"}}}
    route: [{destination: {host: a.test}}]
  - match: [{uri: {prefix: /star/}}]
    corsPolicy: {allowOrigins: [{exact: "*"}], allowMethods: ["*"], allowHeaders: ["*"]}
    route: [{destination: {host: a.test}}]
  - match: [{uri: {prefix: /ignore/}}]
    corsPolicy:
      {allowOrigins: [{exact: "https://a.test"}], allowMethods: [GET], maxAge: 1s, unmatchedPreflights: IGNORE}
    route: [{destination: {host: a.test}}]
  - match: [{uri: {prefix: /mirror/}}]
    rewrite: {uri: /new/, authority: re.test}
    headers: {request: {set: {x-s: rule}}}
    mirrors: [{destination: {host: b.test}}, {destination: {host: b.test}, percentage: {value: 0}}]
    route: [{destination: {host: a.test}}]
"""


def fault(**settings: Any) -> dict[str, Any]:
    return {"typed_per_filter_config": {"envoy.filters.http.fault": {"@type": _ANY + _FAULT, **settings}}}


_FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"
_CORS = "envoy.extensions.filters.http.cors.v3.CorsPolicy"


def cors(**settings: Any) -> dict[str, Any]:
    enabled = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}, "runtime_key": ""}
    policy = {"@type": _ANY + _CORS, "filter_enabled": enabled, **settings}
    return {"typed_per_filter_config": {"envoy.filters.http.cors": policy}}


def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
    delay = {"fixed_delay": "0.002s", "percentage": _HUNDRED}
    shared = {
        "allow_origin_string_match": [
            {"exact": "https://a.test"},
            {"prefix": "https://b."},
            {"safe_regex": {"regex": "https://c[0-9]+[.]test"}},
        ],
        "allow_methods": "GET,PUT",
        "allow_headers": "x-one,X-Two",
        "expose_headers": "x-exp",
        "max_age": "600",
        "allow_credentials": True,
        "forward_not_matching_preflights": True,
    }
    both = fault(delay=delay, abort={"http_status": 503, "percentage": _HUNDRED})
    both["typed_per_filter_config"] |= cors(**shared)["typed_per_filter_config"]
    star = {"allow_methods": "*", "allow_headers": "*", "forward_not_matching_preflights": True}
    ignore = {"allow_methods": "GET", "max_age": "1", "forward_not_matching_preflights": False}
    set_header = {"header": {"key": "x-set", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    set_rule = {"header": {"key": "x-s", "value": "rule"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    mirror = {
        "prefix_rewrite": "/new/",
        "host_rewrite_literal": "re.test",
        "request_mirror_policies": [
            {
                "cluster": "b",
                "disable_shadow_host_suffix_append": True,
                "trace_sampled": False,
                "runtime_fraction": {"default_value": {"numerator": 100}},
            }
        ],
    }
    routes = [
        route("/abort/", "a", **fault(abort={"http_status": 418, "percentage": _HUNDRED})),
        route("/grpc-abort/", "a", **fault(abort={"grpc_status": 14, "percentage": _HUNDRED})),
        route("/delay/", "a", **fault(delay=delay)),
        route("/both/", "a", **both),
        route("/cors/", "a", response_headers_to_add=[set_header], **cors(**shared)),
        route("/star/", "a", **cors(allow_origin_string_match=[{"exact": "*"}], **star)),
        route("/ignore/", "a", **cors(allow_origin_string_match=[{"exact": "https://a.test"}], **ignore)),
        route("/mirror/", "a", action=mirror, request_headers_to_add=[set_rule]),
    ]
    filters = [
        {"name": "envoy.filters.http.fault", "typed_config": {"@type": _ANY + _FAULT}},
        {
            "name": "envoy.filters.http.cors",
            "typed_config": {"@type": _ANY + "envoy.extensions.filters.http.cors.v3.Cors"},
        },
    ]
    return routes, [cluster("a", [ports["one"]]), cluster("b", [ports["two"]])], filters


def documents(ports: dict[str, int]) -> str:
    return service("a.test", [ports["one"]]) + "---" + service("b.test", [ports["two"]])


ORIGINS = [
    "https://a.test",
    "https://b.x",
    "https://c12.test",
    "https://c12.test.evil",
    "",
    "null",
    "https://A.test",
]


def drawn(draw: random.Random, number: int) -> Request:
    """One request: most have an Origin, many are preflights, some are gRPC."""
    headers: list[tuple[str, str]] = []
    for _ in range(draw.choice([0, 1, 1, 1, 2])):
        headers.append(("origin", draw.choice(ORIGINS)))
    if draw.random() < 0.4:
        headers.append(("access-control-request-method", draw.choice(["PUT", "PATCH", ""])))
    if draw.random() < 0.3:
        headers.append(("access-control-request-headers", "x-a,x-b"))
    if draw.random() < 0.15:
        headers.append(
            ("content-type", draw.choice(["application/grpc", "application/grpc+proto", "text/plain"]))
        )
    prefix = draw.choice(["abort", "grpc-abort", "delay", "both", "cors", "cors", "star", "ignore", "mirror"])
    body = b"x" * draw.randrange(1, 100) if draw.random() < 0.3 else b""
    method = draw.choice(["OPTIONS", "OPTIONS", "GET", "POST", "HEAD"])
    script = draw.choice(
        [
            {"status": 200},
            {"status": 200, "headers": [("access-control-allow-origin", "*"), ("x-own", "1")]},
            {"status": 404},
            {"close": "before_headers"},
        ]
    )
    return Request(
        f"/{prefix}/{number}", method, headers, body, [script], ["two"] if prefix == "mirror" else []
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_6_8_to_6_10(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    async with Pair(tmp_path, ["one", "two"], RULES, envoy, documents, any_upstream=False) as pair:
        for number in range(250):
            await pair.same(drawn(draw, number))
        await pair.same_logs()
