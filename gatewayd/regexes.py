"""HOT: regular expressions of the configuration: RE2 syntax, RE2 engine, whole value (semantics 5.6).

Python's ``re`` backtracks, so it never sees a pattern from the configuration. A pattern is its UTF-8 bytes
and is matched byte by byte, as Envoy 1.40 was seen to do: ``.`` is any one byte but a line feed.

A yes-or-no test goes through an RE2 *Set* even for one pattern: the wrapper of a single RE2 builds match
objects and costs more than twice as much (benchmarks/micro, ``regex``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from weakref import WeakValueDictionary

import re2

#: Istio refuses longer ones (hardening: regular expressions in routes).
MAX_PATTERN_CHARS: Final = 1024
#: How much of the literal beginning of a pattern is worth knowing for the index.
_PREFIX_BYTES: Final = 128
#: RE2's budget for one set of many patterns, program and automaton together.
_SET_BYTES: Final = 64 << 20


def _options(max_mem: int = 0) -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False  # errors are raised, not printed
    options.never_capture = True
    if max_mem:
        options.max_mem = max_mem
    return options


class Regex:
    """One pattern that must match a whole value; patterns of equal text share one object."""

    __slots__ = ("__weakref__", "_match", "pattern", "required_prefix")

    def __init__(self, pattern: str) -> None:
        text = pattern.encode()
        compiled = re2.compile(text, _options())
        self.pattern = pattern
        #: bytes every matching value begins with
        self.required_prefix: bytes = _common_prefix(compiled)
        single = re2.Set.FullMatchSet(_options())
        single.Add(text)
        single.Compile()
        self._match: Callable[[bytes], list[int] | None] = single.Match

    def matches(self, value: bytes) -> bool:
        """Whether the whole of ``value`` matches."""
        return self._match(value) is not None


class RegexSet:
    """Many patterns tried in one pass; used where one place in the index holds several."""

    __slots__ = ("match",)

    def __init__(self, regexes: Iterable[Regex]) -> None:
        patterns = re2.Set.FullMatchSet(_options(_SET_BYTES))
        for regex in regexes:
            patterns.Add(regex.pattern.encode())
        patterns.Compile()
        #: value -> positions of the patterns that match it, in no order; None when none does
        self.match: Callable[[bytes], list[int] | None] = patterns.Match


_known: WeakValueDictionary[str, Regex] = WeakValueDictionary()


def compile_regex(pattern: str) -> Regex:
    """Compile ``pattern``. Raises ValueError, in words for the user, when it is not RE2 or too long."""
    regex = _known.get(pattern)
    if regex is None:
        if len(pattern) > MAX_PATTERN_CHARS:
            raise ValueError(
                f"regular expression is longer than {MAX_PATTERN_CHARS} characters ({len(pattern)})"
            )
        try:
            regex = Regex(pattern)
        except re2.error as error:
            raise ValueError(f"not an RE2 regular expression: {_text(error)}") from None
        _known[pattern] = regex
    return regex


class Substitution:
    """Replaces every match of a pattern, not anchored, as RE2's GlobalReplace does (semantics 6.3.3).

    ``template`` may hold ``\\0`` to ``\\9`` for groups and ``\\\\`` for a backslash. Raises ValueError, in
    words for the user, for a bad pattern or template.
    """

    __slots__ = ("_pieces", "_search")

    def __init__(self, pattern: str, template: str) -> None:
        compile_regex(pattern)
        options = _options()
        options.never_capture = False
        compiled = re2.compile(pattern.encode(), options)
        self._search = compiled.search
        #: literal bytes and group numbers, in order
        self._pieces = _template_pieces(template, compiled.groups)

    def replace_all(self, text: bytes) -> bytes:
        """``text`` with every match replaced."""
        search = self._search
        out: list[bytes] = []
        position = last_end = 0
        size = len(text)
        after_match = False
        while position <= size:
            match = search(text, position)
            if match is None:
                break
            start, end = match.span()
            out.append(text[last_end:start])
            if after_match and start == end == last_end:
                # An empty match where the last one ended does not count: step over one byte.
                position += 1
                out.append(text[last_end:position])
                last_end = position
                after_match = False
                continue
            for piece in self._pieces:
                out.append(piece if isinstance(piece, bytes) else (match.group(piece) or b""))
            last_end = end
            position = end
            after_match = True
        out.append(text[last_end:])
        return b"".join(out)


def _template_pieces(template: str, groups: int) -> tuple[bytes | int, ...]:
    pieces: list[bytes | int] = []
    literal = ""
    characters = iter(template)
    for character in characters:
        if character != "\\":
            literal += character
            continue
        following = next(characters, "")
        if following == "\\":
            literal += following
        elif following in "0123456789" and following:
            if int(following) > groups:
                raise ValueError(
                    f"rewrite refers to group \\{following}, but the expression has {groups} groups"
                )
            if literal:
                pieces.append(literal.encode())
                literal = ""
            pieces.append(int(following))
        else:
            raise ValueError("a backslash in a rewrite must be followed by a digit or a backslash")
    if literal:
        pieces.append(literal.encode())
    return tuple(pieces)


def _text(error: Exception) -> str:
    reason = error.args[0] if error.args else b""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _common_prefix(compiled: re2._Regexp) -> bytes:
    """The bytes every full match begins with, from the range RE2 says all matches lie in."""
    try:
        low, high = compiled.possiblematchrange(_PREFIX_BYTES)
    except re2.error:
        return b""
    length = 0
    for a, b in zip(low, high, strict=False):
        if a != b:
            break
        length += 1
    # From "/a/" to just under its successor "/a0": all of these begin with "/a/".
    if (
        length < len(low)
        and len(high) == length + 1
        and high[length] == low[length] + 1
        and compiled.fullmatch(high) is None
    ):
        length += 1
    shared: bytes = low[:length]
    return shared
