"""HOT: the field block of an HTTP/1.1 request, parsed strictly (hardening section 2, semantics 14.3).

A block is worked out line by line, and lines are remembered: most of a head repeats even when the head as a
whole does not. What must not go upstream is left out here, so that forwarding is a join.
"""

from __future__ import annotations

from typing import Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http import headers
from gatewayd.http.memo import Memo
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import RequestBlock
from gatewayd.http.request_fields import (
    BITS,
    CONTENT_LENGTH,
    HOST,
    USER_AGENT,
    Line,
    is_known_authority,
    join_repeated,
    kind_of,
    special_fields,
)


def _fail(failure: Failure) -> RequestBlock:
    block = RequestBlock()
    block.error = failure
    return block


#: Lines seen more than once. Most of a head repeats even when the head does not.
_LINES: Final[Memo[Line]] = Memo(generation=4096, max_key_bytes=512)

#: name as received -> (kind, lower-case name, start of its line, bit); only valid tokens, bounded.
_NAMES: Final[dict[bytes, tuple[int, bytes, bytes, int]]] = {}
_MAX_NAMES: Final = 4096


def _learn_name(name: bytes) -> tuple[int, bytes, bytes, int] | None:
    if not name or name.translate(None, headers.TOKEN_BYTES):
        return None
    lower = name.lower()
    meaning = (kind_of(lower), lower, lower + b": ", BITS.get(lower, 0))
    if len(name) <= 64:
        if len(_NAMES) >= _MAX_NAMES:
            _NAMES.clear()
        _NAMES[name] = meaning
    return meaning


def _new_line(line: bytes) -> Line | Failure:
    """Parse a line that is not in the young generation of the memo, and offer it."""
    known = _LINES.recall(line)
    if known is not None:
        return known
    name, colon, value = line.partition(b":")
    meaning = _NAMES.get(name) or _learn_name(name)
    # Printable Latin-1 needs no second look; a tab or a byte from 0x80 on may still be allowed.
    if not line.decode("latin-1").isprintable() and line.translate(None, headers.VALUE_BYTES):
        return errors.BAD_REQUEST if b"\r" in line or b"\n" in line else errors.INVALID_CHARACTERS
    if meaning is None or not colon:
        return errors.BAD_REQUEST
    kind, lower, start, bit = meaning
    value = value.strip(b" \t")
    entry = (kind, (lower, value), start + value + b"\r\n", bit)
    _LINES.offer(line, entry)
    return entry


def parse_lines(lines: list[bytes], options: HttpOptions) -> RequestBlock:
    """Parse field ``lines``, without their line ends, one by one."""
    if len(lines) > options.limits.max_request_fields:
        return _fail(errors.TOO_MANY_FIELDS)
    block = RequestBlock()
    block.forwarded_proto = options.scheme
    out: list[bytes] = []  # one for each line, b"" where nothing goes upstream
    append = out.append
    known = _LINES.get
    special: list[Line] = []
    names = 0
    repeated = False
    for line in lines:
        entry = known(line)
        if entry is None:
            parsed = _new_line(line)
            if isinstance(parsed, Failure):
                return _fail(parsed)
            entry = parsed
        kind, pair, text, bit = entry
        if kind <= USER_AGENT:
            append(text)
            if bit:
                if names & bit:
                    repeated = True
                names |= bit
                if kind == USER_AGENT:
                    block.user_agent = pair[1]
        elif kind == HOST:
            if block.authority is not None:
                return _fail(errors.BAD_REQUEST)  # two Host lines: two readings
            block.authority = pair[1]
            append(b"")
        else:
            special.append(entry)
            append(text if kind == CONTENT_LENGTH else b"")
    if block.authority is not None and not is_known_authority(block.authority):
        return _fail(errors.BAD_HOST)
    if repeated:
        join_repeated(block, out)
    else:
        block.texts = out
    if special:
        failure = special_fields(block, out, special, options)
        if failure is not None:
            return _fail(failure)
    block.forward_bytes = b"".join(out)
    return block
