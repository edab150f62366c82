"""Header operations, semantics 6.2; lists of fields are compared as the recordings order them."""

from __future__ import annotations

import pytest

from gatewayd.http.message import Pair
from gatewayd.policies.header_ops import HeaderLevel, HeaderOps, compile_levels, level_of
from tests.policies.facts import info_of


def ops(
    set: dict[str, str] | None = None,
    add: dict[str, str] | None = None,
    remove: list[str] | None = None,
    request: bool = True,
) -> HeaderOps:
    compiled = compile_levels([level_of(set or {}, add or {}, remove or [])], request=request)
    assert compiled is not None
    return compiled


def applied(operations: HeaderOps, *pairs: Pair) -> list[Pair]:
    received = list(pairs)
    result = operations.apply(received, info_of(fields=pairs))
    assert received == list(pairs)  # nobody else's list was changed
    return result


A1, B1 = (b"x-a", b"1"), (b"x-b", b"1")


def test_remove_then_set_then_add() -> None:
    both = ops({"x-a": "s"}, {"x-a": "a"}, ["x-a"])
    assert applied(both, A1, B1) == [B1, (b"x-a", b"s"), (b"x-a", b"a")]


def test_set_replaces_every_line_and_add_appends_one() -> None:
    assert applied(ops({"x-a": "s"}), A1, B1, (b"x-a", b"2")) == [B1, (b"x-a", b"s")]
    assert applied(ops(add={"x-a": "a"}), A1, B1) == [A1, B1, (b"x-a", b"a")]


def test_names_are_case_insensitive_and_sent_in_lower_case() -> None:
    assert applied(ops(add={"X-A": "a"}, remove=["X-B"]), A1, B1) == [A1, (b"x-a", b"a")]


def test_empty_value_leaves_the_header_as_it_is() -> None:
    assert compile_levels([level_of({"x-a": ""}, {"x-b": ""}, [])], request=True) is None
    assert applied(ops({"x-a": "", "x-b": "2"}), A1) == [A1, (b"x-b", b"2")]


def test_no_operations_cost_nothing() -> None:
    assert compile_levels([HeaderLevel(), level_of({}, {}, [])], request=True) is None


def test_one_level_of_rule_and_destination_the_later_set_wins() -> None:
    destination = level_of({"x-a": "d"}, {"x-c": "d"}, ["x-b"])
    level = level_of({"x-a": "r", "x-z": "r"}, {"x-c": "r"}, [], destination)
    compiled = compile_levels([level], request=True)
    assert compiled is not None
    sets = [(b"x-a", b"d"), (b"x-z", b"r")]
    assert applied(compiled, A1, B1) == [*sets, (b"x-c", b"r"), (b"x-c", b"d")]


def test_two_levels_run_one_after_the_other() -> None:
    destination = level_of({"x-a": "d"}, {"x-c": "d"}, [])
    rule = level_of({"x-a": "r"}, {}, ["x-c"])
    compiled = compile_levels([destination, rule], request=True)
    assert compiled is not None
    assert applied(compiled, B1) == [B1, (b"x-a", b"r")]


def test_names_run_in_the_sorted_order_of_the_configuration() -> None:
    assert level_of({"b": "1", "B": "2", "a": "3"}, {}, []).set == (("B", "2"), ("a", "3"), ("b", "1"))


def test_variables_see_the_headers_before_the_sets_of_their_level() -> None:
    swap = ops({"x-a": "%REQ(x-b)%", "x-b": "%REQ(x-a)%"})
    assert applied(swap, (b"x-a", b"1"), (b"x-b", b"2")) == [(b"x-a", b"2"), (b"x-b", b"1")]


def test_variables_do_not_see_what_their_level_removes() -> None:
    # As recorded from Envoy: removal comes first, the empty result skips the header.
    assert applied(ops({"x-b": "%REQ(x-a)%"}, remove=["x-a"]), A1, B1) == [B1]


def test_a_later_level_sees_what_an_earlier_one_did() -> None:
    levels = [level_of({"x-a": "new"}, {}, []), level_of({"x-b": "%REQ(x-a)%"}, {}, [])]
    compiled = compile_levels(levels, request=True)
    assert compiled is not None
    assert applied(compiled, A1) == [(b"x-a", b"new"), (b"x-b", b"new")]


def test_empty_result_skips_the_header_and_text_around_it_does_not() -> None:
    assert applied(ops({"x-a": "%REQ(no)%"}), A1) == [A1]
    assert applied(ops({"x-a": "a%REQ(no)%b"}), A1) == [(b"x-a", b"ab")]


def test_response_operations_see_the_request_after_its_operations() -> None:
    respond = ops({"y-a": "%REQ(x-a)% %RESP(x-up)% %RESPONSE_FLAGS%"}, request=False)
    for value in ("sent", "%PROTOCOL%"):
        info = info_of(fields=[A1])
        ops({"x-a": value}).apply([A1], info)
        expected = b"sent u -" if value == "sent" else b"HTTP/1.1 u -"
        assert respond.apply([(b"x-up", b"u")], info) == [(b"x-up", b"u"), (b"y-a", expected)]


def test_constant_and_formatted_values_mix_in_order() -> None:
    mixed = ops({"x-a": "s", "x-b": "%REQ(x-a)%"}, {"x-a": "a", "x-c": "%PROTOCOL%"})
    new = [(b"x-a", b"s"), (b"x-b", b"1"), (b"x-a", b"a"), (b"x-c", b"HTTP/1.1")]
    assert applied(mixed, A1) == new


def test_a_percent_sign_is_written_twice() -> None:
    assert applied(ops({"x-a": "100%%"})) == [(b"x-a", b"100%")]


def test_line_ends_never_get_into_a_value() -> None:
    info = info_of(fields=[(b"x-in", b"a\r\nx-evil: 1\x00")])
    assert ops({"x-a": "%REQ(x-in)%"}).apply(list(info.request.fields.pairs), info)[-1] == (  # type: ignore[union-attr]
        b"x-a",
        b"ax-evil: 1",
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x-a", "50%", "'%' at character 3 begins no variable"),
        ("x-a", "%UNKNOWN%", "unknown variable %UNKNOWN%"),
        ("x-a", "%REQ()%", "variable %REQ%: needs a header name"),
        ("x-a", "a\nb", "control character"),
        ("x a", "v", "not a valid header name"),
        ("", "v", "not a valid header name"),
        (":path", "/x", "cannot be changed"),
        ("Host", "x", "cannot be changed"),
        ("Content-Length", "5", "how long the message is"),
        ("transfer-encoding", "chunked", "how long the message is"),
    ],
)
def test_bad_operations_are_refused_in_words(name: str, value: str, words: str) -> None:
    for level in (level_of({name: value}, {}, []), level_of({}, {name: value}, [])):
        with pytest.raises(ValueError, match=words):
            compile_levels([level], request=True)


@pytest.mark.parametrize("name", ["host", ":authority", "content-length", "bad name"])
def test_bad_removals_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        compile_levels([level_of({}, {}, [name])], request=True)


def test_what_is_added_to_a_field_of_one_line_is_joined_to_it() -> None:
    """Observed beside Envoy: cache-control and its like stay one line; unknown names get another (14.7.2)."""
    level = HeaderLevel(add=(("cache-control", "b"), ("x-a", "b")))
    before = [(b"cache-control", b"a"), (b"x-a", b"a")]
    for request in (True, False):
        ops = compile_levels([level], request=request)
        assert ops is not None
        assert sorted(ops.apply(list(before), info_of())) == [
            (b"cache-control", b"a,b"),
            (b"x-a", b"a"),
            (b"x-a", b"b"),
        ]


def test_what_is_added_to_an_empty_field_of_one_line_takes_its_place() -> None:
    ops = compile_levels([HeaderLevel(add=(("vary", "b"),))], request=False)
    assert ops is not None
    assert ops.apply([(b"vary", b"")], info_of()) == [(b"vary", b"b")]


def test_request_operations_know_no_endpoint_and_no_body_yet() -> None:
    level = HeaderLevel(set=(("x-a", "%UPSTREAM_HOST%"), ("x-b", "%BYTES_RECEIVED%")))
    info = info_of()
    info.upstream_host, info.bytes_received = "10.0.0.1:80", 7
    for request, expected in ((True, [(b"x-b", b"0")]), (False, [(b"x-a", b"10.0.0.1:80"), (b"x-b", b"7")])):
        ops = compile_levels([level], request=request)
        assert ops is not None
        assert ops.apply([], info) == expected


def test_an_answer_made_here_has_no_response_code_in_its_operations() -> None:
    ops = compile_levels([HeaderLevel(set=(("x-a", "%RESPONSE_CODE% %BYTES_SENT%"),))], request=False)
    assert ops is not None
    info = info_of()
    info.status, info.bytes_sent, info.responded_at = 503, 19, 0.0
    assert ops.apply([], info) == [(b"x-a", b"0 0")]
    info.responded_at = 1.0
    assert ops.apply([], info) == [(b"x-a", b"503 0")]
