"""HOT: one HTTP/2 upstream connection, shared by many exchanges (RFC 9113).

An exchange gets a :class:`~gatewayd.http.h2.client_stream.ClientStream`; its pool asks how many more there is room for.
It knows no cluster and no route. A response that breaks the rules costs its stream: on the others are other clients'.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

from gatewayd import errors
from gatewayd.http.h2 import floods, frames
from gatewayd.http.h2.client_stream import ClientStream
from gatewayd.http.h2.connection import Connection
from gatewayd.http.h2.control import LINGERING, STARTING
from gatewayd.http.h2.frames import HEADERS, MAX_STREAM_ID, PREFACE
from gatewayd.http.h2.hpack import FLOODED
from gatewayd.http.h2.responses import ResponseReader, read_trailers
from gatewayd.http.h2.roles import own_code
from gatewayd.http.h2.stream import Stream
from gatewayd.http.limits import HttpLimits
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.response import ResponseHead

#: Blocks remembered for a connection, and how long they may be.
_MAX_BLOCKS: Final = 64
_MAX_BLOCK_BYTES: Final = 1024
#: How many streams we open before the upstream has said how many it takes: the least that RFC 9113 6.5.2 recommends.
UNTIL_TOLD: Final = 100
#: No room, whatever closes.
_NONE: Final = -MAX_STREAM_ID
#: Asked with a PING whether it is still there.
_ALIVE: Final = b"alive?  "


@own_code
class ClientConnection(Connection):
    """An HTTP/2 client codec; see :mod:`gatewayd.http.streams` for whom it talks to."""

    __slots__ = (
        "_asked_at", "_heads", "_next_stream", "_reader", "_trailers", "_waits_for_ping", "closed", "idle_since",
        "local_address", "made_at", "max_streams", "owner", "refusing", "requests", "room", "takes_connect",
    )  # fmt: skip

    is_server = False
    credits_at_once = True

    def __init__(self, owner: Any, limits: HttpLimits, max_streams: int = 0) -> None:
        """``max_streams``: at a time, 0 = as many as the upstream takes."""
        super().__init__(limits, limits.max_response_head_bytes, limits.max_response_fields)
        self.owner = owner
        self.max_streams = max_streams
        self.closed = False
        #: the upstream takes no new streams on this connection, or we open none
        self.refusing = False
        #: whether extended CONNECT may be asked for (RFC 8441)
        self.takes_connect = False
        self.local_address = ""
        #: how many more streams may be opened now; not if it is 0 or less
        self.room = 0
        #: streams opened so far
        self.requests = 0
        #: monotonic; 0.0 while there are streams
        self.idle_since = 0.0
        self.made_at = monotonic()
        self._next_stream = 1
        #: response heads and trailers by their blocks, while the table is what it is
        self._reader: ResponseReader | None = None
        self._heads: dict[bytes, ResponseHead] = {}
        self._trailers: dict[bytes, Trailers] = {}
        self._count_room()
        self._asked_at = self.made_at
        self._waits_for_ping = False

    # --- the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are; requests may follow at once."""
        self.attach(transport)
        address = transport.get_extra_info("sockname")
        if isinstance(address, tuple):
            self.local_address = ("%s:%d" if ":" not in address[0] else "[%s]:%d") % address[:2]
        self.out.append(PREFACE + self.greeting({frames.ENABLE_PUSH: 0}))
        self.flush()

    def eof_received(self) -> bool:
        """HTTP/2 has no half-closed connections."""
        self._leave_pool()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; whoever was using it hears why."""
        self.closed = True
        self.phase = LINGERING
        self._leave_pool()
        for stream in list(self.streams.values()):
            stream.shut()
            stream.fail(errors.UPSTREAM_CLOSED, unread=False)

    # --- streams

    def _count_room(self) -> None:
        """The limits changed."""
        if self.refusing or self.phase == LINGERING:
            self.room = _NONE
            return
        most = UNTIL_TOLD if self.phase == STARTING else self.peer_max_streams
        if self.max_streams and self.max_streams < most:
            most = self.max_streams
        self.room = most - len(self.streams)

    def open_stream(self) -> ClientStream:
        """A place for one exchange; :meth:`ClientStream.start` sends its request. There must be ``room``."""
        stream_id = self._next_stream
        self._next_stream += 2
        self.requests += 1
        self.room -= 1
        self.idle_since = 0.0
        stream = self.streams[stream_id] = ClientStream(self, stream_id)
        if stream_id + 2 > MAX_STREAM_ID:
            self.refuse()
        return stream

    def closed_stream(self, stream: Stream) -> None:
        """A stream is over: there is room for another."""
        if self.streams.pop(stream.id, None) is None:
            return
        self.room += 1
        if not self.streams:
            self.idle_since = monotonic()
        self.owner.released(self)

    def refuse(self) -> None:
        """Open no more streams; the connection ends with the last that is open."""
        if not self.refusing:
            self.refusing = True
            self.room = _NONE
            self.owner.refusing(self)

    def may_be_idle(self, stream_id: int) -> bool:
        """Whether a stream that is not open never was: we open odd ones, the upstream none."""
        return stream_id >= self._next_stream or not stream_id & 1

    # --- responses

    def on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        """A header block: of a response, or trailers."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.exchange is None:
            self._on_block_nowhere(stream_id, block)
        elif stream.responded:
            self._on_trailers(stream, block, end)
        else:
            reader = stream.reader
            if reader is not self._reader:
                self._reader = reader
                self._heads = {}
            head = self._heads.get(block) or self._new_head(stream, block)
            if head is not None:
                stream.on_head(head, end)

    def _new_head(self, stream: ClientStream, block: bytes) -> ResponseHead | None:
        """The response head of a block that is new; None: it cost the stream, or the connection."""
        pairs = self._decode(stream, block)
        if pairs is None:
            return None
        decoder = self.decoder
        head = stream.reader.read(pairs, decoder.never_indexed())
        if not head.error and not decoder.changed and len(block) <= _MAX_BLOCK_BYTES:
            if len(self._heads) >= _MAX_BLOCKS:
                self._heads.clear()
            self._heads[block] = head
        return head

    def _on_trailers(self, stream: ClientStream, block: bytes, end: bool) -> None:
        trailers = self._trailers.get(block)
        if trailers is None:
            pairs = self._decode(stream, block)
            if pairs is None:
                return
            trailers = read_trailers(pairs, self.decoder.never_indexed())
            if trailers is None:
                stream.break_off(frames.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL)
                return
            if not self.decoder.changed and len(block) <= _MAX_BLOCK_BYTES:
                if len(self._trailers) >= _MAX_BLOCKS:
                    self._trailers.clear()
                self._trailers[block] = trailers
        if end:
            stream.receive_trailers(trailers)
        else:
            stream.break_off(frames.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL)

    def _on_block_nowhere(self, stream_id: int, block: bytes) -> None:
        """A block on a stream that is not ours any more: it is decoded all the same."""
        if self._decode(None, block) is not None and self.expects(HEADERS, None, stream_id):
            if self.may_be_idle(stream_id):  # for a server it would be a request
                self.fail(frames.PROTOCOL_ERROR, "HEADERS: stream in idle")
            else:
                self.count(floods.CLOSED_STREAMS)

    def _decode(self, stream: ClientStream | None, block: bytes) -> list[Pair] | None:
        decoder = self.decoder
        pairs = decoder.decode(block)
        if decoder.changed:
            if self._heads:
                self._heads = {}
            if self._trailers:
                self._trailers = {}
        if decoder.error:
            flood = decoder.error == FLOODED
            code = frames.ENHANCE_YOUR_CALM if flood else frames.COMPRESSION_ERROR
            self.fail(code, f"header block: {decoder.error}")
            return None
        if decoder.excess:
            if stream is not None:  # as Envoy: it reads as a reset
                stream.break_off(frames.INTERNAL_ERROR, errors.UPSTREAM_RESET)
            return None
        return pairs

    # --- the connection

    def on_settings(self) -> None:
        """The upstream's settings came, or changed: there may be room now."""
        self._count_room()
        self.owner.ready(self)

    def on_connect_protocol(self, allowed: bool) -> None:
        """See RFC 8441 3."""
        self.takes_connect = allowed

    def on_goaway(self, last_stream: int, code: int) -> None:
        """The upstream has not seen our streams above ``last_stream``: any of them may be sent again elsewhere."""
        self.refuse()
        for stream in [one for one in self.streams.values() if one.id > last_stream]:
            stream.shut()
            stream.fail(errors.UPSTREAM_REFUSED, unread=True)

    def on_failed(self, stream: Any, details: str) -> None:
        """The upstream broke the protocol while ``stream`` was open."""
        stream.fail(errors.UPSTREAM_PROTOCOL, unread=False)

    def linger(self) -> None:
        """It broke the protocol, or we are done with it: it will not be used again."""
        super().linger()
        self._leave_pool()

    def _leave_pool(self) -> None:
        self.refusing = True
        self.room = _NONE
        self.owner.gone(self)

    def finish(self) -> None:
        """Say farewell and close; there are no streams, or they are given up."""
        if self.phase < LINGERING:
            self.out.append(frames.goaway(0, frames.NO_ERROR))
            self.flush()
        self.phase = LINGERING
        self.room = _NONE
        self.closed = True
        if not self.transport.is_closing():
            self.transport.close()

    def close(self) -> None:
        """Give the connection up at once."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    # --- time

    def on_alive(self, payload: bytes) -> None:
        """Our PING was answered."""
        self._waits_for_ping = False

    def keep_alive(self, now: float, interval_s: float, timeout_s: float) -> None:
        """Ask for a sign of life every ``interval_s``; without one for ``timeout_s`` the connection is given up."""
        if self.phase >= LINGERING:
            return
        if self._waits_for_ping:
            if now - self._asked_at >= timeout_s:
                self.close()
        elif now - self._asked_at >= interval_s:
            self._asked_at = now
            self._waits_for_ping = True
            self.put(frames.ping(_ALIVE))
