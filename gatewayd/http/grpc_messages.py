"""HOT on gRPC servers: messages of gRPC in the bytes of a body, and their form in gRPC-Web.

A message is a byte of flags, four of its length and itself. gRPC-Web (PROTOCOL-WEB of the gRPC project) puts the
trailers behind the last one as a message of their own, and its text form is base64 of all that.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64
from typing import Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.message import Trailers

#: Flags and length.
_PREFIX: Final = 5
#: The flags of trailers, and the last ones a message may have (it is compressed).
_TRAILERS: Final = b"\x80"
_COMPRESSED: Final = 1


class MessageCounter:
    """Counts the messages that begin in the bytes of one body."""

    __slots__ = ("_begun", "_left", "count")

    def __init__(self) -> None:
        self.count = 0
        #: of the message under way so many bytes are still to come
        self._left = 0
        #: of a prefix these have come
        self._begun = b""

    def add(self, data: bytes) -> None:
        """The next bytes."""
        if self._begun:
            data = self._begun + data
            self._begun = b""
        at, size = self._left, len(data)
        while at + _PREFIX <= size:
            self.count += 1
            at += _PREFIX + int.from_bytes(data[at + 1 : at + _PREFIX], "big")
        if at < size:
            self._begun = data[at:]
            self._left = 0
        else:
            self._left = at - size


class TextEncoder:
    """A body of messages as base64: each is encoded by itself, so that its end can be read when it is there.

    What is no message is left out, to the end.
    """

    __slots__ = ("_begun", "_broken", "_left", "_rest")

    def __init__(self) -> None:
        self._begun = b""
        self._left = 0
        #: up to two bytes that want a third
        self._rest = b""
        self._broken = False

    def encode(self, data: bytes) -> bytes:
        """The next bytes, as far as they can be told of."""
        if self._begun:
            data = self._begun + data
            self._begun = b""
        out = []
        at, size = 0, len(data)
        while at < size and not self._broken:
            left = self._left
            if not left:
                if size - at < _PREFIX:
                    self._begun = data[at:]
                    break
                if data[at] > _COMPRESSED:
                    self._broken = True
                    break
                left = _PREFIX + int.from_bytes(data[at + 1 : at + _PREFIX], "big")
            piece = data[at : at + left]
            at += len(piece)
            self._left = left = left - len(piece)
            piece = self._rest + piece
            whole = len(piece) - len(piece) % 3 if left else len(piece)
            self._rest = piece[whole:]
            out.append(b2a_base64(piece[:whole], newline=False))
        return b"".join(out)

    def end(self) -> bytes:
        """What is left of a message that has no end."""
        rest, self._rest = self._rest, b""
        return b2a_base64(rest, newline=False) if rest else b""


class TextDecoder:
    """The way back."""

    __slots__ = ("_rest", "failure")

    def __init__(self) -> None:
        self._rest = b""
        #: why there are no bytes any more
        self.failure: Failure | None = None

    def decode(self, data: bytes, end: bool) -> bytes:
        """The next bytes; look at ``failure``. ``end``: and the last."""
        data = self._rest + data
        whole = len(data) & ~3
        if end and whole < len(data):
            self.failure = errors.WEB_TEXT_LENGTH
            return b""
        self._rest = data[whole:]
        try:
            return a2b_base64(data[:whole], strict_mode=True)
        except Error:
            self.failure = errors.WEB_TEXT
            return b""


def trailers_message(trailers: Trailers) -> bytes:
    """``trailers`` as the last message of an answer in gRPC-Web."""
    lines = b"".join([b"%b:%b\r\n" % pair for pair in trailers.pairs])
    return b"%b%b%b" % (_TRAILERS, len(lines).to_bytes(4, "big"), lines)
