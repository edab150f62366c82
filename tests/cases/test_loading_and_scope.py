"""Files become cases, long strings are expanded, and only what is listed with a reason is out of scope."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cases.calls import h2_request, numbered, request_bytes, with_cookie
from tests.cases.golden import listener_ports, place_flags
from tests.cases.loading import Call, Case, CaseFileError, expand, load_cases
from tests.cases.port_plan import PortPlan
from tests.cases.scope import Scope, ScopeError
from tests.cases.vocabulary import unknown_words
from tests.support.h2_client import H2Request

CONFIG = """
kind: Gateway
spec: {servers: [{port: {number: 24001}}, {port: {number: 24002}}]}
---
kind: VirtualService
spec: {http: [{mirror: {host: x}, route: []}]}
"""


def _case(**data: Any) -> Case:
    calls = [Call("1", {"protocol": "http1", "port": 24003}), Call("2", {"protocol": "http2", "port": 24001})]
    return Case(Path("f.yaml"), "c", "golden", CONFIG, data, calls)


def _scope(folder: Path, text: str) -> Scope:
    (folder / "scope.yaml").write_text(text)
    return Scope.load(folder / "scope.yaml")


def test_long_strings_are_expanded_wherever_they_stand() -> None:
    assert expand({"a": [{"text": "/", "then": "p", "times": 3, "end": "!"}]}) == {"a": ["/ppp!"]}


def test_both_formats_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(
        "- {id: g, config: '', calls: [{id: a}]}\n- {id: r, mode: gateway, config: '', calls: [{name: b}]}\n"
    )
    golden, routing = load_cases(file)
    assert (golden.format, golden.calls[0].id, routing.format, routing.calls[0].id) == (
        "golden",
        "a",
        "routing",
        "b",
    )


def test_equal_call_names_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(
        "- {id: r, mode: gateway, config: '', calls: [{name: b}, {name: c}, {name: b}]}\n"
    )
    (case,) = load_cases(tmp_path / "f.yaml")
    assert [call.id for call in case.calls] == ["b", "c", "b#2"]


def test_words_that_would_go_unheeded_are_told() -> None:
    expect = {"client": {"outcome": "x", "colour": 1}, "upstream": [{"upstream": "a", "size": 1}], "more": 1}
    case = _case()
    case.calls.append(Call("3", {"expect": expect, "repat": 2}))
    told = ["call.repat", "expect.client.colour", "expect.more", "expect.upstream.size"]
    assert unknown_words([case]) == [f"{word} (in c)" for word in told]


@pytest.mark.parametrize("text", ["a: 1", "- {id: x}", "[", "- 1"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(CaseFileError, match=r"f\.yaml"):
        load_cases(tmp_path / "f.yaml")


@pytest.mark.parametrize(
    ("rules", "out"),
    [
        ("{protocol: http2}", ["2"]),
        ("{config_key: mirror}", ["1", "2"]),
        ("{config_key: [fault, mirror], protocol: http2}", ["2"]),
        ("{config_key: fault}", []),
        ("{upstream_kind: [h2c, h2s]}", ["1", "2"]),
        ("{mode: sidecar}", []),
        ("{tls: true}", []),
    ],
)
def test_a_rule_holds_when_all_its_words_do(tmp_path: Path, rules: str, out: list[str]) -> None:
    case = _case(upstreams=[{"kind": "h2c"}])
    scope = _scope(tmp_path, f"rules: [{{where: {rules}, reason: later}}]\n")
    assert [call.id for call in case.calls if scope.reason(case, call)] == out


def test_ids_name_calls_or_cases_of_their_file_and_stale_ones_are_told(tmp_path: Path) -> None:
    case = _case()
    scope = _scope(tmp_path, "ids: {f.yaml: {c/2: later, d: gone, c/9: gone}, g.yaml: {c: x}}\n")
    assert [scope.reason(case, call) for call in case.calls] == [None, "later"]
    assert scope.stale([case]) == ["f.yaml: d", "f.yaml: c/9"]


def test_what_is_played_already_stays_in_scope_whatever_the_rules_say(tmp_path: Path) -> None:
    case = _case()
    rules = "rules: [{where: {config_key: mirror}, reason: later}]\n"
    scope = _scope(tmp_path, rules + "played: {f.yaml: [c/2, gone]}\n")
    assert [scope.reason(case, call) for call in case.calls] == ["later", None]
    assert scope.stale([case]) == ["f.yaml: gone"]


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{where: {colour: red}, reason: x}]",
        "rules: [{where: {tls: true}}]",
        "rules: [{reason: x}]",
        "ids: {f.yaml: {c: ''}}",
        "other: 1",
    ],
)
def test_a_scope_without_reasons_or_with_unknown_words_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ScopeError):
        _scope(tmp_path, text)


def test_upstream_ports_are_mapped_as_whole_numbers_and_back() -> None:
    plan = PortPlan([{"name": "a", "port": 24101}])
    real = str(plan.reservations[24101].port)
    text = "ports: {http: 24101}, x24101 241011 1.24101 127.0.0.1:24101"
    mapped = plan.in_config(text)
    assert mapped == f"ports: {{http: {real}}}, x24101 241011 1.24101 127.0.0.1:{real}"
    assert plan.in_result(mapped) == text
    assert plan.in_result("port 31001", {"31001": "24001"}) == "port 24001"
    plan.release()


def test_ports_of_servers_are_mapped_unless_a_call_names_another() -> None:
    case = _case()
    assert listener_ports(case) == [24001, 24003]
    case.calls.pop(0)
    assert listener_ports(case) == [24001, 24002]
    service = "\n---\nkind: Service\nspec: {ports: [{port: 24002, targetPort: 24001}]}\n"
    assert listener_ports(replace(case, config=CONFIG + service)) == [24001]


def test_servers_stay_on_the_loopback_unless_they_name_an_address() -> None:
    assert place_flags(_case())[2:] == ["--bind", "127.0.0.1"]
    bound = Case(
        Path("f.yaml"), "c", "golden", CONFIG.replace("{port: {number: 24002}", "{bind: 127.0.0.1"), {}
    )
    assert place_flags(bound)[2:] == []


def test_a_request_is_sent_as_written_with_its_sizes() -> None:
    request = {
        "method": "POST",
        "path": "/",
        "headers": [["Host", "x"]],
        "body_size": 2,
        "header_size": 3,
        "header_count": 2,
    }
    assert request_bytes({"request": request}) == (
        b"POST / HTTP/1.1\r\nHost: x\r\nx-big: aaa\r\nx-n0: 1\r\nx-n1: 1\r\n\r\nxx"
    )
    assert h2_request(
        {"tls": {}, "request": {**request, "trailers": [["t", "1"]], "authority": "y"}}
    ) == H2Request(
        *("/", "POST", "y", "https"),
        [("Host", "x"), ("x-big", "aaa"), ("x-n0", "1"), ("x-n1", "1")],
        b"xx",
        [("t", "1")],
        pieces=[],
    )
    assert request_bytes({"raw": "\xff\n"}) == b"\xff\n"
    assert with_cookie({"request": {}}, "a=b")["request"]["headers"] == [["Cookie", "a=b"]]
    assert with_cookie({"protocol": "http2", "request": {}}, "a=b")["request"]["headers"] == [
        ["cookie", "a=b"]
    ]
    assert numbered({"path": "/{i}", "n": [1, "{i}"]}, 7) == {"path": "/7", "n": [1, "7"]}
