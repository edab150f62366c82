"""HOT: regular expressions of the configuration: RE2 syntax, RE2 engine, whole value (semantics 5.6).

Python's ``re`` backtracks, so it never sees a pattern from the configuration. A pattern is its UTF-8 bytes
and is matched byte by byte, as Envoy 1.40 was seen to do: ``.`` is any one byte but a line feed.

A yes-or-no test goes through an RE2 *Set* even for one pattern: the wrapper of a single RE2 builds match
objects and takes 4.3 us where the Set takes 1.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakValueDictionary

import re2

#: value -> positions of the patterns that match it, in no order, or None when none does
SetMatch = Callable[[bytes], list[int] | None]

#: Istio refuses longer ones (hardening: regular expressions in routes).
MAX_PATTERN_CHARS: Final = 1024
#: How much of the literal beginning of a pattern is worth knowing for the index.
_PREFIX_BYTES: Final = 128
#: RE2's memory for one pattern and for a set of many, program and automaton together. What a hostile client
#: can make an automaton grow to is bounded by this; what does not fit is tried in a slower way.
_ONE_BYTES: Final = 1 << 20
_SET_BYTES: Final = 16 << 20
#: Matched once by every new set, because a set without memory for its automaton says "no match" to all;
#: no request can hold it, a NUL is refused before routing.
_PROBE: Final = b"\x00probe"


def _options(max_mem: int = 0) -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False  # errors are raised, not printed
    options.never_capture = True
    if max_mem:
        options.max_mem = max_mem
    return options


def compile_set(patterns: Sequence[str], max_mem: int = _SET_BYTES) -> SetMatch | None:
    """The function that says which of many valid patterns match a value, in one pass over it.

    None when they need more than ``max_mem`` bytes; then fewer at a time may do.
    """
    together = re2.Set.FullMatchSet(_options(max_mem))
    try:
        for pattern in patterns:
            together.Add(pattern.encode())
        together.Add(_PROBE.replace(b"\x00", b"\\x00"))
        together.Compile()
    except re2.error:
        return None
    match: SetMatch = together.Match
    return match if match(_PROBE) is not None else None


class Regex:
    """One pattern that must match a whole value; patterns of equal text share one object."""

    __slots__ = ("__weakref__", "_match", "pattern", "required_prefix")

    def __init__(self, pattern: str) -> None:
        #: the pattern as written
        self.pattern = pattern
        #: bytes every matching value begins with
        self.required_prefix: bytes = _common_prefix(re2.compile(pattern.encode(), _options()))
        # Made when first asked: in a big virtual host most patterns are only ever tried as part of a set.
        self._match: Callable[[bytes], object] | None = None

    def matches(self, value: bytes) -> bool:
        """Whether the whole of ``value`` matches."""
        if not value.startswith(self.required_prefix):
            return False
        match = self._match
        if match is None:
            match = self._match = self._compile()
        return match(value) is not None

    def _compile(self) -> Callable[[bytes], object]:
        together = compile_set([self.pattern], _ONE_BYTES)
        if together is not None:
            return together
        alone: Callable[[bytes], object] = re2.compile(self.pattern.encode(), _options()).fullmatch
        return alone


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
