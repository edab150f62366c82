"""RE2 expressions, semantics 5.6 and 6.3.3."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import regexes
from gatewayd.regexes import Substitution, compile_regex, compile_set


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("/re/[0-9]+", b"/re/12", True),
        ("/re/[0-9]+", b"/re/12a", False),  # the whole value, not its beginning
        ("/re/[0-9]+", b"/x/re/12", False),
        ("a|ab", b"ab", True),
        ("", b"", True),
        ("", b"x", False),
        (r"^(.*;\s?)?user=jason(;.*)?$", b"a=b; user=jason; c=d", True),
        (r"^(.*;\s?)?user=jason(;.*)?$", b"user=jasonx", False),
        ("(?i)abc", b"aBC", True),
        # byte by byte, as recorded from Envoy
        ("a.", b"a\xff", True),
        ("a.", "aé".encode(), False),
        ("aé", "aé".encode(), True),
        (r"a\x{e9}", b"a\xe9", True),
        ("a.c", b"a\nc", False),
    ],
)
def test_whole_value_is_matched_by_bytes(pattern: str, value: bytes, matches: bool) -> None:
    regex = compile_regex(pattern)
    assert regex.matches(value) is matches
    together = compile_set([pattern, "never"])
    assert together is not None
    assert together(value) == ([0] if matches else None)


@pytest.mark.parametrize("pattern", ["(", "a**", "[b", "(?=x)", r"(a)\1", "*", "a{2001}"])
def test_what_is_not_re2_is_refused_in_words(pattern: str) -> None:
    with pytest.raises(ValueError, match="not an RE2 regular expression: "):
        compile_regex(pattern)


def test_longer_than_a_thousand_characters_is_refused() -> None:
    assert compile_regex("a" * 1024).matches(b"a" * 1024)
    with pytest.raises(ValueError, match="longer than 1024 characters"):
        compile_regex("a" * 1025)


#: Valid, yet more than a small set can hold.
HUGE = "(?:[a-c]{500}[b-d]{500}){2}" * 30 + "x"


def test_a_set_that_lacks_memory_says_so_instead_of_matching_nothing() -> None:
    assert compile_set([HUGE], 1 << 20) is None
    assert compile_set(["a" * 1000] * 3000, 1 << 16) is None


def test_a_pattern_too_big_for_a_set_still_matches() -> None:
    regex = compile_regex(HUGE)
    value = (b"a" * 500 + b"b" * 500) * 60
    assert regex.matches(value + b"x")
    assert not regex.matches(value)
    assert regexes.compile_set([HUGE], 1 << 20) is None


def test_equal_patterns_share_one_object() -> None:
    assert compile_regex("/shared/.*") is compile_regex("/shared/.*")


def test_a_pattern_that_kills_backtracking_engines_is_linear_here() -> None:
    regex = compile_regex("(a+)+b")
    start = time.process_time()
    assert not regex.matches(b"a" * 10_000)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/api/v1/[0-9]+", b"/api/v1/"),
        ("/abc/.*", b"/abc/"),
        ("^/abc/.*$", b"/abc/"),
        ("/a|/b", b"/"),
        ("/abc", b"/abc"),
        ("(?i)/abc", b"/"),
        (".*", b""),
        ("a?b", b""),
        (r"/a\xff.*", b"/a"),  # less than could be known, never more
    ],
)
def test_required_prefix_is_what_every_match_begins_with(pattern: str, prefix: bytes) -> None:
    assert compile_regex(pattern).required_prefix == prefix


_PIECE = st.sampled_from(["a", "/", "0", ".", "[ab]", "(a|b)", "a?", "b*", ".*", "c+", "(?:ab)?", "b{0,2}"])


@given(st.lists(_PIECE, max_size=5).map("".join), st.text("ab/c0", max_size=8))
def test_no_match_lacks_the_required_prefix(pattern: str, value: str) -> None:
    regex = compile_regex(pattern)
    if re.fullmatch(pattern, value):
        assert regex.matches(value.encode())
        assert value.encode().startswith(regex.required_prefix)
    else:
        assert not regex.matches(value.encode())


@pytest.mark.parametrize(
    ("pattern", "template", "text", "result"),
    [
        ("/([a-z]+)/([0-9]+)", r"/\2/\1", b"/abc/1/def/2", b"/1/abc/2/def"),
        ("b", "", b"abcb", b"ac"),
        ("x", r"[\0]", b"axb", b"a[x]b"),
        ("x", r"\\", b"axb", b"a\\b"),
        ("^/a", "/b", b"/a/a", b"/b/a"),  # an anchor of its own holds
        ("(a)|(b)", r"<\1\2>", b"abc", b"<a><b>c"),  # a group that took no part is empty
        # empty matches, as recorded from Envoy
        ("x*", r"<\0>", b"/rr/axxb", b"<>/<>r<>r<>/<>a<xx>b<>"),
        ("x*", "-", b"", b"-"),
        ("no", "x", b"abc", b"abc"),
    ],
)
def test_every_match_is_replaced(pattern: str, template: str, text: bytes, result: bytes) -> None:
    assert Substitution(pattern, template).replace_all(text) == result


@pytest.mark.parametrize(
    ("pattern", "template", "words"),
    [
        ("(", "x", "not an RE2"),
        ("(a)", r"\2", "has 1 groups"),
        ("a", r"\n", "backslash"),
        ("a", "\\", "backslash"),
    ],
)
def test_bad_substitutions_are_refused_in_words(pattern: str, template: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Substitution(pattern, template)
