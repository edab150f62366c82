"""HOT: large response bodies of known length, from socket to socket inside the kernel (:mod:`gatewayd.proxy.splice`).

The heads and the first pieces go through the codecs, and so do the last bytes: what ends a message, what follows
it and what becomes of both connections is decided in the codecs and nowhere else. Only what lies between is taken
past them, between two plain TCP connections, once everything written to the client has left. When the stream is
no longer bulk the codecs go on where the kernel stopped; the next big piece may begin it again.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayd.proxy import splice
from gatewayd.proxy.splice import Splice, is_plain

#: A piece this large came from a stream that is bulk.
BIG_PIECE: Final = 1 << 15
#: Less than this left, and it is not worth it.
_LEAST: Final = 1 << 20
#: The last bytes, which the codecs carry.
_KEPT: Final = 1 << 14
#: How often a stream is looked at, whether anything moves.
_LOOK_S: Final = 1.0


def offer(exchange: Any) -> None:
    """Take the response body of ``exchange`` from here on, if it is large and both connections are plain."""
    upstream = exchange.upstream
    left = upstream.body_left
    if left < _LEAST or not splice.AVAILABLE:
        return
    target = exchange.stream.bare_transport()
    if target is not None and is_plain(target) and is_plain(upstream.transport):
        _Body(exchange, target, left - _KEPT).begin()


class _Body:
    """The middle of one response body on its way past the codecs: a ``Borrower`` and the splice's ``Owner``."""

    __slots__ = ("_count", "_exchange", "_look", "_splice", "_taken", "_target", "_upstream", "_waits")

    def __init__(self, exchange: Any, target: Any, count: int) -> None:
        """``count`` bytes, to the transport ``target``."""
        self._exchange = exchange
        self._upstream = exchange.upstream
        self._target = target
        self._count = count
        self._taken = 0
        self._splice: Splice | None = None
        self._look: Any = None
        self._waits = False  # for the client to take what was written before

    def begin(self) -> None:
        """Borrow the upstream's socket, and start once the client's transport is empty."""
        self._upstream.lend(self)
        self._waits = True
        # If something is left we are paused, and told when it is gone.
        self._target.set_write_buffer_limits(high=0)
        if self._waits and not self._target.get_write_buffer_size():
            self._start()

    def _start(self) -> None:
        target = self._target
        source = self._upstream.transport
        if target.is_closing() or source.is_closing():
            return  # its descriptor may be another's by now; connection_lost is on its way and will tell
        self._waits = False
        target.set_write_buffer_limits()  # as it was; it is empty
        exchange = self._exchange
        pool = splice.pipes()
        pipe = pool.take()
        if pipe is None:
            self._give_back()
            return
        try:
            self._splice = Splice(
                exchange.proxy.loop,
                pool,
                pipe,
                source.get_extra_info("socket").fileno(),
                target.get_extra_info("socket").fileno(),
                self,
                limit=self._count,
            )
        except OSError:
            pool.give_back(pipe, empty=True)
            self._give_back()
            return
        self._look = exchange.proxy.wheel.arm(_LOOK_S, self._on_look)

    def _on_look(self) -> None:
        self._look = None
        if self._splice is not None:
            self._splice.look()
        if self._splice is not None:  # it goes on
            self._look = self._exchange.proxy.wheel.arm(_LOOK_S, self._on_look)

    def _over(self) -> None:
        self._splice = None
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _give_back(self, *, broken: bool = False) -> None:
        self._over()
        self._upstream.take_back(self._taken, broken=broken)

    # --- the codec's side (Borrower)

    def pause(self, paused: bool) -> None:
        """What was written before has left, if not ``paused``."""
        if self._waits and not paused:
            self._start()

    def stop(self) -> None:
        """The exchange or its upstream is over."""
        moving = self._splice
        self._over()
        if moving is not None:
            moving.stop()
        elif self._waits:
            self._waits = False
            if not self._target.is_closing():
                self._target.set_write_buffer_limits()

    # --- the splice's side (Owner)

    def on_spliced(self, count: int) -> None:
        """Bytes went by, or left for the client."""
        self._taken += count
        exchange = self._exchange
        exchange.bytes_sent += count
        exchange.stream.progress += 1
        self._upstream.progress += 1

    def on_splice_end(self) -> None:
        """All of them, or the upstream ended: the codec reads on, and sees."""
        self._give_back()

    def on_splice_broken(self, *, at_source: bool) -> None:
        """The upstream broke off, or the client did, whose transport then says so to everybody."""
        if at_source:
            self._give_back(broken=True)
        else:
            self._over()
            self._target.abort()

    def on_splice_calm(self) -> None:
        """Not much comes: as before."""
        self._give_back()
