"""Every field of a golden expectation is compared: a right observation passes, each wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cases.golden_check import check_call
from tests.cases.golden_repeat import check_repeat
from tests.cases.loading import Call, Case
from tests.cases.observed import Observed
from tests.cases.port_plan import PortPlan
from tests.support.h1_text import Body, Head
from tests.support.raw_client import Outcome, Response
from tests.support.recorder import Seen

UPSTREAMS = [
    {"name": name, "port": port, "host": "127.0.0.1"} for name, port in (("alpha", 24101), ("beta", 24102))
]


@pytest.fixture
def plan() -> Any:
    plan = PortPlan(UPSTREAMS)
    yield plan
    plan.release()


def _case(config: str = "") -> Case:
    return Case(Path("f.yaml"), "case", "golden", config, {"upstreams": UPSTREAMS})


def _expect() -> dict[str, Any]:
    return {
        "client": {
            "outcome": "response",
            "status": 200,
            "version": "HTTP/1.1",
            "headers": [["date", "<date>"], ["content-length", "5"]],
            "body": "alpha",
            "after": "open",
        },
        "upstream": [
            {
                "upstream": "alpha",
                "method": "POST",
                "path": "/p",
                "version": "HTTP/1.1",
                "authority": "a.test",
                "scheme": "http",
                "headers": [["x-to", "127.0.0.1:24101"], ["x-at", "24001"]],
                "chunked": True,
                "body": "in",
            }
        ],
        "log": [
            {
                "request": "POST /p HTTP/1.1",
                "status": 200,
                "flags": "-",
                "details": "via_upstream",
                "authority": "a.test",
                "upstream_host": "127.0.0.1:24101",
                "upstream_cluster": "outbound|80||a.test",
                "bytes_received": 2,
                "bytes_sent": 5,
            }
        ],
        "elapsed_ms": 100,
    }


def _observed(plan: PortPlan) -> Observed:
    real = plan.reservations[24101].port
    headers = [("date", "Fri, 20 Nov 2026 16:11:00 GMT"), ("content-length", "5")]
    response = Response(200, "HTTP/1.1", headers, b"alpha")
    seen = Seen(
        "alpha", 1, "http", "POST", "/p", "HTTP/1.1", [("x-to", f"127.0.0.1:{real}"), ("x-at", "31001")]
    )
    seen.authority, seen.scheme = "a.test", "http"
    seen.chunked = True
    seen.content = Body(bytearray(b"in"))
    line = {
        "method": "POST",
        "path": "/p",
        "protocol": "HTTP/1.1",
        "response_code": 200,
        "response_flags": "-",
        "response_code_details": "via_upstream",
        "authority": "a.test",
        "upstream_host": f"127.0.0.1:{real}",
        "upstream_cluster": "outbound|80||a.test",
        "bytes_received": 2,
        "bytes_sent": 5,
        "route_name": None,
    }
    outcome = Outcome("response", [response], after="open", elapsed_ms=180)
    return Observed([outcome], {"alpha": [seen], "beta": []}, [line], {"31001": "24001"})


def _check(plan: PortPlan, expect: dict[str, Any], observed: Observed, config: str = "") -> list[str]:
    return check_call(_case(config), Call("1", {"expect": expect}), observed, plan)


def test_what_came_as_recorded_passes(plan: PortPlan) -> None:
    assert _check(plan, _expect(), _observed(plan)) == []


def _set(path: str, value: Any) -> Any:
    def change(observed: Observed) -> None:
        target: Any = observed
        *way, last = path.split(".")
        for step in way:
            target = (
                target[int(step)]
                if step.isdigit()
                else target[step]
                if isinstance(target, dict)
                else getattr(target, step)
            )
        if isinstance(target, dict):
            target[last] = value
        else:
            setattr(target, last, value)

    return change


RESPONSE, SEEN, LINE = "outcomes.0.responses.0", "seen.alpha.0", "log.0"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("outcomes.0.outcome", "closed", "outcome: expected response, came closed"),
        (f"{RESPONSE}.status", 503, "status: expected 200, came 503"),
        (f"{RESPONSE}.version", "HTTP/1.0", "version: expected HTTP/1.1, came HTTP/1.0"),
        (f"{RESPONSE}.headers", [("date", "x"), ("content-length", "5")], "response header date"),
        (f"{RESPONSE}.body", b"beta", "body: expected 'alpha', came 'beta'"),
        (f"{RESPONSE}.trailers", [("x", "1")], "trailer header x: expected none"),
        (f"{RESPONSE}.interim", [Head("HTTP/1.1 103 X", [], b"")], "interim: expected [], came [103]"),
        (f"{RESPONSE}.truncated", "closed", "truncated: expected None, came closed"),
        (f"{RESPONSE}.h2_error", "CANCEL", "h2_error: expected None, came CANCEL"),
        ("outcomes.0.after", "closed", "after: expected connection open, came closed"),
        ("outcomes.0.extra", b"HTTP", "extra bytes: expected '', came 'HTTP'"),
        ("outcomes.0.elapsed_ms", 251.0, "elapsed: expected 100 ms, came 251 ms"),
        (f"{SEEN}.method", "GET", "method: expected POST, came GET"),
        (f"{SEEN}.path", "/q", "path: expected /p, came /q"),
        (f"{SEEN}.version", "HTTP/1.0", "version"),
        (f"{SEEN}.authority", "b.test", "authority: expected a.test, came b.test"),
        (f"{SEEN}.scheme", None, "scheme: expected http, came None"),
        (f"{SEEN}.headers", [("x-at", "31001")], "header x-to: expected '127.0.0.1:24101', absent"),
        (f"{SEEN}.chunked", False, "chunked: expected True, came False"),
        (f"{SEEN}.content", Body(bytearray(b"i")), "body: expected 'in', came 'i'"),
        (
            f"{SEEN}.content",
            Body(bytearray(b"in"), truncated="closed"),
            "truncated: expected False, came True",
        ),
        (f"{SEEN}.content", Body(bytearray(b"in"), [("t", "1")]), "trailer header t: expected none"),
        ("seen.alpha", [], "upstream alpha: expected 1 requests, came 0"),
        ("seen.beta", [Seen("beta", 1)], "upstream beta: expected 0 requests, came 1"),
        ("log", [], "log: expected 1 lines, came 0"),
        (f"{LINE}.path", "/q", "log request: expected POST /p HTTP/1.1, came POST /q HTTP/1.1"),
        (f"{LINE}.response_code", 201, "log status: expected 200, came 201"),
        (f"{LINE}.response_flags", "UF", "log flags: expected -, came UF"),
        (f"{LINE}.response_code_details", None, "log details: expected via_upstream, came -"),
        (f"{LINE}.authority", "b.test", "log authority"),
        (f"{LINE}.upstream_host", "127.0.0.1:1", "log upstream_host: expected 127.0.0.1:24101"),
        (f"{LINE}.upstream_cluster", "x", "log upstream_cluster"),
        (f"{LINE}.bytes_received", 3, "log bytes_received: expected 2, came 3"),
        (f"{LINE}.bytes_sent", 6, "log bytes_sent: expected 5, came 6"),
        (f"{LINE}.route_name", "r", "log route_name: expected -, came r"),
        (f"{LINE}.requested_server_name", "r", "log requested_server_name: expected -, came r"),
    ],
)
def test_each_wrong_thing_is_told_and_nothing_else(plan: PortPlan, path: str, value: Any, told: str) -> None:
    observed = _observed(plan)
    _set(path, value)(observed)
    (difference,) = _check(plan, _expect(), observed)
    assert told in difference


def test_a_reset_stands_for_a_close_and_a_refusal_does_not(plan: PortPlan) -> None:
    expect = {"client": {"outcome": "reset"}, "upstream": []}
    assert _check(plan, expect, Observed([Outcome("closed")], {})) == []
    assert _check(plan, expect, Observed([Outcome("refused")], {})) == [
        "outcome: expected reset, came refused"
    ]


def test_a_stream_reset_is_told_apart_by_its_code(plan: PortPlan) -> None:
    expect = {"client": {"outcome": "stream_reset", "h2_error": "CANCEL"}, "upstream": []}
    assert _check(plan, expect, Observed([Outcome("stream_reset", h2_error="CANCEL")], {})) == []
    assert _check(plan, expect, Observed([Outcome("stream_reset", h2_error="INTERNAL_ERROR")], {})) == [
        "h2_error: expected CANCEL, came INTERNAL_ERROR"
    ]
    assert _check(plan, expect, Observed([Outcome("closed")], {})) == [
        "outcome: expected stream_reset, came closed"
    ]


def test_a_connection_told_to_close_may_take_its_time(plan: PortPlan) -> None:
    expect, observed = _expect(), _observed(plan)
    closing = ("connection", "close")
    expect["client"]["headers"].append(list(closing))
    observed.outcomes[0].response.headers.append(closing)
    observed.outcomes[0].after = "closed"
    assert _check(plan, expect, observed) == []


def test_a_date_the_configuration_sets_stands_for_a_date(plan: PortPlan) -> None:
    observed = _observed(plan)
    observed.outcomes[0].response.headers[0] = ("date", "never")
    assert _check(plan, _expect(), observed, "set: {date: never}") == []
    assert _check(plan, _expect(), observed)


def test_the_host_a_hash_picks_is_informative_but_what_it_got_is_not(plan: PortPlan) -> None:
    observed = _observed(plan)
    seen = observed.seen["alpha"][0]
    observed.seen = {"alpha": [], "beta": [seen]}
    real = plan.reservations[24102].port
    seen.headers[0] = ("x-to", "127.0.0.1:24101")
    observed.outcomes[0].response.body = b"beta"
    observed.outcomes[0].response.headers[1] = ("content-length", "4")
    observed.log = [{**observed.log[0], "upstream_host": f"127.0.0.1:{real}", "bytes_sent": 4}]
    assert _check(plan, _expect(), observed, "consistentHash: {}") == []
    assert len(_check(plan, _expect(), observed)) == 6
    seen.path = "/q"
    assert _check(plan, _expect(), observed, "consistentHash: {}") == [
        "upstream beta path: expected /p, came /q"
    ]


def _repeat(
    plan: PortPlan,
    expect: dict[str, Any],
    statuses: list[int],
    seen: dict[str, int],
    config: str = "",
    **more: Any,
) -> list[str]:
    outcomes = [
        Outcome("response", [Response(status, "HTTP/1.1", more.get("headers", []))]) for status in statuses
    ]
    entries = {
        name: [Seen(name, number % more.get("connections", 1)) for number in range(count)]
        for name, count in seen.items()
    }
    log = [{"response_flags": flag} for flag in more.get("flags", [])]
    return check_repeat(_case(config), Call("1", {"expect": expect}), Observed(outcomes, entries, log), plan)


def test_counts_are_exact_unless_shares_are_configured(plan: PortPlan) -> None:
    expect = {"distribution": {"total": 4, "by_status": {"200": 1, "503": 3}, "by_upstream": {"alpha": 1}}}
    assert _repeat(plan, expect, [503, 200, 503, 503], {"alpha": 1}) == []
    (told,) = _repeat(plan, expect, [503, 200, 200, 503], {"alpha": 1})
    assert told == "status of 4 calls: expected {'200': 1, '503': 3}, came {'503': 2, '200': 2}"
    (told,) = _repeat(plan, expect, [503, 200, 503, 503], {"alpha": 2})
    assert told.startswith("upstream of 4 calls")
    shares = {
        "distribution": {"total": 40, "by_status": {"200": 40}, "by_upstream": {"alpha": 30, "beta": 10}}
    }
    assert _repeat(plan, shares, [200] * 40, {"alpha": 25, "beta": 15}, "weight: 75") == []
    assert _repeat(plan, shares, [200] * 40, {"alpha": 10, "beta": 30}, "weight: 75")
    assert _repeat(plan, shares, [200] * 39 + [503], {"alpha": 30, "beta": 10}, "weight: 75")


def test_a_rotation_and_a_hash_are_exact_but_for_the_names(plan: PortPlan) -> None:
    even = {"distribution": {"total": 4, "by_status": {"200": 4}, "by_upstream": {"alpha": 2, "beta": 2}}}
    assert _repeat(plan, even, [200] * 4, {"alpha": 2, "beta": 2}, "simple: ROUND_ROBIN") == []
    assert _repeat(plan, even, [200] * 4, {"alpha": 3, "beta": 1}, "simple: ROUND_ROBIN")
    stuck = {"distribution": {"total": 4, "by_status": {"200": 4}, "by_upstream": {"alpha": 4}}}
    assert _repeat(plan, stuck, [200] * 4, {"beta": 4}, "consistentHash: {}") == []
    assert _repeat(plan, stuck, [200] * 4, {"beta": 4})
    assert _repeat(plan, stuck, [200] * 4, {"alpha": 3, "beta": 1}, "consistentHash: {}")


def test_flags_sequence_connections_and_cookies(plan: PortPlan) -> None:
    base = {"distribution": {"total": 2, "by_status": {"200": 1, "500": 1}, "by_upstream": {"alpha": 2}}}
    expect = {
        **base,
        "flags": {"-": 1, "UO": 1},
        "sequence": [200, 500],
        "upstream_connections": {"alpha": 2},
    }
    right: dict[str, Any] = {"flags": ["-", "UO"], "connections": 2}
    assert _repeat(plan, expect, [200, 500], {"alpha": 2}, **right) == []
    assert _repeat(plan, expect, [500, 200], {"alpha": 2}, **right) == []
    assert "flags" in _repeat(plan, expect, [200, 500], {"alpha": 2}, **{**right, "flags": ["-", "-"]})[0]
    assert "connections" in _repeat(plan, expect, [200, 500], {"alpha": 2}, **{**right, "connections": 1})[0]
    order = {
        "sequence": [500, 200, 200, 500],
        "distribution": {"total": 4, "by_status": {"200": 2, "500": 2}},
    }
    (told,) = _repeat(plan, order, [200, 500, 500, 200], {})
    assert told.startswith("sequence: expected")
    cookies = {**base, "set_cookie": ['c="<16 hex>"'] * 2}
    assert (
        _repeat(plan, cookies, [200, 500], {"alpha": 2}, headers=[("set-cookie", 'c="0123456789abcdef"')])
        == []
    )
    assert _repeat(plan, cookies, [200, 500], {"alpha": 2}, headers=[("set-cookie", "c=x")])
    assert _repeat(
        plan, {**base, "set_cookie": []}, [200, 500], {"alpha": 2}, headers=[("set-cookie", "c=x")]
    )


def test_several_responses_are_compared_one_by_one(plan: PortPlan) -> None:
    first, second = {"status": 200, "body": "a"}, {"status": 404, "body": "b"}
    came = Outcome("response", [Response(200, "HTTP/1.1", [], b"a"), Response(404, "HTTP/1.1", [], b"b")])
    for client in (
        [first, second],
        {"outcome": "response", "responses": [first, second]},
        {**first, "next": [second]},
    ):
        assert _check(plan, {"client": client, "upstream": []}, Observed([came], {})) == []
    wrong = Outcome("response", [came.responses[0], Response(200, "HTTP/1.1", [], b"b")])
    told = _check(plan, {"client": [first, second], "upstream": []}, Observed([wrong], {}))
    assert told == ["response 2: status: expected 404, came 200"]
    told = _check(
        plan,
        {"client": [first, second], "upstream": []},
        Observed([Outcome("response", [came.responses[0]])], {}),
    )
    assert told == ["responses: expected 2, came 1"]


@pytest.mark.parametrize("key", ["extra_bytes", "tunnel", "body"])
def test_what_comes_through_a_tunnel_is_compared_where_it_is_written(plan: PortPlan, key: str) -> None:
    response = Response(101, "HTTP/1.1", [], tunnel=b"echo:ping")
    came = Observed([Outcome("response", [response], extra=b"echo:ping")], {})
    client = {"outcome": "response", "status": 101}
    assert _check(plan, {"client": {**client, key: "echo:ping"}, "upstream": []}, came) == []
    assert len(_check(plan, {"client": {**client, key: "echo:pong"}, "upstream": []}, came)) == 1
