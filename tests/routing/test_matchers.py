"""Each field of an HTTP match, semantics section 5."""

from __future__ import annotations

import time

import pytest

from gatewayd.http.message import Pair, RequestHead
from gatewayd.routing.matchers import MATCHERS
from tests.reference.routing import Spec, holds
from tests.routing.support import request, uri


def met(spec: Spec, one: RequestHead) -> bool:
    field, key, kind, value = spec
    condition = MATCHERS[field](key, kind, value)
    answer = condition.matches(one)
    assert answer is holds(spec, one)  # the plain twin agrees
    return answer


@pytest.mark.parametrize(
    ("kind", "value", "target", "expected"),
    [
        ("exact", "/exact", b"/exact", True),
        ("exact", "/exact", b"/exact/", False),  # 5.5
        ("exact", "/exact", b"/exact?q=1", True),  # 5.3
        ("exact", "/exact", b"/exact?", True),
        ("prefix", "/foo", b"/foobar", True),  # 5.4
        ("prefix", "/foo", b"/fo", False),
        ("prefix", "", b"/", True),
        ("regex", "/re/[0-9]+", b"/re/12?q=/re/x", True),  # 5.6
        ("regex", "/re/[0-9]+", b"/re/12a", False),
        ("segment_prefix", "/foo", b"/foo", True),  # 13.6
        ("segment_prefix", "/foo", b"/foo/x", True),
        ("segment_prefix", "/foo", b"/foobar", False),
        ("segment_prefix", "/foo/", b"/foo", True),
        ("segment_prefix", "/", b"/any", True),
    ],
)
def test_uri(kind: str, value: str, target: bytes, expected: bool) -> None:
    assert met(uri(kind, value), request(target)) is expected


@pytest.mark.parametrize(
    ("kind", "value", "target", "expected"),
    [
        ("exact", "/Ic", b"/iC", True),
        ("prefix", "/Ip", b"/IP/x", True),
        ("prefix", "/Ip", b"/I", False),
        ("regex", "/Ir", b"/ir", False),  # not for regex
        ("regex", "/Ir", b"/Ir", True),
    ],
)
def test_ignore_uri_case(kind: str, value: str, target: bytes, expected: bool) -> None:
    assert met(("uri ignoring case", "", kind, value), request(target)) is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (("method", "", "exact", "POST"), True),
        (("method", "", "exact", "post"), False),
        (("method", "", "regex", "GET|POST"), True),
        (("scheme", "", "exact", "https"), True),
        (("scheme", "", "exact", "http"), False),
        (("authority", "", "exact", "Shop.test:8080"), True),  # port and case kept (5.17)
        (("authority", "", "exact", "shop.test"), False),
        (("authority", "", "prefix", "Shop"), True),
        (("headers", ":method", "exact", "POST"), True),
        (("headers", ":authority", "prefix", "Shop"), True),
        (("headers", ":path", "prefix", "/pp?q="), True),  # with the query
        (("headers", ":scheme", "regex", "https?"), True),
        (("headers", ":path", "present", ""), True),
        (("withoutHeaders", ":method", "exact", "POST"), False),
        (("withoutHeaders", ":method", "exact", "GET"), True),
        (("withoutHeaders", ":scheme", "present", ""), False),
    ],
)
def test_control_data_and_pseudo_headers(spec: Spec, expected: bool) -> None:
    one = request(b"/pp?q=1", method=b"POST", host=b"Shop.test:8080", scheme=b"https")
    assert met(spec, one) is expected


@pytest.mark.parametrize("field", ["method", "scheme", "authority"])
def test_an_empty_condition_on_control_data_is_always_met(field: str) -> None:
    assert MATCHERS[field]("", "present", "").matches(request())
    assert MATCHERS[field]("", "regex", "*").matches(request())


def test_host_as_a_header_key_means_the_authority() -> None:
    condition = MATCHERS["headers"]("Host", "exact", "a.test")
    assert condition.matches(request(host=b"a.test"))
    assert not condition.matches(request(host=b"A.test"))


GOLD = ((b"x-kind", b"gold"),)
TWO = ((b"x-kind", b"a"), (b"x-kind", b"b"))


@pytest.mark.parametrize(
    ("kind", "value", "fields", "expected"),
    [
        ("exact", "gold", GOLD, True),
        ("exact", "Gold", GOLD, False),
        ("exact", "gold", (), False),  # 5.10
        ("prefix", "go", GOLD, True),
        ("regex", "g.*", GOLD, True),
        ("regex", "g", GOLD, False),
        ("exact", "b", TWO, True),  # any single line (5.8)
        ("exact", "a,b", TWO, False),  # never joined
        ("exact", "a,b", ((b"x-kind", b"a,b"),), True),
        ("present", "", GOLD, True),  # 5.9
        ("present", "", ((b"x-kind", b""),), True),
        ("present", "", (), False),
        ("regex", "*", ((b"x-kind", b""),), True),
        ("regex", "*", (), False),
        ("regex", ".*", (), False),
    ],
)
def test_headers(kind: str, value: str, fields: tuple[Pair, ...], expected: bool) -> None:
    assert met(("headers", "X-Kind", kind, value), request(b"/", *fields)) is expected


@pytest.mark.parametrize(
    ("kind", "value", "fields", "expected"),
    [
        ("exact", "gold", (), True),
        ("exact", "gold", GOLD, False),
        ("exact", "red", GOLD, True),
        ("exact", "b", TWO, False),  # one line is enough to fail
        ("exact", "c", TWO, True),
        ("prefix", "g", (), True),
        ("regex", ".*", (), False),  # the absent header is tested as ""
        ("regex", ".+", (), True),
        ("exact", "", (), False),
        ("present", "", (), True),
        ("present", "", GOLD, False),
        ("present", "", ((b"x-kind", b""),), False),
        ("regex", "*", (), True),
    ],
)
def test_without_headers(kind: str, value: str, fields: tuple[Pair, ...], expected: bool) -> None:
    assert met(("withoutHeaders", "x-kind", kind, value), request(b"/", *fields)) is expected


@pytest.mark.parametrize(
    ("kind", "value", "target", "expected"),
    [
        ("exact", "1", b"/?p=1", True),
        ("exact", "1", b"/?a=b&p=1", True),
        ("exact", "2", b"/?p=1&p=2", False),  # the first value alone
        ("exact", "1", b"/?p=%31", False),  # raw
        ("exact", "a b", b"/?p=a+b", False),
        ("exact", "1", b"/?P=1", False),
        ("exact", "1", b"/?pp=1", False),
        ("exact", "1", b"/?x=p=1", False),
        ("exact", "1", b"/?a;p=1", False),
        ("exact", "", b"/?p", True),
        ("exact", "", b"/?p=", True),
        ("exact", "", b"/", False),
        ("exact", "a=b", b"/?p=a=b", True),
        ("prefix", "a", b"/?p=ab", True),
        ("regex", "[0-9]+", b"/?p=12", True),
        ("present", "", b"/?p", True),
        ("present", "", b"/?", False),
        ("regex", "*", b"/?p=x", True),
    ],
)
def test_query_parameters(kind: str, value: str, target: bytes, expected: bool) -> None:
    assert met(("queryParams", "p", kind, value), request(target)) is expected


def test_no_parameter_has_a_name_with_a_separator() -> None:
    for name in ("a=b", "a&b"):
        assert not MATCHERS["queryParams"](name, "present", "").matches(request(b"/?a=b=c&a&b=1"))


def test_thousands_of_parameters_are_searched_quickly() -> None:
    one = request(b"/?" + b"p&pp=1&" * 1000 + b"q=1")
    condition = MATCHERS["queryParams"]("q", "exact", "1")
    start = time.process_time()
    for _ in range(100):
        assert condition.matches(one)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (uri("exact", "/a"), "uri exact /a"),
        (uri("segment_prefix", "/a/"), "uri below /a"),
        (uri("regex", "/a.*"), "uri regex /a.*"),
        (("uri ignoring case", "", "prefix", "/A"), "uri prefix /a ignoring case"),
        (("method", "", "exact", "GET"), 'method exact "GET"'),
        (("headers", "X-A", "prefix", "v"), 'header x-a prefix "v"'),
        (("headers", "x-a", "present", ""), "header x-a present"),
        (("withoutHeaders", "x-a", "present", ""), "without header x-a present"),
        (("withoutHeaders", "x-a", "exact", "v"), 'without header x-a exact "v"'),
        (("withoutHeaders", ":method", "exact", "GET"), 'not method exact "GET"'),
        (("queryParams", "p", "regex", "*"), "query parameter p present"),
    ],
)
def test_conditions_say_what_they_are(spec: Spec, words: str) -> None:
    field, key, kind, value = spec
    assert MATCHERS[field](key, kind, value).describe() == words


@pytest.mark.parametrize("field", MATCHERS)
def test_bad_expressions_and_kinds_are_refused_in_words(field: str) -> None:
    with pytest.raises(ValueError, match="not an RE2 regular expression"):
        MATCHERS[field]("x", "regex", "(")
    with pytest.raises(ValueError, match="unknown kind of comparison 'suffix'"):
        MATCHERS[field]("x", "suffix", "a")
