"""What heads have in common: a head fits a shape only if nothing but the varying values differs."""

from __future__ import annotations

import pytest

from gatewayd.http.h1.shapes import MAX_SHAPES, Shape, come_forward, keep, widened

LINES = [b"HTTP/1.1", b"Host: a.test", b"Cookie: 1", b"Accept: */*", b"X-Id: 2", b"X-End:3"]
HEAD = b"HTTP/1.1\r\nHost: a.test\r\nCookie: %b\r\nAccept: */*\r\nX-Id: %b\r\nX-End:3\r\n\r\n"


def test_values_are_what_stands_between_the_literals_without_blanks_around() -> None:
    shape = Shape(LINES, [2, 4])
    assert shape.values(HEAD % (b"a=b; c", b"")) == [b"a=b; c", b""]
    assert shape.values(HEAD % (b"\t x ", b" y\t")) == [b"x", b"y"]


@pytest.mark.parametrize(
    "head",
    [
        HEAD % (b"a\r\nX: y", b"1"),  # a line more
        HEAD % (b"1", b"a\r\n\r\nGET / HTTP/1.1"),  # another head inside
        HEAD % (b"a\nb", b"1"),
        HEAD % (b"a\rb", b"1"),
        HEAD % (b"a\x00b", b"1"),
        HEAD % (b"a\x7fb", b"1"),
        HEAD % (b"a\xffb", b"1"),  # allowed, but for the long way to say
        HEAD % (b"a\tb", b"1"),
        (HEAD % (b"1", b"2")).replace(b"Accept: */*\r\n", b""),  # a line less
        (HEAD % (b"1", b"2")).replace(b"Accept", b"accept"),
        (HEAD % (b"1", b"2")).replace(b"a.test", b"b.test"),
        (HEAD % (b"1", b"2")).replace(b"Cookie: 1\r\n", b"").replace(b"X-Id: 2", b"X-Id: 2\r\nCookie: 1"),
        HEAD % (b"1", b"2") + b"body",
        HEAD % (b"1", b"2") + HEAD % (b"1", b"2"),
        (HEAD % (b"1", b"2"))[:-2],
        b"\r\n" + HEAD % (b"1", b"2"),
        b"",
    ],
)
def test_a_head_that_differs_in_anything_else_does_not_fit(head: bytes) -> None:
    assert Shape(LINES, [2, 4]).values(HEAD % (b"1", b"2")) is not None
    assert Shape(LINES, [2, 4]).values(head) is None


def test_without_varying_lines_only_the_same_head_fits() -> None:
    shape = Shape(LINES, [])
    assert shape.values(HEAD % (b"1", b"2")) == []
    assert shape.values(HEAD % (b"1", b"3")) is None


def test_the_beginning_of_the_first_line_may_be_left_out() -> None:
    shape = Shape([b"GET /a HTTP/1.1", *LINES[1:]], [2], start=7)
    assert shape.values(HEAD % (b"x", b"2")) == [b"x"]


def test_a_name_that_stands_there_twice_is_found_at_the_right_line() -> None:
    lines = [b"HTTP/1.1", b"Cookie: 1", b"A: b", b"Cookie: 2", b"Cookie: 3"]
    head = b"HTTP/1.1\r\nCookie: 1\r\nA: b\r\nCookie: 2\r\nCookie: %b\r\n\r\n"
    assert Shape(lines, [4]).values(head % b"x") == [b"x"]
    assert Shape(lines, [1, 3, 4]).values(head % b"x") == [b"1", b"2", b"x"]


def test_a_shape_is_widened_by_lines_that_may_vary_and_have_the_same_names() -> None:
    shape = Shape(LINES, [2])
    other = [*LINES[:4], b"X-Id: 9", LINES[5]]
    assert widened([shape], other, [False] + [True] * 5) == (shape, [2, 4])
    assert widened([shape], other, [False, True, True, True, False, True]) == (None, [])
    assert widened([shape], other[:5], [False] + [True] * 4) == (None, [])
    assert widened([shape], [*other[:4], b"x-id: 9", LINES[5]], [False] + [True] * 5) == (None, [])


def test_the_shape_that_fits_least_often_makes_room() -> None:
    shapes = [Shape([b"", b"X-%d: 1" % number], []) for number in range(MAX_SHAPES)]
    last, before = shapes[-1], shapes[-2]
    come_forward(shapes, last)
    assert shapes[-2:] == [last, before]
    new = Shape([b"", b"Y: 1"], [])
    keep(shapes, new, None)
    assert shapes[0] is new
    assert len(shapes) == MAX_SHAPES
    assert before not in shapes
    wide = Shape([b"", b"Y: 2"], [1])
    keep(shapes, wide, new)
    assert shapes[0] is wide
    assert new not in shapes
