"""HOT: one HTTP/2 downstream connection, and its requests (RFC 9113; hardening section 3).

What ``edge.begin`` makes of a head is an exchange, as in HTTP/1.1, and a stream (``server_stream.py``) is what it
answers on. Most blocks of a connection repeat, byte for byte, and mean the same while the table stands still: then a
request costs one look-up.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.edge import Edge
from gatewayd.http.h2 import floods, frames
from gatewayd.http.h2.connection import Connection
from gatewayd.http.h2.control import LINGERING, STARTING
from gatewayd.http.h2.frames import HEADERS, MAX_STREAM_ID
from gatewayd.http.h2.hpack import FLOODED, TOO_LARGE
from gatewayd.http.h2.responses import read_trailers
from gatewayd.http.h2.roles import own_code
from gatewayd.http.h2.server_stream import ServerStream
from gatewayd.http.h2.stream import Stream
from gatewayd.http.message import Pair
from gatewayd.http.request import ParsedRequest, refused

#: Blocks remembered for a connection, and how long they may be.
_MAX_BLOCKS: Final = 64
_MAX_BLOCK_BYTES: Final = 1024

# How far draining has come.
_SERVING: Final = 0
_ANNOUNCED: Final = (
    1  # GOAWAY with the highest number: the client opens no more, those on their way are served
)
_FINAL: Final = 2  # GOAWAY with the real one: what comes now was not seen
#: A client that does not answer our question has seen the first GOAWAY after this long.
_ROUND_TRIP_S: Final = 1.0


@own_code
class ServerConnection(Connection):
    """An HTTP/2 server codec; see :mod:`gatewayd.http.streams` for whom it talks to."""

    __slots__ = (
        "_discouraged", "_drain_since", "_draining", "_edge", "_heads", "_idle_since", "_max_streams", "_open_heads",
        "_seen", "info", "port",
    )  # fmt: skip

    is_server = True

    def __init__(self, port: Any) -> None:
        limits = port.edge.limits
        super().__init__(limits, limits.max_request_head_bytes, limits.max_request_fields)
        self.port = port
        self.info: Any = None
        self._max_streams = limits.h2_max_concurrent_streams
        #: blocks seen while the table and the edge are what they are: of whole requests, and of those with a body
        self._edge: Edge | None = None
        self._heads: dict[bytes, ParsedRequest] = {}
        self._open_heads: dict[bytes, ParsedRequest] = {}
        self._draining = _SERVING
        self._drain_since = 0.0
        #: draining begins with the first request
        self._discouraged = False
        self._idle_since = monotonic()
        self._seen = 0

    # --- the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the port and say who we are."""
        self.attach(transport)
        settings = {frames.MAX_CONCURRENT_STREAMS: self._max_streams}
        if self.port.edge.options.extended_connect:
            settings[frames.ENABLE_CONNECT_PROTOCOL] = 1
        self.out.append(self.greeting(settings))
        self.flush()
        self.port.connected(self)

    def eof_received(self) -> bool:
        """HTTP/2 has no half-closed connections."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; exchanges in progress end with ``DC``."""
        self.phase = LINGERING
        self.port.disconnected(self)
        for stream in list(self.streams.values()):
            stream.shut()
            stream.abandon("DC", "downstream_remote_disconnect")

    # --- requests

    def on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        """A header block: of a request, or trailers."""
        if stream_id <= self.last_stream or not stream_id & 1:
            self._on_other_block(stream_id, block, end)
            return
        edge = self.port.edge
        if edge is not self._edge:
            self._edge = edge
            self._forget_blocks()
        request = (self._heads if end else self._open_heads).get(block) or self._new_head(
            stream_id, block, end
        )
        if request is None:
            return
        self.last_stream = stream_id
        streams = self.streams
        if len(streams) >= self._max_streams or self._draining == _FINAL:
            self.put(frames.rst_stream(stream_id, frames.REFUSED_STREAM))
            self.count(floods.RESETS)
            return
        stream = streams[stream_id] = ServerStream(self, edge, stream_id, request, end)
        edge.begin(stream, request)
        if self.congested:
            stream.set_slow(True)

    def _new_head(self, stream_id: int, block: bytes, end: bool) -> ParsedRequest | None:
        """The request of a block that is new; None: there is nothing to serve."""
        if self._discouraged:
            self.drain()
        pairs = self._decode(stream_id, block)
        if pairs is None:
            return None
        decoder = self.decoder
        assert self._edge is not None
        request = self._edge.request_fields.read(pairs, end=end, never=decoder.never_indexed())
        failure = request.error
        if failure is not None and not failure.status:
            self.last_stream = stream_id
            self._note(stream_id, failure)
            self.fail(frames.PROTOCOL_ERROR, "malformed request")
            return None
        if decoder.changed:
            self._forget_blocks()
        elif len(block) <= _MAX_BLOCK_BYTES and not request.block.upgrade:
            heads = self._heads if end else self._open_heads
            if len(heads) >= _MAX_BLOCKS:
                heads.clear()
            heads[block] = request
        return request

    def _decode(self, stream_id: int, block: bytes) -> list[Pair] | None:
        """The fields of ``block``; None: they cannot be had, or are too many, and somebody paid for it."""
        decoder = self.decoder
        pairs = decoder.decode(block)
        if decoder.error:
            flood = decoder.error == FLOODED
            code = frames.ENHANCE_YOUR_CALM if flood else frames.COMPRESSION_ERROR
            self.fail(code, f"header block: {decoder.error}")
            return None
        if not decoder.excess:
            return pairs
        failure = errors.H2_TOO_LARGE if decoder.excess == TOO_LARGE else errors.H2_TOO_MANY
        if decoder.changed:
            self._forget_blocks()
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.reset(frames.INTERNAL_ERROR)
            stream.abandon(failure.flag, failure.details)
        else:
            self.last_stream = max(self.last_stream, stream_id)
            self._note(stream_id, failure)
            self.put(frames.rst_stream(stream_id, frames.INTERNAL_ERROR))
        self.count(floods.RESETS)
        return None

    def _note(self, stream_id: int, failure: Failure) -> None:
        """Write down a request that gets no answer (semantics 14.5.2, 14.6.4)."""
        edge = self.port.edge
        request = refused(failure)
        edge.note(ServerStream(self, edge, stream_id, request, True), request)

    def _forget_blocks(self) -> None:
        if self._heads:
            self._heads = {}
        if self._open_heads:
            self._open_heads = {}

    def _on_other_block(self, stream_id: int, block: bytes, end: bool) -> None:
        """Trailers, or a block on a stream that takes none; it is decoded all the same."""
        if not stream_id or not stream_id & 1:
            self.fail(frames.PROTOCOL_ERROR, "HEADERS: not a client's stream")
            return
        stream = self.streams.get(stream_id)
        pairs = self._decode(stream_id, block)
        if pairs is None:
            return
        if self.decoder.changed:
            self._forget_blocks()
        if stream is None or stream.request_ended:
            if self.expects(HEADERS, stream, stream_id):
                self.count(floods.CLOSED_STREAMS)
            return
        if not end:
            self.fail(frames.PROTOCOL_ERROR, "trailers without end", errors.H2_MESSAGE.details)
            return
        trailers = read_trailers(pairs, self.decoder.never_indexed())
        if trailers is None:
            self.fail(frames.PROTOCOL_ERROR, "malformed trailers", errors.H2_FIELD.details)
            return
        stream.receive_trailers(trailers)

    def may_be_idle(self, stream_id: int) -> bool:
        """Whether a stream that is not open never was: even numbers would be ours, and we open none."""
        return stream_id > self.last_stream or not stream_id & 1

    def on_failed(self, stream: Any, details: str) -> None:
        """The connection ended for an error of the client's while ``stream`` was open."""
        stream.abandon("DPE", details)

    # --- between requests

    def closed_stream(self, stream: Stream) -> None:
        """A request is over."""
        self.streams.pop(stream.id, None)
        if not self.streams:
            self._idle_since = monotonic()
            if self._draining == _FINAL and self.phase < LINGERING:
                self.linger()

    def drain(self) -> None:
        """Take no new requests, but those that the client sends before it hears of it; then close (hardening 9.4)."""
        if self._draining == _SERVING and self.phase < LINGERING:
            self._draining = _ANNOUNCED
            self._drain_since = monotonic()
            self.out.append(frames.goaway(MAX_STREAM_ID, frames.NO_ERROR))
            self.send_drain_ping()

    def discourage(self) -> None:
        """The same, but who has asked for nothing yet may do so once; nobody's request is lost by that."""
        if self.last_stream:
            self.drain()
        else:
            self._discouraged = True

    def on_drain_answered(self) -> None:
        """The client has seen the first GOAWAY, and all it sent before has come."""
        if self._draining == _ANNOUNCED:
            self._draining = _FINAL
            self.put(frames.goaway(self.last_stream, frames.NO_ERROR))
            if not self.streams and self.phase < LINGERING:
                self.linger()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def end_tunnel(self) -> None:
        """End WebSockets, which never end by themselves; other streams stay."""
        for stream in list(self.streams.values()):
            stream.end_tunnel()

    @property
    def under_way(self) -> int:
        """Requests under way."""
        return len(self.streams)

    @property
    def idle_since(self) -> float:
        """Since when nothing is under way (monotonic); 0.0 while a request is."""
        return 0.0 if self.streams else self._idle_since

    def tick(self, now: float) -> None:
        """Called about once a second: timeouts of the connection and of its streams (hardening section 8)."""
        super().tick(now)
        if self.phase >= LINGERING:
            return
        limits = self.limits
        if self._draining == _ANNOUNCED and now - self._drain_since >= _ROUND_TRIP_S:
            self.on_drain_answered()
        elif self.streams:
            limit_s = limits.stream_idle_timeout_s
            for stream in list(self.streams.values()):
                stream.tick(now, limit_s)
        else:
            self._forget_blocks()
            limit_s = limits.request_head_timeout_s if self.phase == STARTING else limits.idle_timeout_s
            if limit_s and now - self._idle_since >= limit_s:
                self.out.append(frames.goaway(self.last_stream, frames.NO_ERROR))
                self.linger()
