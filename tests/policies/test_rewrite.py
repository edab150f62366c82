"""Path rewrites, semantics 6.3; the paths are those of the recordings where there are any."""

from __future__ import annotations

import pytest

from gatewayd.policies.rewrite import compile_rewrite


@pytest.mark.parametrize(
    ("kind", "matched", "uri", "path", "query", "result"),
    [
        # a prefix is replaced as a string; nothing mends slashes (6.3.2)
        ("prefix", "/a", "/", b"/a/x", None, b"//x"),
        ("prefix", "/a/", "/", b"/a/x", None, b"/x"),
        ("prefix", "/b", "/bb", b"/bcd", b"z=/b", b"/bbcd?z=/b"),
        ("prefix", "/c", "/c/", b"/c/x", None, b"/c//x"),
        ("prefix", "/d/", "/dd", b"/d/", None, b"/dd"),
        ("prefix", "/g", "/x?y=1", b"/g", b"q", b"/x?y=1?q"),
        ("prefix", "/Ip", "/done", b"/IP/x", None, b"/done/x"),  # ignoreUriCase matched
        ("prefix", "/é", "/e", "/é/x".encode(), None, b"/e/x"),  # length in bytes
        # exact and regex: the whole path (6.3.1)
        ("exact", "/ex", "/new/path", b"/ex", b"a=b", b"/new/path?a=b"),
        ("exact", "/exq", "/n?y=1", b"/exq", b"a=b", b"/n?y=1?a=b"),
        ("regex", "/re/.*", "/all", b"/re/x/y", b"z=1", b"/all?z=1"),
        # no uri condition: the implied prefix "/"
        ("none", "/", "/hdr", b"/any", None, b"/hdrany"),
        ("none", "/", "/hdr", b"/", None, b"/hdr"),
        ("none", "/", "/", b"/any/x", None, b"/any/x"),
        ("segment_prefix", "/foo/", "/bar", b"/foo/x", None, b"/bar/x"),
        # an empty query is a query
        ("prefix", "/a", "/b", b"/a", b"", b"/b?"),
        ("exact", "/a", "/b", b"/a", b"", b"/b?"),
    ],
)
def test_uri(kind: str, matched: str, uri: str, path: bytes, query: bytes | None, result: bytes) -> None:
    rewrite = compile_rewrite(uri, kind, matched)
    assert rewrite is not None
    assert rewrite(path, query) == result


@pytest.mark.parametrize("uri", ["", None])
def test_empty_uri_rewrites_nothing(uri: str | None) -> None:
    assert compile_rewrite(uri, "prefix", "/a") is None


@pytest.mark.parametrize(
    ("match", "template", "path", "query", "result"),
    [
        ("/([a-z]+)/([0-9]+)", r"/\2/\1", b"/abc/1/def/2", b"q", b"/1/abc/2/def?q"),
        ("q", "?", b"/qq", b"z=q", b"/???z=q"),  # the query is not searched
        ("^/v1", "/v2", b"/v1/v1", None, b"/v2/v1"),
        (".*", "", b"/rempty", b"z=q", b"/rempty?z=q"),  # nothing left: the path stays, as recorded
    ],
)
def test_regex(match: str, template: str, path: bytes, query: bytes | None, result: bytes) -> None:
    rewrite = compile_rewrite(None, "prefix", "/", (match, template))
    assert rewrite is not None
    assert rewrite(path, query) == result


def test_bad_expression_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="not an RE2"):
        compile_rewrite(None, "none", "/", ("(", "x"))
