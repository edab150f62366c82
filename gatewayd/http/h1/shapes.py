"""HOT: heads that are new, but built like one parsed before: only what differs is looked at.

Clients send heads that differ from one another in the target and a few values. A shape is what such heads have
in common, as the literal bytes between the values. A head that fits is read by comparing the literals and
checking the values; it means exactly what the line by line parse would say, since every literal comes from a head
that was parsed so, and a value may hold nothing that could end it or mean more than a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

#: Printable ASCII stays, all else changes: ``text.translate(_ORDINARY) is text`` then says that it is ordinary
#: (``translate``, ``removesuffix`` return their very argument if nothing changed).
_ORDINARY: Final = bytes(b if 0x20 <= b < 0x7F else 0x20 if b != 0x20 else 0x7F for b in range(256))

#: Shapes kept of one kind of head; a head that fits none is compared with the first literals of each.
MAX_SHAPES: Final = 8
#: Of the heads that fit no shape, one in so many teaches one: heads that are all built differently stay cheap.
LEARN_ONE_IN: Final = 4


class Shape:
    """The literal bytes of a head, between which values stand; each value ends with its line.

    ``lines`` are those of a head, the first one the request or status line; ``varying`` are the positions of
    the field lines whose values vary. ``start`` is how many of the first line's bytes are not looked at.
    """

    __slots__ = ("_first", "_last", "_parts", "_separator", "lines", "names", "varying")

    def __init__(self, lines: Sequence[bytes], varying: Sequence[int], start: int = 0) -> None:
        self.lines = lines
        self.names = names_of(lines)
        #: in order
        self.varying = varying
        parts: list[tuple[bytes, bytes]] = []
        literal = lines[0][start:]
        for at, line in enumerate(lines[1:], start=1):
            literal += b"\r\n"
            if at in varying:
                name, _, value = line.partition(b":")
                parts.append(_cut(literal + name + (b": " if value[:1] == b" " else b":")))
                literal = b""
            else:
                literal += line
        #: what stands before the first separator, None: there is none
        self._first: bytes | None = None
        self._separator = b""
        if parts:
            self._first, self._separator = parts.pop(0)
        #: what stands between a value and the next separator, and that separator
        self._parts = tuple(parts)
        #: what ends the head, behind the last value
        self._last = literal + b"\r\n\r\n"

    def values(self, head: bytes) -> list[bytes] | None:
        """What stands in the varying lines of ``head``, from ``start`` of its first line on; None: does not fit.

        A separator that is not there leaves nothing behind it, so that the end does not fit.
        """
        if self._first is None:
            return [] if head == self._last else None
        before, _, head = head.partition(self._separator)
        if before != self._first:
            return None
        values = []
        for between, separator in self._parts:
            before, _, head = head.partition(separator)
            value = before.removesuffix(between)
            if value is before and between:
                return None
            values.append(value.strip(b" \t"))
        value = head.removesuffix(self._last)
        if value is head:
            return None
        values.append(value.strip(b" \t"))
        # A value with a line end in it is not ordinary: each separator was the one that ends its value's line.
        text = b"".join(values)
        return values if text.translate(_ORDINARY) is text else None


def _cut(literal: bytes) -> tuple[bytes, bytes]:
    """What to look for at the end of ``literal``, which is not at an earlier place in it, and what is before."""
    at = literal.rfind(b"\r\n")
    while literal.find(literal[at:]) < at:
        at = max(0, literal.rfind(b"\r\n", 0, at))
    return literal[:at], literal[at:]


def names_of(lines: Sequence[bytes]) -> list[bytes]:
    """Field names as received, without the first line's."""
    return [line.partition(b":")[0] for line in lines[1:]]


S = TypeVar("S", bound=Shape)


def widened(
    shapes: Sequence[S], lines: Sequence[bytes], variable: Sequence[bool]
) -> tuple[S | None, list[int]]:
    """The shape that ``lines`` would fit if more of its lines varied, and the positions that then do.

    ``variable`` says for each line whether it may vary. (None, []) when there is no such shape.
    """
    names = names_of(lines)
    for shape in shapes:
        if shape.names == names:
            differ = [at for at in range(1, len(lines)) if lines[at] != shape.lines[at]]
            if all(variable[at] for at in differ):
                return shape, sorted({*shape.varying, *differ})
    return None, []


def keep(shapes: list[S], shape: S, instead_of: S | None) -> None:
    """Put a new shape in front, in place of the one it widens or of the one least used."""
    if instead_of is not None:
        shapes.remove(instead_of)
    elif len(shapes) >= MAX_SHAPES:
        shapes.pop()
    shapes.insert(0, shape)


def come_forward(shapes: list[S], shape: S) -> None:
    """Let a shape that fits be tried a little earlier the next time."""
    at = shapes.index(shape)
    shapes[at] = shapes[at - 1]
    shapes[at - 1] = shape
