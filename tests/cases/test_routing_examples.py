"""Routing examples: every backend becomes resolvable, and every kind of expectation can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cases.endpoints import Backend, backends_of, documents_with_endpoints
from tests.cases.loading import Call, Case
from tests.cases.routing import h2_request, request_bytes
from tests.cases.routing_check import KINDS, check_call, repeats
from tests.support.h1_text import Headers
from tests.support.raw_client import Outcome, Response
from tests.support.recorder import Seen

A, B, B1 = Backend("a.test", 80), Backend("b.test", 80), Backend("b.test", 80, "v1")


def _case(
    config: str, upstreams: list[dict[str, Any]], *destinations: dict[str, Any], port: int = 8080
) -> Case:
    calls = [Call("c", {"port": port, "expect": {"kind": "route", "destination": d}}) for d in destinations]
    return Case(Path("f.yaml"), "c", "routing", config, {"upstreams": upstreams}, calls)


def _documents(case: Case) -> list[dict[str, Any]]:
    ports = {backend: 30000 + number for number, backend in enumerate(backends_of(case))}
    documents = documents_with_endpoints(case, ports)
    return list(yaml.safe_load_all(yaml.safe_dump_all(documents)))


def test_an_undefined_host_becomes_a_service_entry_on_the_listener_port() -> None:
    case = _case("", [{"host": "a.test", "protocol": "http"}], {"host": "a.test"})
    (entry,) = _documents(case)
    assert entry["kind"] == "ServiceEntry"
    assert entry["spec"]["ports"] == [{"number": 8080, "name": "http-8080", "protocol": "HTTP"}]
    assert entry["spec"]["endpoints"] == [{"address": "127.0.0.1", "ports": {"http-8080": 30000}}]


def test_subsets_become_labelled_endpoints_and_a_rule() -> None:
    case = _case(
        "",
        [{"host": "a.test", "port": 80}],
        {"host": "a.test", "subset": "v1"},
        {"host": "a.test", "subset": "v3"},
    )
    rule, entry = _documents(case)
    assert [subset["labels"] for subset in rule["spec"]["subsets"]] == [{"version": "v1"}, {"version": "v3"}]
    assert [endpoint["labels"] for endpoint in entry["spec"]["endpoints"]] == [
        {"version": "v1"},
        {"version": "v3"},
    ]


def test_labels_of_an_existing_rule_are_kept() -> None:
    spec = "{host: a.test, subsets: [{name: v1, labels: {tier: x}}]}"
    rule = f"{{kind: DestinationRule, metadata: {{name: r}}, spec: {spec}}}"
    case = _case(rule, [{"host": "a.test", "port": 80}], {"host": "a.test", "subset": "v1"})
    documents = _documents(case)
    assert [document["kind"] for document in documents] == ["DestinationRule", "ServiceEntry"]
    assert documents[1]["spec"]["endpoints"][0]["labels"] == {"tier": "x"}


def test_a_service_of_the_configuration_gets_slices_per_port() -> None:
    spec = "{ports: [{port: 80, name: x}, {port: 81, name: y}]}"
    service = f"{{kind: Service, metadata: {{name: s, namespace: ns}}, spec: {spec}}}"
    host = "s.ns.svc.cluster.local"
    case = _case(
        service, [{"host": host, "port": 80}, {"host": host, "port": 81}], {"host": host, "port": 81}
    )
    documents = _documents(case)
    assert [document["kind"] for document in documents] == ["Service", "EndpointSlice"]
    assert documents[1]["ports"] == [{"name": "x", "port": 30000}, {"name": "y", "port": 30001}]
    assert documents[1]["metadata"]["labels"] == {"kubernetes.io/service-name": "s"}


def test_an_undefined_cluster_name_becomes_a_service_with_pods_for_its_subsets() -> None:
    host = "s.ns.svc.cluster.local"
    case = _case("", [{"host": host, "port": 80}], {"host": host, "subset": "v2"})
    kinds = {document["kind"]: document for document in _documents(case)}
    assert kinds["Service"]["spec"]["ports"] == [{"port": 80, "name": "http-80"}]
    assert kinds["Pod"]["metadata"]["labels"] == {"version": "v2"}
    assert kinds["EndpointSlice"]["endpoints"][0]["targetRef"]["name"] == kinds["Pod"]["metadata"]["name"]
    assert kinds["DestinationRule"]["metadata"]["namespace"] == "ns"


def test_an_entry_of_the_configuration_is_led_to_the_recorders() -> None:
    spec = "{hosts: [a.test], resolution: DNS, ports: [{number: 80, name: web}]}"
    entry = f"{{kind: ServiceEntry, metadata: {{name: e}}, spec: {spec}}}"
    (document,) = _documents(_case(entry, [{"host": "a.test"}], {"host": "a.test"}))
    assert document["spec"]["resolution"] == "STATIC"
    assert document["spec"]["endpoints"] == [{"address": "127.0.0.1", "ports": {"web": 30000}}]


def _ok(status: int = 200, headers: Headers | None = None, body: bytes = b"") -> Outcome:
    return Outcome("response", [Response(status, "HTTP/1.1", headers or [], body)])


def _seen(**fields: Any) -> Seen:
    return Seen(
        "x", 1, path="/p", method="GET", version="HTTP/1.1", headers=[("host", "h"), ("x-a", "1")], **fields
    )


def _differences(
    expect: dict[str, Any], outcome: Outcome, seen: dict[Backend, list[Seen]], times: int = 1
) -> list[str]:
    return check_call(Call("c", {"expect": expect}), [outcome] * times, seen)


ROUTE = {"kind": "route", "destination": {"host": "a.test", "port": 80}}
RIGHT = {A: [_seen()], B: []}
OVER_HTTP2 = {A: [Seen("x", 1, path="/p", method="GET", version="HTTP/2", authority="h2")], B: []}
NONE: dict[Backend, list[Seen]] = {A: [], B: []}
MOVED = _ok(301, [("location", "http://x/")])


@pytest.mark.parametrize(
    ("expect", "outcome", "seen", "passes"),
    [
        (ROUTE, _ok(), RIGHT, True),
        (ROUTE, _ok(503), RIGHT, False),
        (ROUTE, _ok(), {A: [], B: [_seen()]}, False),
        (ROUTE, _ok(), {A: [_seen(), _seen()], B: []}, False),
        (ROUTE, _ok(), NONE, False),
        (ROUTE, Outcome("data", data=b"x"), RIGHT, True),
        (ROUTE, Outcome("closed"), RIGHT, False),
        (
            {"kind": "route", "destination": {"host": "b.test", "subset": "v1"}},
            _ok(),
            {B: [], B1: [_seen()]},
            True,
        ),
        (
            {"kind": "route", "destination": {"host": "b.test", "subset": "v1"}},
            _ok(),
            {B: [_seen()], B1: []},
            False,
        ),
        (
            {**ROUTE, "upstream": {"path": "/p", "host": "h", "method": "GET", "http_version": "1.1"}},
            _ok(),
            RIGHT,
            True,
        ),
        ({**ROUTE, "upstream": {"path": "/q"}}, _ok(), RIGHT, False),
        ({**ROUTE, "upstream": {"host": "g"}}, _ok(), RIGHT, False),
        ({**ROUTE, "upstream": {"http_version": "2"}}, _ok(), RIGHT, False),
        ({**ROUTE, "upstream": {"http_version": "2", "host": "h2"}}, _ok(), OVER_HTTP2, True),
        ({**ROUTE, "upstream": {"headers": {"X-A": "1"}, "headers_absent": ["x-b"]}}, _ok(), RIGHT, True),
        ({**ROUTE, "upstream": {"headers": {"x-a": "2"}}}, _ok(), RIGHT, False),
        ({**ROUTE, "upstream": {"headers_absent": ["x-a"]}}, _ok(), RIGHT, False),
        ({**ROUTE, "upstream": {"headers_match": {"x-a": "[0-9]"}}}, _ok(), RIGHT, True),
        ({**ROUTE, "upstream": {"headers_match": {"x-a": "[a-z]"}}}, _ok(), RIGHT, False),
        ({**ROUTE, "response_headers": {"x": "1"}}, _ok(200, [("X", "1")]), RIGHT, True),
        ({**ROUTE, "response_headers": {"x": "1"}}, _ok(), RIGHT, False),
        ({**ROUTE, "response_headers_absent": ["x"]}, _ok(200, [("x", "1")]), RIGHT, False),
        ({"kind": "redirect", "status": 301, "redirect_location": "http://x/"}, MOVED, NONE, True),
        ({"kind": "redirect", "status": 308, "redirect_location": "http://x/"}, MOVED, NONE, False),
        ({"kind": "redirect", "status": 301, "redirect_location": "http://y/"}, MOVED, NONE, False),
        ({"kind": "not_found"}, _ok(404), NONE, True),
        ({"kind": "not_found"}, _ok(404), RIGHT, False),
        ({"kind": "not_found"}, _ok(503), NONE, False),
        ({"kind": "direct_response", "status": 200, "body": ""}, _ok(), NONE, True),
        ({"kind": "direct_response", "status": 200, "body": "x"}, _ok(), NONE, False),
        ({"kind": "direct_response"}, _ok(), RIGHT, False),
        ({"kind": "no_listener"}, Outcome("refused"), NONE, True),
        ({"kind": "no_listener"}, _ok(404), NONE, False),
        ({"kind": "tls_reject"}, Outcome("reset"), NONE, True),
        ({"kind": "tls_reject"}, _ok(), NONE, False),
        ({"kind": "blackhole"}, _ok(502), NONE, True),
        ({"kind": "blackhole"}, _ok(), RIGHT, False),
        ({"kind": "status", "status": 502}, _ok(502), NONE, True),
        ({"kind": "status", "status": 502}, _ok(503), NONE, False),
        ({"kind": "one_of", "options": [{"host": "b.test"}, {"host": "a.test"}]}, _ok(), RIGHT, True),
        ({"kind": "one_of", "options": [{"host": "b.test"}, {"kind": "not_found"}]}, _ok(), RIGHT, False),
        ({"kind": "passthrough"}, _ok(), RIGHT, False),
    ],
)
def test_each_kind_holds_and_fails(
    expect: dict[str, Any], outcome: Outcome, seen: dict[Backend, list[Seen]], passes: bool
) -> None:
    assert (_differences(expect, outcome, seen) == []) is passes


def test_shares_and_stickiness_are_counted() -> None:
    shares = {
        "kind": "distribution",
        "destinations": [{"host": "a.test", "weight": 75}, {"host": "b.test", "weight": 25}],
    }
    assert _differences(shares, _ok(), {A: [_seen()] * 140, B: [_seen()] * 60}, 200) == []
    assert len(_differences(shares, _ok(), {A: [_seen()] * 100, B: [_seen()] * 100}, 200)) == 2
    assert _differences({"kind": "sticky"}, _ok(), {A: [_seen()] * 10, B: []}, 10) == []
    assert _differences({"kind": "sticky"}, _ok(), {A: [_seen()] * 9, B: [_seen()]}, 10)
    assert repeats(Call("c", {"expect": {"kind": "sticky"}})) == 10
    assert repeats(Call("c", {"repeat": 7, "expect": {"kind": "sticky"}})) == 7
    assert repeats(Call("c", {"expect": {"kind": "route"}})) == 1


def test_every_kind_of_the_format_is_known_but_the_sidecars_own() -> None:
    answers = {"redirect", "not_found", "direct_response", "status", "no_listener", "tls_reject", "blackhole"}
    assert set(KINDS) == answers | {"route", "distribution", "sticky", "one_of"}


def test_a_request_names_its_host_first() -> None:
    call = {"host": "h", "path": "/p?q", "method": "OPTIONS", "headers": {"origin": "o"}}
    assert request_bytes(call) == b"OPTIONS /p?q HTTP/1.1\r\nhost: h\r\norigin: o\r\n\r\n"


def test_a_request_of_http2_names_its_host_as_authority() -> None:
    call = {"host": "h", "path": "/p?q", "method": "PUT", "headers": {"Origin": "o"}, "protocol": "https"}
    assert h2_request(call).fields == [
        (":method", "PUT"),
        (":scheme", "https"),
        (":authority", "h"),
        (":path", "/p?q"),
        ("origin", "o"),
    ]
