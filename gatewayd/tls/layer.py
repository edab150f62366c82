"""HOT: TLS between the TCP transport and a protocol; runs for every segment and every write of a TLS connection.

A :class:`TlsLayer` is a protocol towards the loop's plain TCP transport and a transport towards the ``inner``
protocol. OpenSSL works between two memory buffers: what arrived is put into one, what shall leave is taken out of
the other, and one flight is one ``write`` of the TCP transport. So the layer runs on any event loop, and reads a
connection whose ClientHello was read by somebody else.

Half close is as in Envoy: ``write_eof`` sends close_notify and keeps the TCP connection whole; the peer's
close_notify and its bare FIN are both an end of stream.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from gatewayd.tls import reasons
from gatewayd.tls.engine import (
    CIPHER,
    CIPHER_BYTES,
    ENDED,
    PLAIN,
    PLAIN_BYTES,
    RECORD_BYTES,
    WANTED,
    WHERE,
    decrypt,
    encrypt,
    feed,
    pending,
    problem,
    shake,
    take,
    unpack,
    view,
    waiting,
)
from gatewayd.tls.material import MaterialError

#: A handshake must be over after this long (semantics 3.17).
HANDSHAKE_TIMEOUT_S: Final = 15.0
#: After a fatal alert: what the peer still sends is read for this long, or a reset would take the alert with it.
_LINGER_S: Final = 1.0
#: How much is put into OpenSSL's buffers at a time. They never shrink again, so this is what each connection keeps.
_WRITE_BYTES: Final = 65_536
_FEED_BYTES: Final = 65_536

# States
HANDSHAKE: Final = 0
OPEN: Final = 1
CLOSING: Final = 2  # nothing is delivered and nothing is taken any more
CLOSED: Final = 3  # it failed, or was given up
LOST: Final = 4  # the TCP connection is gone


class TlsLayer(asyncio.Protocol):
    """One TLS connection, server or client as its context says.

    ``shaken(layer, reason)`` is called once: after a handshake that succeeded with "", and then ``inner`` is
    connected; else with the reason, and ``inner`` never hears of it.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_ended",
        "_eof",
        "_failure",
        "_handle",
        "_incoming",
        "_inner",
        "_older",
        "_outgoing",
        "_paused",
        "_peer",
        "_send",
        "_server_name",
        "_shaken",
        "_since",
        "_state",
        "_transport",
        "_write_ended",
        "_write_paused",
    )

    def __init__(
        self,
        context: Any,
        inner: asyncio.Protocol,
        shaken: Callable[[TlsLayer, str], None],
        *,
        server_name: str = "",
        older: bool = False,
    ) -> None:
        """``context`` is a ServerContext or a ClientContext.

        ``server_name`` is the SNI the client sent, or, towards an upstream, the one to send. ``older``: the client
        does not speak TLS 1.3.
        """
        self._context = context
        self._inner: Any = inner
        self._shaken: Any = shaken
        self._server_name = server_name
        self._older = older
        self._state = HANDSHAKE
        self._transport: Any = None
        self._peer: Any = None
        self._paused = False  # by the inner protocol
        self._write_paused = False  # by the TCP transport
        self._write_ended = False
        self._eof = False  # the peer's FIN came
        self._ended = False  # its end of stream was delivered
        self._failure: ssl.SSLError | None = None  # met behind what is delivered first
        self._since = monotonic()
        self._connection: Any = None  # OpenSSL's; the next three are its

    # --- towards the TCP transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a client speaks first."""
        self._transport = transport
        self._send = transport.write  # type: ignore[attr-defined]
        if self._state == CLOSED:  # given up before it stood
            transport.abort()  # type: ignore[attr-defined]
            return
        try:
            connection = self._connection = self._context.open(self._server_name, older=self._older)
        except MaterialError as error:
            self._fail(str(error))
            return
        self._handle = connection.handle
        self._incoming = connection.incoming
        self._outgoing = connection.outgoing
        if self._context.speaks_first:
            self._shake()

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes."""
        if self._state == OPEN:
            if len(data) <= _FEED_BYTES:
                feed(self._incoming, data, len(data))
                self._deliver()
            else:
                self._received_much(data)
        elif self._state == HANDSHAKE:
            feed(self._incoming, data, len(data))
            self._shake()

    def eof_received(self) -> bool:
        """The peer's FIN: an end of stream also without close_notify, as in Envoy."""
        if self._state == OPEN:
            # OpenSSL is not told: it would refuse to send the answer.
            self._eof = True
            self._deliver()
            return self._state == OPEN
        if self._state == HANDSHAKE:
            self._fail(reasons.CLOSED)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone."""
        self._state = LOST
        inner, self._inner = self._inner, None
        shaken, self._shaken = self._shaken, None
        if self._peer is not None:
            self._context.ended(self._connection, self._server_name)
        if shaken is not None:
            shaken(self, reasons.CLOSED if exc is None else reasons.of_os(exc))
        elif inner is not None:
            inner.connection_lost(exc or self._failure)

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        self._write_paused = True
        if self._state == OPEN:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It caught up."""
        self._write_paused = False
        if self._state == OPEN:
            self._inner.resume_writing()

    # --- towards the inner protocol: what a transport offers

    def write(self, data: Any) -> None:
        """Encrypt and send; dropped when closing, as transports do."""
        if self._state != OPEN or not data or self._write_ended:
            return
        size = len(data)
        if size > _WRITE_BYTES:
            self._write_much(memoryview(data))
            return
        if type(data) is not bytes:
            data = view(data)
        done = encrypt(self._handle, data, size)
        if done > 0:
            self._send(unpack(CIPHER, take(self._outgoing, CIPHER, CIPHER_BYTES)))
        else:
            self._break(problem(self._handle, done))

    def writelines(self, lines: Iterable[Any]) -> None:
        """Send joined: one record for small pieces."""
        self.write(b"".join(lines))

    def write_eof(self) -> None:
        """End our side by close_notify; the peer may go on sending."""
        if self._state == OPEN:
            self._notify_close()

    def can_write_eof(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Send close_notify, flush, close."""
        if self._state == OPEN:
            self._state = CLOSING
            self._notify_close()
            self._transport.close()
        elif self._state == HANDSHAKE:
            self._transport.abort()

    def abort(self) -> None:
        """Close at once; what is not sent yet is lost."""
        if self._transport is None:
            self._state = CLOSED
            return
        if self._state == LOST:
            return
        if self._state == OPEN:
            self._state = CLOSING
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._state != OPEN or bool(self._transport.is_closing())

    def pause_reading(self) -> None:
        """Deliver nothing more; what is decrypted or in the buffer is at most what one read brought."""
        self._paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, what has waited first."""
        if self._paused:
            self._paused = False
            # Not from inside: the protocol may be in the middle of something.
            asyncio.get_running_loop().call_soon(self._resume)

    def is_reading(self) -> bool:
        """Whether data is delivered."""
        return self._state == OPEN and not self._paused

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``tls``: the :class:`~gatewayd.tls.peer.PeerTls`; all else is the TCP transport's."""
        if name == "tls":
            return self._peer
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent, encrypted."""
        return int(self._transport.get_write_buffer_size())

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See ``set_write_buffer_limits``."""
        low, high = self._transport.get_write_buffer_limits()
        return low, high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When ``pause_writing`` and ``resume_writing`` are called; bytes."""
        self._transport.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another inner protocol from now on."""
        self._inner = protocol

    def get_protocol(self) -> Any:
        """The inner protocol."""
        return self._inner

    # --- what a listener asks of a connection, during the handshake

    def tick(self, now: float) -> None:
        """Called about once a second: the handshake's time limit (semantics 3.17)."""
        if self._state == HANDSHAKE and now - self._since >= HANDSHAKE_TIMEOUT_S:
            self._fail(reasons.TIMEOUT)

    def drain(self) -> None:
        """Nothing is under way yet."""
        if self._state == HANDSHAKE:
            self._transport.abort()

    def discourage(self) -> None:
        """What is inside will hear."""

    def end_tunnel(self) -> None:
        """There is none."""

    @property
    def idle_since(self) -> float:
        """Since when nothing is under way (monotonic)."""
        return self._since

    # --- inside

    def _shake(self) -> None:
        """Go on with the handshake."""
        done = shake(self._handle)
        if done != 1:
            error = problem(self._handle, done)
            if error is WANTED:
                self._flush()
            else:
                self._fail(self._context.reason_of(error))
            return
        self._peer, reason = self._context.accept(self._connection, self._server_name)
        if reason:
            self._take()  # our Finished, if it is due: the other side shall not believe that all is well
            self._fail(reason)
            return
        shaken, self._shaken = self._shaken, None
        self._state = OPEN
        shaken(self, "")
        if self._state == OPEN:
            self._inner.connection_made(self)
            if self._write_paused and self._state == OPEN:
                self._inner.pause_writing()
        if waiting(self._incoming):
            self._deliver()
        if self._context.speaks_first or self._peer.version != "TLSv1.3":
            self._flush()  # our Finished, for which the peer waits
        # Else there are only tickets, for which nobody waits: they go with what is sent first, or at the end.

    def _deliver(self) -> None:
        """Decrypt what there is and pass it on, until the inner protocol has enough."""
        handle, incoming = self._handle, self._incoming
        while self._state == OPEN and not self._paused:
            if self._failure is not None:
                self._stop(self._failure)
                return
            size = decrypt(handle, PLAIN, PLAIN_BYTES)
            if size <= 0:
                self._stop(problem(handle, size))
                return
            more = pending(incoming, WHERE)
            while more and size <= PLAIN_BYTES - RECORD_BYTES:
                # Whoever forwards them does so once.
                got = decrypt(handle, PLAIN + size, RECORD_BYTES)
                if got <= 0:
                    error = problem(handle, got)
                    if error is not WANTED:
                        self._failure = error
                    break
                size += got
                more = pending(incoming, WHERE)
            self._inner.data_received(unpack(PLAIN, size))
            if not (more or self._eof or self._failure):
                return

    def _received_much(self, data: bytes) -> None:
        """A long read goes to OpenSSL in pieces: its buffer never shrinks again."""
        view_of = memoryview(data)
        for start in range(0, len(data), _FEED_BYTES):
            piece = view_of[start : start + _FEED_BYTES]
            feed(self._incoming, view(piece), len(piece))
            self._deliver()

    def _stop(self, error: ssl.SSLError) -> None:
        """Nothing more can be read: for now, or for good."""
        if error is WANTED:
            if waiting(self._outgoing):  # an answer of OpenSSL's own
                if self._write_paused:
                    self.abort()  # asked for without end by somebody who reads none
                else:
                    self._flush()
            if self._eof:
                self._end()
        elif error is ENDED or isinstance(error, ssl.SSLEOFError):
            self._end()
        else:
            self._break(error)

    def _end(self) -> None:
        """The peer's end of stream."""
        self._failure = None
        if not self._ended:
            self._ended = True
            if not self._inner.eof_received():
                self.close()

    def _resume(self) -> None:
        """Deliver what was held back, then read on."""
        self._deliver()
        if self._state == OPEN and not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _notify_close(self) -> None:
        if not self._write_ended:
            self._write_ended = True
            self._connection.end()
            self._flush()

    def _write_much(self, data: memoryview) -> None:
        """Send in pieces: OpenSSL's buffer never shrinks again. They leave together, in one system call."""
        handle, outgoing = self._handle, self._outgoing
        pieces = []
        for start in range(0, len(data), _WRITE_BYTES):
            piece = data[start : start + _WRITE_BYTES]
            done = encrypt(handle, view(piece), len(piece))
            if done <= 0:
                self._break(problem(handle, done))
                return
            pieces.append(unpack(CIPHER, take(outgoing, CIPHER, CIPHER_BYTES)))
        self._transport.writelines(pieces)

    def _take(self) -> bytes:
        """All that shall leave."""
        size = take(self._outgoing, CIPHER, CIPHER_BYTES)
        if size == CIPHER_BYTES:  # there are endless chains of certificates
            rest: bytes = self._connection.take()
            return unpack(CIPHER, size) + rest
        return unpack(CIPHER, size) if size > 0 else b""

    def _flush(self) -> None:
        if not self._transport.is_closing() and (data := self._take()):
            self._send(data)

    def _fail(self, reason: str) -> None:
        """End a handshake: the alert, if OpenSSL wrote one, then the connection."""
        self._state = CLOSED
        self._inner = None
        shaken, self._shaken = self._shaken, None
        transport = self._transport
        if self._connection is not None and waiting(self._outgoing) and not transport.is_closing():
            self._flush()
            transport.write_eof()
            asyncio.get_running_loop().call_later(_LINGER_S, self.abort)
        else:
            transport.close()
        if shaken is not None:
            shaken(self, reason)

    def _break(self, error: ssl.SSLError) -> None:
        """What came on an open connection is not TLS: send the alert, close."""
        self._failure = error
        self._state = CLOSING
        self._flush()
        self._transport.close()
