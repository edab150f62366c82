"""Semantics 14.4 and hardening 5: one canonical form, decoded once, the same for matching and forwarding."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.http.paths import normalize_target

MODES = ("NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")

#: As recorded of Istio 1.30 (golden 14_connection_manager, paths and path-normalization), and hardening 5.
BASE = [
    ("/", "/"),
    ("/pub/../x", "/x"),
    ("/x/../pub", "/pub"),
    ("/pub/./a", "/pub/a"),
    ("/pub/.", "/pub/"),
    ("/pub/..", "/"),
    ("/./pub", "/pub"),
    ("/..", "/"),
    ("/../../a", "/a"),
    ("/pub//a", "/pub//a"),
    ("//pub", "//pub"),
    ("/a//../b", "/a/b"),
    ("/pub%2Fa", "/pub%2Fa"),
    ("/pub%2fa", "/pub%2fa"),
    ("/pub%5Ca", "/pub%5Ca"),
    ("/%70ub", "/pub"),
    ("/pub/%2e%2e/x", "/x"),
    ("/x/%2E%2E/pub", "/pub"),
    ("/x/.%2e/pub", "/pub"),
    ("/pub/%2e/a", "/pub/a"),
    ("/pub\\a", "/pub/a"),
    ("/x\\..\\pub", "/pub"),
    ("/pub??a", "/pub??a"),
    ("/pub#frag", "/pub"),
    ("/pub?q#frag", "/pub?q"),
    ("/pub/#", "/pub/"),
    ('/pub/{a}|^`"<>', "/pub/%7Ba%7D%7C%5E%60%22%3C%3E"),
    ("/pub/...", "/pub/..."),
    ("/pub/..a", "/pub/..a"),
    ("/PUB", "/PUB"),
    ("/a/..;/b", "/b"),
    ("/a/..;x=1/b", "/b"),
    ("/a/.;/b", "/a/b"),
    ("/a;x/../b", "/b"),
    ("/%zz%", "/%zz%"),
    ("/%4", "/%4"),
    ("/%252e%252e/a", "/%252e%252e/a"),
    ("/%c0%ae", "/%c0%ae"),
    ("/a%20b", "/a%20b"),
    ("/x?a=/../b&c=%2e#f", "/x?a=/../b&c=%2e"),
    ("/x/..?/../y", "/?/../y"),
    # an escape that only appears by decoding is never an escape (nested; as Chromium's canonicaliser)
    ("/%2%65%2%65/a", "/%252e%252e/a"),
    ("/%%32e", "/%252e"),
    ("/%%32%65", "/%252e"),
]
MERGED = [("//pub", "/pub"), ("/pub//a///b", "/pub/a/b"), ("/pub%2f%2Fa", "/pub%2f%2Fa"), ("/a//?b//c", "/a/?b//c"),
          ("/x%2F..%2Fpub", "/x%2F..%2Fpub"), ("/pub/%252Fx", "/pub/%252Fx")]  # fmt: skip
DECODED = [("/pub%2fa", "/pub/a"), ("/pub%5c%2Fa", "/pub/a"), ("/x%2F..%2Fpub", "/pub"), ("/x/..%5Cy", "/y"),
           ("/%252F", "/%252F"), ("/%2%46", "/%252F"), ("/a%2f%2e%2e%2fb", "/b")]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "target", "normal"),
    [
        *(("BASE", *row) for row in BASE),
        *(("MERGE_SLASHES", *row) for row in MERGED),
        *(("DECODE_AND_MERGE_SLASHES", *row) for row in DECODED),
        *(("NONE", target, target) for target in ("/a/../b", "//a", "/%2e", "/a\\b", "/a{b}")),
        ("NONE", "/a#f", "/a"),
    ],
)
def test_the_canonical_form(mode: str, target: str, normal: str) -> None:
    assert normalize_target(target.encode(), mode) == normal.encode()


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("target", ["/pub/%00", "/%00", "/a%00?b"])
def test_an_escaped_nul_cannot_be_normalised(mode: str, target: str) -> None:
    """Semantics 14.4.3."""
    assert normalize_target(target.encode(), mode) is None


def test_an_escaped_nul_in_the_query_is_nobodys_business() -> None:
    """Semantics 14.4.4."""
    assert normalize_target(b"/a?%00", "BASE") == b"/a?%00"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("byte", [*range(0x21), *range(0x7F, 0x100)])
def test_bytes_that_may_not_stand_in_a_target(mode: str, byte: int) -> None:
    for target in (b"/a%cb", b"/?a%cb", b"/.%c/"):
        assert normalize_target(target % byte, mode) is None


SEGMENTS = st.sampled_from(
    ["", ".", "..", "a", "%2e", "%2E", "%2", "%65", "%", "e", "2", "%25", "%2f", "%5C", "%5c", "\\", ";", "..;", ".;a",
     "{", "%41", "%%", "%zz", "%c3%a9", "?", "#", "%3b", "%32", "%45", "F", "5"]
)  # fmt: skip
TARGETS = st.lists(st.one_of(SEGMENTS, st.just("/")), max_size=14).map(lambda parts: "/" + "".join(parts))


@given(TARGETS, st.sampled_from(MODES))
def test_normalising_twice_is_normalising_once(target: str, mode: str) -> None:
    """Otherwise an origin that normalises again would see another path than the one that was matched."""
    once = normalize_target(target.encode(), mode)
    if once is not None:
        assert normalize_target(once, mode) == once


@given(TARGETS, st.sampled_from(MODES[1:]))
def test_no_dot_segment_is_left_in_any_spelling(target: str, mode: str) -> None:
    """Hardening 5, the class of CVE-2021-29492 and CVE-2021-31920."""
    normal = normalize_target(target.encode(), mode)
    if normal is None:
        return
    path = normal.partition(b"?")[0]
    assert path.startswith(b"/")
    assert b"\\" not in path
    assert b"#" not in normal
    for segment in path.split(b"/"):
        spelled = re.sub(rb"%2[eE]", b".", segment)
        assert spelled not in (b".", b"..")
        assert not spelled.startswith((b".;", b"..;"))
    if mode != "BASE":
        assert b"//" not in path
    if mode == "DECODE_AND_MERGE_SLASHES":
        assert re.search(rb"%2[Ff]|%5[Cc]", path) is None


@pytest.mark.parametrize("piece", [b"%", b"%2%65", b"%2e", b"/..", b"{", b"\\", b"%2e%2e/", b"//"])
def test_a_path_costs_no_more_than_its_length(piece: bytes) -> None:
    """Hardening 1: ten times the path may cost ten times as much, not a hundred times."""
    costs = []
    for size in (2_000, 20_000):
        target = b"/" + piece * (size // len(piece))
        spent = []
        for _ in range(5):
            began = time.process_time()
            normalize_target(target, "MERGE_SLASHES")
            spent.append(time.process_time() - began)
        costs.append(min(spent))
    assert costs[1] < 40 * max(costs[0], 1e-5)


@given(TARGETS, st.sampled_from(MODES))
def test_the_query_is_never_touched(target: str, mode: str) -> None:
    """Semantics 14.4.4."""
    query = target.partition("#")[0].partition("?")[1:]
    normal = normalize_target(target.encode(), mode)
    assert normal is None or normal.decode().partition("?")[1:] == query
