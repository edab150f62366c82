"""HOT: the conditions a rule is made of.

A condition answers ``matches`` for a request and ``describe`` for ``explain``. It is pure: the answer
depends on the request's head alone. Which field of the configuration becomes which condition is written
in ``matchers.py``.
"""
# ruff: noqa: D102  what ``matches`` and ``describe`` do is said once, in ``Condition``

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gatewayd.http.message import RequestHead
from gatewayd.regexes import Regex, compile_regex

#: name -> how it is read from a request; ``path`` includes the query
CONTROL_DATA: Final[dict[str, Callable[[RequestHead], bytes]]] = {
    "method": lambda request: request.method,
    "scheme": lambda request: request.scheme,
    "authority": lambda request: request.authority,
    "path": lambda request: request.target,
}


class Condition(Protocol):
    """What every condition can do."""

    def matches(self, request: RequestHead) -> bool:
        """Whether the condition holds."""

    def describe(self) -> str:
        """The condition in words, e.g. ``uri prefix /api``."""


class TextTest:
    """A comparison of one value: ``test(value)`` says whether it holds. Attributes serve the index."""

    __slots__ = ("kind", "regex", "test", "value")

    def __init__(self, kind: str, value: str) -> None:
        self.kind = kind
        self.value = wanted = value.encode()
        self.regex: Regex | None = None
        self.test: Callable[[bytes], bool]
        if kind == "exact":
            self.test = wanted.__eq__
        elif kind == "prefix":
            self.test = lambda text: text.startswith(wanted)
        elif kind == "regex":
            self.regex = compile_regex(value)
            self.test = self.regex.matches
        else:
            raise ValueError(f"unknown kind of comparison {kind!r}: expected exact, prefix or regex")

    def describe(self) -> str:
        """E.g. ``prefix "/api"``."""
        return f'{self.kind} "{self.value.decode()}"'


class PathExact:
    """The path equals ``value``; a trailing slash counts (semantics 5.5)."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value

    def matches(self, request: RequestHead) -> bool:
        return request.path == self.value

    def describe(self) -> str:
        return f"uri exact {self.value.decode()}"


class PathPrefix:
    """The path begins with ``value``, a plain string prefix (semantics 5.4)."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value

    def matches(self, request: RequestHead) -> bool:
        return request.path.startswith(self.value)

    def describe(self) -> str:
        return f"uri prefix {self.value.decode()}"


class PathSegmentPrefix:
    """The path is ``value`` or lies below it: Ingress Prefix, ``/`` at its end ignored (semantics 13.6)."""

    __slots__ = ("_below", "value")

    def __init__(self, value: bytes) -> None:
        self.value = value.removesuffix(b"/")
        self._below = self.value + b"/"

    def matches(self, request: RequestHead) -> bool:
        path = request.path
        return path == self.value or path.startswith(self._below)

    def describe(self) -> str:
        return f"uri below {self.value.decode() or '/'}"


class PathExactAnyCase:
    """Like :class:`PathExact` without regard to case (semantics 5.7). ``value`` is kept in lower case."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value.lower()

    def matches(self, request: RequestHead) -> bool:
        return request.path.lower() == self.value

    def describe(self) -> str:
        return f"uri exact {self.value.decode()} ignoring case"


class PathPrefixAnyCase:
    """Like :class:`PathPrefix` without regard to case (semantics 5.7). ``value`` is kept in lower case."""

    __slots__ = ("_length", "value")

    def __init__(self, value: bytes) -> None:
        self.value = value.lower()
        self._length = len(value)

    def matches(self, request: RequestHead) -> bool:
        return request.path[: self._length].lower() == self.value

    def describe(self) -> str:
        return f"uri prefix {self.value.decode()} ignoring case"


class PathRegex:
    """The whole path matches a regular expression (semantics 5.6)."""

    __slots__ = ("_test", "regex")

    def __init__(self, regex: Regex) -> None:
        self.regex = regex
        self._test = regex.matches

    def matches(self, request: RequestHead) -> bool:
        return self._test(request.path)

    def describe(self) -> str:
        return f"uri regex {self.regex.pattern}"


class ControlIs:
    """A test of the method, scheme or authority, or of ``:path`` with its query, as received (5.16, 5.17).

    ``holds`` False turns it round, for pseudo-headers in ``withoutHeaders``.
    """

    __slots__ = ("_read", "_test", "holds", "name", "text")

    def __init__(self, name: str, text: TextTest, holds: bool = True) -> None:
        self.name = name
        self.text = text
        self._test = text.test
        self._read = CONTROL_DATA[name]
        self.holds = holds

    def matches(self, request: RequestHead) -> bool:
        return self._test(self._read(request)) is self.holds

    def describe(self) -> str:
        return f"{'' if self.holds else 'not '}{self.name} {self.text.describe()}"


class HeaderIs:
    """A header has a line that passes the test: any single line, never the joined ones (semantics 5.8)."""

    __slots__ = ("_test", "name", "text")

    def __init__(self, name: bytes, text: TextTest) -> None:
        self.name = name
        self.text = text
        self._test = text.test

    def matches(self, request: RequestHead) -> bool:
        test = self._test
        for value in request.fields.values(self.name):  # noqa: SIM110  a generator costs a frame here
            if test(value):
                return True
        return False

    def describe(self) -> str:
        return f"header {self.name.decode()} {self.text.describe()}"


class HeaderIsNot:
    """No line of the header passes the test; an absent header is tested as "" (semantics 5.10)."""

    __slots__ = ("_absent", "_test", "name", "text")

    def __init__(self, name: bytes, text: TextTest) -> None:
        self.name = name
        self.text = text
        self._test = text.test
        self._absent = not text.test(b"")

    def matches(self, request: RequestHead) -> bool:
        values = request.fields.values(self.name)
        if not values:
            return self._absent
        test = self._test
        for value in values:  # noqa: SIM110  a generator costs a frame here
            if test(value):
                return False
        return True

    def describe(self) -> str:
        return f"without header {self.name.decode()} {self.text.describe()}"


class HeaderPresent:
    """The header is there, even if empty (semantics 5.9); ``holds`` False: it is not (5.10)."""

    __slots__ = ("holds", "name")

    def __init__(self, name: bytes, holds: bool = True) -> None:
        self.name = name
        self.holds = holds

    def matches(self, request: RequestHead) -> bool:
        return bool(request.fields.values(self.name)) is self.holds

    def describe(self) -> str:
        return f"{'' if self.holds else 'without '}header {self.name.decode()} present"


class Always:
    """A condition that is always met or never: presence of a pseudo-header."""

    __slots__ = ("_words", "holds")

    def __init__(self, holds: bool, words: str) -> None:
        self.holds = holds
        self._words = words

    def matches(self, request: RequestHead) -> bool:
        return self.holds

    def describe(self) -> str:
        return self._words


def query_value(query: bytes | None, name: bytes) -> bytes | None:
    """The first value of parameter ``name``, raw; ``?p`` and ``?p=`` both give b"" (semantics 5.11)."""
    if query is None:
        return None
    # Searched, not split: a client may send thousands of parameters, a host may have many such rules.
    text = b"&" + query
    wanted = b"&" + name
    at = text.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        mark = text[end : end + 1]
        if mark == b"=":
            stop = text.find(b"&", end)
            return text[end + 1 :] if stop < 0 else text[end + 1 : stop]
        if mark in (b"", b"&"):
            return b""
        at = text.find(wanted, end)
    return None


class QueryIs:
    """The first value of a query parameter passes the test, or is there at all (semantics 5.9, 5.11)."""

    __slots__ = ("_possible", "_test", "name", "text")

    def __init__(self, name: bytes, text: TextTest | None) -> None:
        #: no parameter has a name with these
        self._possible = b"&" not in name and b"=" not in name
        self.name = name
        self.text = text
        self._test = text.test if text is not None else None

    def matches(self, request: RequestHead) -> bool:
        value = query_value(request.query, self.name) if self._possible else None
        if value is None:
            return False
        return self._test is None or self._test(value)

    def describe(self) -> str:
        how = self.text.describe() if self.text is not None else "present"
        return f"query parameter {self.name.decode()} {how}"
