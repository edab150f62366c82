"""HOT: how foreign values are shown in a log line, so that nobody can forge a line or a column.

Everything outside printable ASCII, and the quote and the backslash, is written ``\\xNN``. The way back is
unambiguous, because a backslash of the value is escaped as well. Envoy writes such bytes as they are.
"""

from __future__ import annotations

import re
from typing import Final

#: Bytes that never stand in a line as they are.
UNSAFE: Final = bytes(b for b in range(256) if not 0x20 <= b < 0x7F or b in b'"\\')
#: Leaves text without such bytes as it is and changes any other.
SAFE: Final = bytes(0x00 if b in UNSAFE[1:] else 0x01 if b == 0 else b for b in range(256))
_UNSAFE_BYTE: Final = re.compile(b"[%s]" % re.escape(UNSAFE))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escaped(value: bytes) -> bytes:
    """``value`` as printable ASCII: ``b'a"\\n'`` becomes ``a\\x22\\x0a``."""
    if value.translate(SAFE) is value:  # bytes.translate returns its very argument if nothing changed
        return value
    return _UNSAFE_BYTE.sub(lambda m: b"\\x%02x" % m[0][0], value)


def escape(value: bytes) -> str:
    """The same as text."""
    return escaped(value).decode("ascii")


def one_column(text: str) -> str:
    """``text`` without white space, as Envoy shows response code details."""
    return "_".join(text.split())


def escape_text(text: str) -> str:
    """A message for people: control characters and line ends escaped, letters of any script kept."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text)
