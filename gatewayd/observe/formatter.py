"""Format strings with variables, ``a %REQ(x)% b``, compiled to one function (semantics 6.2.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from gatewayd.observe.operators import OPERATORS, Reader
from gatewayd.observe.stream_info import StreamInfo

#: StreamInfo -> the text with its variables filled in; what is absent is empty
Formatter = Callable[[StreamInfo], bytes]

_AS_IT_IS: Final[Mapping[str, Reader]] = {}
#: Our own expression over configuration text; an argument ends at the first ``)`` that lets it fit.
_VARIABLE: Final = re.compile(r"%(?:%|([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%)")


def compile_format(text: str, *, instead: Mapping[str, Reader] = _AS_IT_IS) -> bytes | Formatter:
    """``text`` compiled: plain bytes when it holds no variable (``%%`` is a percent sign), else a function.

    ``instead``: readers for variables that say something else where the text is used.

    Raises ValueError as :func:`split_format` does.
    """
    pieces = split_format(text, instead=instead)
    if not pieces:
        return b""
    if len(pieces) == 1 and isinstance(pieces[0], bytes):
        return pieces[0]
    return _function(pieces)


def split_format(text: str, *, instead: Mapping[str, Reader] = _AS_IT_IS) -> list[bytes | Reader]:
    """The literals (bytes) and variables (readers) of ``text``, in order.

    Raises ValueError, in words for the user, for a lone ``%``, an unknown variable or a bad argument.
    """
    pieces: list[bytes | Reader] = []
    literal = ""
    position = 0
    while True:
        mark = text.find("%", position)
        if mark < 0:
            break
        found = _VARIABLE.match(text, mark)
        if found is None:
            raise ValueError(
                f"'%' at character {mark + 1} begins no variable: write %% for a percent sign, "
                "or a variable such as %REQ(x-name)%"
            )
        literal += text[position:mark]
        position = found.end()
        if found[1] is None:
            literal += "%"
            continue
        if literal:
            pieces.append(literal.encode())
            literal = ""
        reader = _reader(found[1], found[2], found[3])
        pieces.append(instead.get(found[1], reader))
    literal += text[position:]
    if literal:
        pieces.append(literal.encode())
    return pieces


def _reader(name: str, argument: str | None, limit: str | None) -> Reader:
    row = OPERATORS.get(name)
    if row is None:
        raise ValueError(f"unknown variable %{name}%: expected one of {', '.join(sorted(OPERATORS))}")
    try:
        read = row(argument or "")
    except ValueError as error:
        raise ValueError(f"variable %{name}%: {error}") from None
    if limit is None:
        return read
    length = int(limit)

    def shortened(info: StreamInfo) -> bytes | None:
        value = read(info)
        return None if value is None else value[:length]

    return shortened


def _function(pieces: list[bytes | Reader]) -> Formatter:
    if len(pieces) == 1:
        (only,) = pieces
        assert not isinstance(only, bytes)  # a lone literal is returned as bytes
        reader = only
        return lambda info: reader(info) or b""

    def fill(info: StreamInfo) -> bytes:
        return b"".join([p if isinstance(p, bytes) else p(info) or b"" for p in pieces])

    return fill
