"""Faults, CORS and mirrors as the compiler hands them to routes (semantics 6.8 to 6.10)."""

from __future__ import annotations

import pytest

from gatewayd.routing.route import RoutePolicies
from tests.compiler.support import BASE, compile_yaml

ROUTE = "route: [{destination: {host: alpha.test}}]"


def policies(rule: str) -> RoutePolicies | None:
    """Those of the one route of ``rule``, YAML in flow style."""
    document = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: one, namespace: default}}
spec:
  hosts: [a.test]
  gateways: [istio-system/edge]
  http:
  - {{{rule}, {ROUTE}}}
"""
    compiled = compile_yaml(BASE + document)
    route = compiled.route("http://a.test/")
    assert route is not None
    assert route.plain == (route.policies is None)
    return route.policies


def test_a_route_without_policies_has_no_object_for_them() -> None:
    assert policies("name: n") is None


def test_6_8_2_a_delay_with_its_percentage() -> None:
    found = policies("fault: {delay: {fixedDelay: 2s, percentage: {value: 0.5}}}")
    assert found is not None
    assert (found.fault.delay_s, found.fault.delay_millionths) == (2.0, 5000)
    assert found.fault.abort_millionths == 0


def test_6_8_2_the_old_integer_percent_counts_too() -> None:
    found = policies("fault: {delay: {fixedDelay: 2s, percent: 7}}")
    assert found is not None
    assert found.fault.delay_millionths == 70_000


@pytest.mark.parametrize(
    "fault",
    [
        "delay: {fixedDelay: 2s}",
        "abort: {httpStatus: 500}",
        "abort: {httpStatus: 500, percentage: {value: 0}}",
    ],
)
def test_6_8_2_without_a_percentage_nothing_happens(fault: str) -> None:
    assert policies(f"fault: {{{fault}}}") is None


def test_6_8_3_aborts_by_http_and_by_grpc_status() -> None:
    http = policies("fault: {abort: {httpStatus: 418, percentage: {value: 100}}}")
    grpc = policies("fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}")
    number = policies('fault: {abort: {grpcStatus: "7", percentage: {value: 100}}}')
    assert http is not None
    assert grpc is not None
    assert number is not None
    assert (http.fault.abort_status, http.fault.grpc_status) == (418, None)
    assert (grpc.fault.abort_status, grpc.fault.grpc_status) == (0, 14)
    assert number.fault.grpc_status == 0


def test_6_9_1_mirrors_have_shares_of_their_own() -> None:
    found = policies(
        "mirrors: [{destination: {host: beta.test}, percentage: {value: 10}}, {destination: {host: gamma.test}}, "
        "{destination: {host: delta.test}, percentage: {value: 0}}]"
    )
    assert found is not None
    assert [(mirror.cluster.name, mirror.millionths) for mirror in found.mirrors] == [
        ("outbound|80||beta.test", 100_000),
        ("outbound|80||gamma.test", 1_000_000),
    ]


@pytest.mark.parametrize(
    ("written", "millionths"),
    [
        ("", 1_000_000),
        (", mirrorPercent: 3", 30_000),
        (", mirror_percent: 4", 40_000),
        (", mirrorPercentage: {value: 0.25}", 2_500),
    ],
)
def test_6_9_1_one_mirror_in_all_its_spellings(written: str, millionths: int) -> None:
    found = policies(f"mirror: {{host: beta.test}}{written}")
    assert found is not None
    assert [mirror.millionths for mirror in found.mirrors] == [millionths]


def test_6_10_2_origins() -> None:
    found = policies(
        'corsPolicy: {allowOrigins: [{exact: "https://a.test"}, {prefix: "https://b."}, {regex: "https://c[0-9]+"}]}'
    )
    assert found is not None
    allows = found.cors.allows
    assert [allows(o) for o in (b"https://a.test", b"https://b.x", b"https://c12")] == [True] * 3
    assert [allows(o) for o in (b"https://a.test.evil", b"https://c12.evil", b"http://a.test")] == [False] * 3


@pytest.mark.parametrize("origin", ['exact: "*"', 'regex: ".*"', 'prefix: "*"'])
def test_6_10_2_what_matches_a_star_allows_all(origin: str) -> None:
    found = policies(f"corsPolicy: {{allowOrigins: [{{{origin}}}]}}")
    assert found is not None
    assert found.cors.allows(b"https://any.test")


def test_6_10_4_lists_are_joined_and_the_age_is_whole_seconds() -> None:
    found = policies(
        'corsPolicy: {allowOrigin: ["https://a.test"], allowMethods: [GET, POST], allowHeaders: [x-a, X-B], '
        "exposeHeaders: [x-e], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}"
    )
    assert found is not None
    cors = found.cors
    assert (cors.methods, cors.headers, cors.expose, cors.max_age) == (
        b"GET,POST",
        b"x-a,X-B",
        b"x-e",
        b"86400",
    )
    assert cors.credentials
    assert not cors.forward_unmatched
    assert cors.allows(b"https://a.test")
