"""HOT: ``rewrite`` of a rule, compiled to one function of path and query (semantics 6.3)."""

from __future__ import annotations

from collections.abc import Callable

from gatewayd.regexes import Substitution

#: (path, query without "?" or None) -> path and query to send upstream
Rewrite = Callable[[bytes, bytes | None], bytes]


def compile_rewrite(
    uri: str | None, kind: str, matched: str, regex: tuple[str, str] | None = None
) -> Rewrite | None:
    """The rewrite of a route, or None when it changes no path.

    ``kind`` and ``matched`` say what the route's uri condition was, as in ``PathMatched``: with ``prefix``,
    ``segment_prefix`` and ``none`` (the implied prefix "/") what matched is replaced, with ``exact`` and
    ``regex`` the whole path (6.3.1). Nothing mends slashes (6.3.2); the query stays (also behind a "?" in
    ``uri``). ``regex`` is ``uriRegexRewrite`` as (match, rewrite) and excludes ``uri`` (6.3.3). Raises
    ValueError, in words for the user, for a bad expression.
    """
    if regex is not None:
        return _by_regex(Substitution(*regex))
    if not uri:
        return None
    new = uri.encode()
    if kind in ("exact", "regex"):
        return _whole(new)
    if kind == "segment_prefix":
        return _prefix(new, len(matched.encode().removesuffix(b"/")))
    return _prefix(new, len(matched.encode()) if kind == "prefix" else 1)


def _whole(new: bytes) -> Rewrite:
    def rewrite(path: bytes, query: bytes | None) -> bytes:
        return new if query is None else b"%b?%b" % (new, query)

    return rewrite


def _prefix(new: bytes, length: int) -> Rewrite:
    def rewrite(path: bytes, query: bytes | None) -> bytes:
        rest = path[length:]
        return new + rest if query is None else b"%b%b?%b" % (new, rest, query)

    return rewrite


def _by_regex(substitution: Substitution) -> Rewrite:
    replace_all = substitution.replace_all

    def rewrite(path: bytes, query: bytes | None) -> bytes:
        new = replace_all(path) or path  # nothing left: Envoy leaves the path alone
        return new if query is None else b"%b?%b" % (new, query)

    return rewrite
