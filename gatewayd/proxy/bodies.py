"""HOT: large bodies of known length go from socket to socket past the codecs, down and up.

Between two plain connections they stay inside the kernel (:mod:`gatewayd.proxy.splice`); towards one that is
encrypted they go in large pieces (:mod:`gatewayd.proxy.pump`). The heads and the first pieces go through the codecs,
and so do the last bytes: what ends a message, what follows it and what becomes of both connections is decided in the
codecs and nowhere else. When the stream is no longer bulk the codecs go on where it stopped; the next big piece may
begin it again.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayd.proxy import splice
from gatewayd.proxy.pump import Pump
from gatewayd.proxy.splice import Splice, is_plain

#: A piece this large came from a stream that is bulk.
BIG_PIECE: Final = 1 << 15
#: Less than this left, and it is not worth it.
_LEAST: Final = 1 << 20
#: The last bytes, which the codecs carry.
_KEPT: Final = 1 << 14
#: How often a stream is looked at, whether anything moves.
_LOOK_S: Final = 1.0
#: A body that is kept lies in no more pieces than this.
MAX_PIECES: Final = 64


def keep(pieces: list[bytes], data: bytes) -> None:
    """Add ``data`` to the pieces of a body: many small ones become one, or each would weigh as much as forty bytes."""
    pieces.append(data)
    if len(pieces) > MAX_PIECES:
        pieces[:] = [b"".join(pieces)]


def offer(exchange: Any) -> None:
    """Take the response body of ``exchange`` from here on, if it is large and can be read past its codec."""
    source = exchange.upstream
    if source.body_left >= _LEAST:
        _offer(exchange, source, exchange.stream.bare_transport(), up=False)


def offer_request(exchange: Any) -> None:
    """The same for the request body."""
    source = exchange.stream
    if source.body_left >= _LEAST:
        _offer(exchange, source, exchange.upstream.bare_transport(), up=True)


def _offer(exchange: Any, source: Any, target: Any, *, up: bool) -> None:
    if target is None or not is_plain(source.transport):
        return
    if target.get_extra_info("tls") is not None:
        _Pumped(exchange, source, target, up=up).begin()
    elif splice.AVAILABLE and is_plain(target):
        _Spliced(exchange, source, target, up=up).begin()


class _Body:
    """The middle of one body on its way past the codecs: a ``Borrower`` and the ``Owner`` of what moves it."""

    __slots__ = ("_count", "_exchange", "_look", "_moving", "_source", "_taken", "_target", "_up")

    def __init__(self, exchange: Any, source: Any, target: Any, *, up: bool) -> None:
        """From the codec ``source``, which lends its socket, to the transport ``target``."""
        self._exchange = exchange
        self._source = source
        self._target = target
        self._up = up
        self._count = source.body_left - _KEPT
        self._taken = 0
        self._moving: Any = None
        self._look: Any = None

    def begin(self) -> None:
        """Borrow the source's socket, and start."""
        self._source.lend(self)
        self._start()

    def _start(self) -> None:
        source = self._source.transport
        if self._target.is_closing() or source.is_closing():
            return  # its descriptor may be another's by now; connection_lost is on its way and will tell
        try:
            moving = self._moving = self._mover(source.get_extra_info("socket").fileno())
        except OSError:
            moving = None
        if moving is None:
            self._give_back()
        else:
            self._look = self._exchange.proxy.wheel.arm(_LOOK_S, self._on_look)

    def _mover(self, source: int) -> Any:
        """What moves the bytes, or None when there is none to be had; raises OSError."""
        raise NotImplementedError

    def _on_look(self) -> None:
        self._look = None
        if self._moving is not None:
            self._moving.look()
        if self._moving is not None:  # it goes on
            self._look = self._exchange.proxy.wheel.arm(_LOOK_S, self._on_look)

    def _over(self) -> None:
        self._moving = None
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _give_back(self, *, broken: bool = False) -> None:
        self._over()
        self._source.take_back(self._taken, broken=broken)

    # --- the codec's side (Borrower)

    def pause(self, paused: bool) -> None:
        """The target cannot take more, or can again."""

    def stop(self) -> None:
        """The exchange or the source's connection is over."""
        moving = self._moving
        self._over()
        if moving is not None:
            moving.stop()

    # --- the mover's side (Owner)

    def on_spliced(self, count: int) -> None:
        """Bytes went by, or left for the target."""
        self._taken += count
        exchange = self._exchange
        exchange.stream.progress += 1
        if self._up:
            exchange.bytes_received += count
            exchange.upstream.passed(count)
        else:
            exchange.bytes_sent += count
            exchange.upstream.progress += 1

    def on_splice_end(self) -> None:
        """All of them, or the source ended: the codec reads on, and sees."""
        self._give_back()

    def on_splice_broken(self, *, at_source: bool) -> None:
        """The source broke off, or the target did, whose transport then says so to everybody."""
        if at_source:
            self._give_back(broken=True)
            return
        self._over()
        # An upstream that reads no further may have answered: its transport finds that first, and then the end.
        if not (self._up and self._target.is_reading()):
            self._target.abort()

    def on_splice_calm(self) -> None:
        """Not much comes: as before."""
        self._give_back()


class _Pumped(_Body):
    """To a transport that encrypts."""

    __slots__ = ()

    def _mover(self, source: int) -> Pump:
        return Pump(self._exchange.proxy.loop, source, self._target, self, self._count)

    def pause(self, paused: bool) -> None:
        """See _Body."""
        if self._moving is not None:
            self._moving.pause(paused)


class _Spliced(_Body):
    """To a plain socket, once everything written to its transport has left."""

    __slots__ = ("_waits",)

    def begin(self) -> None:
        """See _Body."""
        self._source.lend(self)
        self._waits = True
        # If something is left we are paused, and told when it is gone.
        self._target.set_write_buffer_limits(high=0)
        if self._waits and not self._target.get_write_buffer_size():
            self._go()

    def _go(self) -> None:
        if not self._target.is_closing():
            self._waits = False
            self._target.set_write_buffer_limits()  # as it was; it is empty
            self._start()

    def _mover(self, source: int) -> Splice | None:
        pool = splice.pipes()
        pipe = pool.take()
        if pipe is None:
            return None
        target = self._target.get_extra_info("socket").fileno()
        try:
            return Splice(self._exchange.proxy.loop, pool, pipe, source, target, self, limit=self._count)
        except OSError:
            pool.give_back(pipe, empty=True)
            raise

    def pause(self, paused: bool) -> None:
        """See _Body; what was written before has left, if not ``paused``."""
        if self._waits and not paused:
            self._go()

    def stop(self) -> None:
        """See _Body."""
        super().stop()
        if self._waits:
            self._waits = False
            if not self._target.is_closing():
                self._target.set_write_buffer_limits()
