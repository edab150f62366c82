"""The comparisons can fail: each rule with what it lets through and what it does not."""

from __future__ import annotations

import base64
import hashlib
import math

import pytest

from tests.cases.counts import counts_alike, deviation, rotated, same_shape
from tests.cases.patterns import body_alike, header_differences, text_alike


@pytest.mark.parametrize(
    ("expected", "came", "alike"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("<date>", "Fri, 20 Nov 2026 16:11:00 GMT", True),
        ("<date>", "2026-11-20", False),
        ("<uuid>", "0b1c2d3e-0000-4000-8000-0123456789ab", True),
        ("<uuid>", "0b1c2d3e", False),
        ("<ms>", "12", True),
        ("<ms>", "", False),
        ('x="<16 hex>"; Path=/', 'x="0123456789abcdef"; Path=/', True),
        ('x="<16 hex>"; Path=/', 'x="0123456789abcdef"; Path=/a', False),
        ("</a.css>", "</a.css>", True),
        ("</a.css>", "</b.css>", False),
        ("<date>x", "Fri, 20 Nov 2026 16:11:00 GMT", False),
    ],
)
def test_placeholders_stand_for_what_they_say_and_no_more(expected: str, came: str, alike: bool) -> None:
    assert text_alike(expected, came) is alike


@pytest.mark.parametrize(
    ("expected", "came", "alike"),
    [
        (None, b"", True),
        (None, b"x", False),
        ("", b"", True),
        ("h\xe9", "h\xe9".encode(), True),
        ("h\xe9", b"h\xe9", True),
        ({"base64": base64.b64encode(b"\0\1").decode()}, b"\0\1", True),
        ({"base64": base64.b64encode(b"\0\1").decode()}, b"\0", False),
        ({"sha256": hashlib.sha256(b"xx").hexdigest(), "len": 2}, b"xx", True),
        ({"sha256": hashlib.sha256(b"xx").hexdigest(), "len": 2}, b"xy", False),
        ({"sha256": hashlib.sha256(b"xx").hexdigest(), "len": 3}, b"xx", False),
    ],
)
def test_bodies_in_their_three_forms(expected: object, came: bytes, alike: bool) -> None:
    assert body_alike(expected, came) is alike


@pytest.mark.parametrize(
    ("expected", "came", "differences"),
    [
        ([["a", "1"], ["b", "2"]], [("b", "2"), ("a", "1")], []),
        ([["a", "1"], ["a", "2"]], [("a", "1"), ("a", "2")], []),
        (
            [["a", "1"], ["a", "2"]],
            [("a", "2"), ("a", "1")],
            ["header a: expected ['1', '2'], came ['2', '1']"],
        ),
        ([["a", "1"]], [], ["header a: expected '1', absent"]),
        ([], [("a", "1")], ["header a: expected none, came '1'"]),
        ([["a", "1"]], [("A", "1")], ["header A: expected none, came '1'", "header a: expected '1', absent"]),
        ([["x-envoy-decorator-operation", "1"]], [], []),
        ([], [("X-Envoy-Decorator-Operation", "1")], []),
        ([["n", "100"]], [("n", "139")], ["header n: expected '100', came '139'"]),
    ],
)
def test_header_order_matters_only_among_equal_names(
    expected: list[list[str]], came: list[tuple[str, str]], differences: list[str]
) -> None:
    assert header_differences(expected, came) == differences


def test_slack_is_bounded_and_only_for_its_header() -> None:
    slack = {"n": 40.0}
    assert header_differences([["n", "100"]], [("n", "140")], slack=slack) == []
    assert header_differences([["n", "100"]], [("n", "141")], slack=slack)
    assert header_differences([["n", "100"]], [("n", "x")], slack=slack)
    assert header_differences([["m", "100"]], [("m", "101")], slack=slack)


def test_shares_are_samples_but_none_and_all_are_exact() -> None:
    assert deviation(30, 30, 300) == 0
    assert 1 < deviation(30, 20, 300) < 2
    assert deviation(28, 0, 300) > 4
    assert deviation(0, 1, 300) == deviation(300, 299, 300) == math.inf
    assert counts_alike({"a": 270, "b": 30}, {"a": 255, "b": 45}, 300, exact=False)
    assert not counts_alike({"a": 270, "b": 30}, {"a": 230, "b": 70}, 300, exact=False)
    assert not counts_alike({"a": 300}, {"a": 299, "b": 1}, 300, exact=False)
    assert counts_alike({"a": 2}, {"a": 2, "b": 0}, 2, exact=True)
    assert not counts_alike({"a": 20, "b": 20}, {"a": 21, "b": 19}, 40, exact=True)


def test_names_may_change_but_not_the_shape() -> None:
    assert same_shape({"a": 6}, {"b": 6})
    assert not same_shape({"a": 6}, {"a": 3, "b": 3})


def test_a_rotation_may_begin_elsewhere() -> None:
    assert rotated([5, 2, 5, 2], [2, 5, 2, 5], 1)
    assert rotated([5, 2, 5, 2, 2, 2], [2, 5, 2, 5, 2, 2], 1)
    assert not rotated([5, 2, 5, 2], [5, 5, 2, 2], 1)
    assert not rotated([5, 2, 5, 2], [2, 5, 2, 5], 0)
    assert not rotated([5, 2], [5], 1)
