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
        return RegexRewrite(*regex).apply
    if not uri:
        return None
    new = uri.encode()
    if kind in ("exact", "regex"):
        return WholeRewrite(new).apply
    if kind == "segment_prefix":
        return PrefixRewrite(new, len(matched.encode().removesuffix(b"/"))).apply
    return PrefixRewrite(new, len(matched.encode()) if kind == "prefix" else 1).apply


# The function that a route holds is a method of one of these, so whoever explains it finds what was written.


class WholeRewrite:
    """The whole path is replaced."""

    __slots__ = ("new",)

    def __init__(self, new: bytes) -> None:
        self.new = new

    def apply(self, path: bytes, query: bytes | None) -> bytes:
        """The new target."""
        return self.new if query is None else b"%b?%b" % (self.new, query)


class PrefixRewrite:
    """The first ``length`` bytes are replaced."""

    __slots__ = ("length", "new")

    def __init__(self, new: bytes, length: int) -> None:
        self.new = new
        self.length = length

    def apply(self, path: bytes, query: bytes | None) -> bytes:
        """The new target."""
        rest = path[self.length :]
        return self.new + rest if query is None else b"%b%b?%b" % (self.new, rest, query)


class RegexRewrite:
    """Every match is replaced."""

    __slots__ = ("_replace_all", "pattern", "template")

    def __init__(self, pattern: str, template: str) -> None:
        self.pattern = pattern
        self.template = template
        self._replace_all = Substitution(pattern, template).replace_all

    def apply(self, path: bytes, query: bytes | None) -> bytes:
        """The new target."""
        new = self._replace_all(path) or path  # nothing left: Envoy leaves the path alone
        return new if query is None else b"%b?%b" % (new, query)
