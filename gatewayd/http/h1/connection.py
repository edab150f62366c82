"""HOT: what HTTP/1.1 connections of both roles have in common: a chunked body read in turns, loans, tunnels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gatewayd.http.h1.chunked import ChunkedReader
from gatewayd.http.streams import Borrower


class Connection(asyncio.Protocol):
    """A connection with one exchange at a time."""

    #: the transport's, from :meth:`connection_made` on
    write: Callable[[bytes], None]

    __slots__ = (
        "_borrower", "_buffer", "_chunked", "_read_due", "_reader", "_remaining",
        "exchange", "progress", "transport", "write",
    )  # fmt: skip

    def __init__(self) -> None:
        self.exchange: Any = None
        self.transport: Any = None
        #: grows with whatever arrives or leaves; idle timeouts look at it
        self.progress = 0
        #: what came of a head that is not complete
        self._buffer = b""
        #: of the body that is read: its chunks, or the bytes still to come
        self._reader: ChunkedReader | None = None
        self._remaining = 0
        self._read_due = False
        #: whether the body that is sent gets chunk framing
        self._chunked = False
        #: who takes the body's bytes past us, if anybody
        self._borrower: Borrower | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport
        self.write = transport.write  # type: ignore[attr-defined]  # asyncio types it as any transport

    # --- a chunked body

    def _read_later(self) -> None:
        """Go on with what the chunked reader holds in the loop's next turn: the others have theirs first."""
        if not self._read_due:
            self._read_due = True
            asyncio.get_running_loop().call_soon(self._read_more)

    def _read_more(self) -> None:
        """Go on, unless the other side has to wait; ``pause`` comes back to it then."""
        raise NotImplementedError

    # --- bytes that go past us

    def bare_transport(self) -> Any:
        """Where body bytes may go past us; see ServerStream and ClientConnection."""
        return None if self._chunked or self.transport.is_closing() else self.transport

    def _end_loan(self) -> None:
        borrower, self._borrower = self._borrower, None
        if borrower is not None:
            borrower.stop()

    # --- tunnels

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of an upgraded connection; ``b""`` ends our side."""
        if self.transport.is_closing():
            return
        self.progress += 1
        if data:
            self.write(data)
        elif self.transport.can_write_eof():
            self.transport.write_eof()
