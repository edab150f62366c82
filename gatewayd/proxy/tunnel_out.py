"""A TCP session through an HTTP proxy: CONNECT or POST is asked of it, and the bytes follow (semantics 10.10).

:func:`dig` opens the connection, asks, and waits for the answer: 2xx opens the tunnel, everything else is a failed
attempt. How long the answer takes is nobody's business but the session's own timeouts, as in Envoy. After CONNECT
the connection itself is handed over; after POST a :class:`PostTunnel` that puts the bytes into chunks and takes
them out of the response body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.chunked import ChunkedReader
from gatewayd.http.h1.response import parser_for
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY
from gatewayd.http.response import ResponseHead
from gatewayd.routing.l4 import Tunnel
from gatewayd.upstream.dialer import Factory, Hints

_OPTIONS: Final = HttpOptions()
_LIMITS: Final = HttpLimits()
_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"

Open = Callable[[Factory, Hints], Awaitable[tuple[Failure | None, str]]]


async def dig(
    tunnel: Tunnel, open: Open, taker: asyncio.Protocol, hints: Hints
) -> tuple[Failure | None, str]:
    """Open a connection by ``open`` (an endpoint's), ask for the tunnel, and give it to ``taker``.

    (None, "") once ``taker.connection_made`` was called, else the failure and the words for the log. Only
    cancellation is raised; what was opened is closed then.
    """
    digger = _Digger(tunnel, taker)
    failure, words = await open(lambda: digger, hints)
    if failure is not None:
        return failure, words
    try:
        return await digger.outcome
    except asyncio.CancelledError:
        digger.give_up()
        raise


def request_head(tunnel: Tunnel) -> bytes:
    """What the proxy is asked, with no field more than it needs."""
    if tunnel.post:
        return b"POST / HTTP/1.1\r\nhost: %b\r\ntransfer-encoding: chunked\r\n\r\n" % tunnel.authority
    return b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (tunnel.authority, tunnel.authority)


class _Digger(asyncio.Protocol):
    """Has the connection until the proxy's answer is there."""

    def __init__(self, tunnel: Tunnel, taker: asyncio.Protocol) -> None:
        self._tunnel = tunnel
        self._taker = taker
        self._transport: Any = None
        self._buffer = b""
        self._interim = 0
        self.outcome: asyncio.Future[tuple[Failure | None, str]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = transport
        transport.write(request_head(self._tunnel))  # type: ignore[attr-defined]  # typed as any transport

    def data_received(self, data: bytes) -> None:
        """The answer; 1xx heads before it mean nothing here."""
        if self.outcome.done():
            return
        self._buffer += data
        while (end := self._buffer.find(_END) + len(_END)) >= len(_END):
            head = parser_for(_OPTIONS).parse(self._buffer[:end])
            self._buffer = self._buffer[end:]
            if head.error:
                self._fail()
                return
            if head.status >= 200 or head.status == 101:
                self._answered(head)
                return
            self._interim += 1
            if self._interim > _LIMITS.max_interim_responses:
                self._fail()
                return
        if len(self._buffer) > _LIMITS.max_response_head_bytes:
            self._fail()

    def _answered(self, head: ResponseHead) -> None:
        kind = head.body_kind(b"POST")
        # An answer to POST that has no body is at its end, and so would be the tunnel.
        if not 200 <= head.status < 300 or (self._tunnel.post and kind == NO_BODY):
            self._fail(f"tunnel_response:{head.status}")
            return
        self.outcome.set_result((None, ""))
        taker, transport, rest = self._taker, self._transport, self._buffer
        if self._tunnel.post:
            length = head.content_length if kind == LENGTH else -1
            taker = PostTunnel(transport, taker, chunked=kind == CHUNKED, length=length)
        transport.set_protocol(taker)
        taker.connection_made(transport)
        if rest:
            taker.data_received(rest)

    def eof_received(self) -> bool:
        """Nothing more will come, so there is no tunnel."""
        self._fail()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """As above."""
        self._fail()

    def _fail(self, words: str = "") -> None:
        if not self.outcome.done():
            self.outcome.set_result((errors.CONNECT_REFUSED, words))
            self._transport.close()

    def give_up(self) -> None:
        """Nobody waits for the tunnel any more."""
        if self._transport is not None:
            self._transport.abort()


class PostTunnel(asyncio.Protocol):
    """HOT: a protocol towards the connection, a transport towards ``taker``; the bytes are in the bodies of a POST."""

    def __init__(
        self, transport: Any, taker: asyncio.Protocol, *, chunked: bool = False, length: int = -1
    ) -> None:
        """``chunked``, ``length`` in bytes: how the response body ends; with neither, with the connection."""
        self._transport = transport
        self._taker = taker
        self._chunks = ChunkedReader(_LIMITS) if chunked else None
        self._length = length
        self._closing = False

    # --- towards the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is the one we know."""
        self._taker.connection_made(self)  # type: ignore[arg-type]  # it offers what the taker calls

    def data_received(self, data: bytes) -> None:
        """A piece of the response body."""
        ended = False
        chunks = self._chunks
        if chunks is not None:
            data = chunks.feed(data)
            while chunks.more:
                data += chunks.feed(b"")
            ended = chunks.done
        elif self._length >= 0:
            data = data[: self._length]
            self._length -= len(data)
            ended = not self._length
        if data:
            self._taker.data_received(data)
        if ended:
            self._taker.eof_received()
        elif chunks is not None and chunks.error:
            self.abort()

    def eof_received(self) -> bool | None:
        """The proxy has nothing more to send."""
        return self._taker.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._closing = True
        self._taker.connection_lost(exc)

    def pause_writing(self) -> None:
        """The proxy reads too slowly."""
        self._taker.pause_writing()

    def resume_writing(self) -> None:
        """It caught up."""
        self._taker.resume_writing()

    # --- towards the taker

    def write(self, data: bytes) -> None:
        """Bytes, as one chunk."""
        if data and not self._closing:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def can_write_eof(self) -> bool:
        """The request body cannot end without the tunnel."""
        return False

    def close(self) -> None:
        """End the request body, flush, close."""
        if not self._closing:
            self._closing = True
            if not self._transport.is_closing():
                self._transport.write(_LAST_CHUNK)
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._closing or bool(self._transport.is_closing())

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return int(self._transport.get_write_buffer_size())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As of transports, in bytes."""
        self._transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of transports; ``coded``: what goes over the socket is not what is written here."""
        return True if name == "coded" else self._transport.get_extra_info(name, default)
