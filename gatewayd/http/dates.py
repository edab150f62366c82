"""HOT: the ``date`` field, made once a second (RFC 9110 6.6.1)."""

from __future__ import annotations

from email.utils import formatdate
from time import time


class DateField:
    """Caches ``date: Tue, 15 Nov 1994 08:12:31 GMT`` CRLF for the current second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def line(self) -> bytes:
        """The whole field line with its CRLF."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line
