"""First match in order, however the rules are filed: semantics 4.7 and 5.1."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd import regexes
from gatewayd.routing import index as index_module
from gatewayd.routing import paths
from gatewayd.routing.index import RuleIndex, compile_finder
from tests.reference.routing import Spec, first_match
from tests.routing.support import request, rule, uri

_PATH = st.lists(st.sampled_from(["a", "b", "A", "ab"]), max_size=3).map(lambda p: "/" + "/".join(p))
_VALUE = st.sampled_from(["", "a", "b", "ab", "abc"])
_REGEX = st.sampled_from([".*", "a+b?", "[ab]+", "a|b", "", "ab.*"])
_PATH_REGEX = st.sampled_from(["/a/.*", "/a/[ab]+", "/.*", ".*", "/(a|b)/?", "/a", "/ab?/b"])
_NAME = st.sampled_from(["x-a", "x-b", "X-C"])


def _text(
    values: st.SearchStrategy[str], regexes: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[str, str]]:
    return st.one_of(
        st.tuples(st.sampled_from(["exact", "prefix"]), values), st.tuples(st.just("regex"), regexes)
    )


_PRESENT = st.sampled_from([("present", ""), ("regex", "*")])
_URI = st.one_of(_text(_PATH, _PATH_REGEX), st.tuples(st.just("segment_prefix"), _PATH))
_METHOD = _text(st.sampled_from(["GET", "POST", "P"]), st.just("GET|PUT"))
_SPEC: st.SearchStrategy[Spec] = st.one_of(
    _URI.map(lambda t: ("uri", "", *t)),
    _text(_PATH, _PATH_REGEX).map(lambda t: ("uri ignoring case", "", *t)),
    _METHOD.map(lambda t: ("method", "", *t)),
    _METHOD.map(lambda t: ("headers", ":method", *t)),
    st.tuples(st.just("scheme"), st.just(""), st.just("exact"), st.sampled_from(["http", "https"])),
    st.tuples(st.just("authority"), st.just(""), st.just("prefix"), st.sampled_from(["shop", "a"])),
    st.tuples(st.sampled_from(["headers", "withoutHeaders"]), _NAME, _text(_VALUE, _REGEX) | _PRESENT).map(
        lambda t: (t[0], t[1], *t[2])
    ),
    st.tuples(st.just("queryParams"), st.sampled_from(["p", "q"]), _text(_VALUE, _REGEX) | _PRESENT).map(
        lambda t: (t[0], t[1], *t[2])
    ),
)
_RULES = st.lists(st.lists(_SPEC, max_size=3), max_size=30)
_FIELDS = st.lists(
    st.tuples(st.sampled_from([b"x-a", b"x-b", b"x-c", b"accept"]), _VALUE.map(str.encode)), max_size=5
)
_QUERY = st.sampled_from(["", "?", "?p", "?p=a", "?q=b&p=ab", "?p=b&p=a", "?pq=a", "?p=a=b"])
_REQUEST = st.builds(
    lambda path, query, fields, method, scheme: request(
        (path + query).encode(), *fields, method=method, scheme=scheme
    ),
    _PATH,
    _QUERY,
    _FIELDS,
    st.sampled_from([b"GET", b"POST", b"PUT"]),
    st.sampled_from([b"http", b"https"]),
)


@settings(max_examples=150, deadline=None)
@given(_RULES, st.lists(_REQUEST, min_size=1, max_size=8))
def test_index_agrees_with_a_walk_from_the_top(rules: list[list[Spec]], requests: list[object]) -> None:
    compiled = [rule(str(i), *specs) for i, specs in enumerate(rules)]
    indexed = RuleIndex(compiled)
    chosen = compile_finder(compiled)
    for one in requests:
        expected = first_match(rules, one)  # type: ignore[arg-type]
        for find in (indexed.find, chosen):
            route = find(one)  # type: ignore[arg-type]
            assert (None if route is None else int(route.name)) == expected


def test_crowded_path_is_filed_under_the_header_that_sets_rules_apart() -> None:
    rules = [
        rule(str(i), uri("prefix", "/api"), ("headers", "x-tenant", "exact", f"t{i}")) for i in range(100)
    ]
    find = compile_finder([*rules, rule("rest")])
    assert _name(find(request(b"/api/x", (b"x-tenant", b"t77")))) == "77"
    assert _name(find(request(b"/other", (b"x-tenant", b"t77")))) == "rest"
    assert _name(find(request(b"/api/x", (b"x-tenant", b"t100")))) == "rest"
    # Any single line counts, and the lowest order wins (5.8)
    assert _name(find(request(b"/api", (b"x-tenant", b"t9"), (b"x-tenant", b"t3")))) == "3"


def test_an_early_wide_rule_hides_a_late_narrow_one() -> None:
    rules = [rule(f"e{i}", uri("exact", f"/e{i}")) for i in range(20)]
    rules.insert(10, rule("wide", uri("prefix", "/e")))
    find = compile_finder(rules)
    assert _name(find(request(b"/e3"))) == "e3"
    assert _name(find(request(b"/e15"))) == "wide"
    assert find(request(b"/x")) is None


def test_rules_behind_an_unconditional_one_are_never_reached() -> None:
    rules = [rule("all"), *(rule(f"e{i}", uri("exact", f"/e{i}")) for i in range(20))]
    assert _name(compile_finder(rules)(request(b"/e3"))) == "all"


def test_no_rules_no_route() -> None:
    assert compile_finder([])(request()) is None


def test_thousands_of_regexes_of_one_beginning_are_tried_in_order() -> None:
    rules = [rule(str(i), uri("regex", f"/[a-z]+/{i}/.*")) for i in range(1200)]
    rules.insert(600, rule("late", uri("regex", "/[a-z]+/[0-9]+/late")))
    find = compile_finder(rules)
    assert _name(find(request(b"/shop/1150/x"))) == "1150"
    assert _name(find(request(b"/shop/1150/late"))) == "late"
    assert _name(find(request(b"/shop/5/late"))) == "5"
    assert find(request(b"/shop/x/y")) is None


def test_regexes_that_fit_no_set_are_tried_alone_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(patterns: Sequence[str]) -> regexes.SetMatch | None:
        return regexes.compile_set(patterns) if len(patterns) == 2 and "/b" not in patterns else None

    monkeypatch.setattr(paths, "compile_set", small)
    tenant = ("headers", "x-tenant", "exact", "t1")
    patterns = ["/a", "/[ac]", "/[bc]", "/b", "/[a-d]", "/d|/e", "/e"]
    rules = [rule(p, uri("regex", p), *([tenant] if p == "/e" else [])) for p in patterns]
    find = RuleIndex(rules).find
    assert [_name(find(request(b"/" + c))) for c in (b"a", b"b", b"c", b"d", b"e")] == [
        "/a", "/[bc]", "/[ac]", "/[a-d]", "/d|/e",
    ]  # fmt: skip
    assert RuleIndex(rules[-1:]).find(request(b"/e")) is None
    assert _name(RuleIndex(rules[-1:]).find(request(b"/e", (b"x-tenant", b"t1")))) == "/e"


def test_nested_prefixes_walk_up_to_the_longest_that_fits() -> None:
    rules = [rule("x" * n, uri("prefix", "/" + "x" * n)) for n in range(40, 0, -1)]
    find = compile_finder(rules)
    assert _name(find(request(b"/xxxy"))) == "xxx"
    assert _name(find(request(b"/" + b"x" * 60))) == "x" * 40
    assert find(request(b"/y")) is None


def test_unmet_names_the_first_condition_that_fails() -> None:
    one = rule("r", uri("prefix", "/api"), ("headers", "x-user", "exact", "jason"))
    unmet = one.unmet(request(b"/api", (b"x-user", b"eve")))
    assert unmet is not None
    assert unmet.describe() == 'header x-user exact "jason"'
    assert one.unmet(request(b"/api", (b"x-user", b"jason"))) is None


def test_both_sizes_of_virtual_host_are_tried_here() -> None:
    assert compile_finder([rule("a")] * 1).__self__.__class__ is not RuleIndex  # type: ignore[attr-defined]
    many = [rule(str(i), uri("exact", f"/{i}")) for i in range(index_module.SMALL + 1)]
    assert compile_finder(many).__self__.__class__ is RuleIndex  # type: ignore[attr-defined]


def _name(route: object) -> str:
    assert route is not None
    return route.name  # type: ignore[attr-defined,no-any-return]
