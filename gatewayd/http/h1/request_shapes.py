"""HOT: the field block of a request that is built like one seen before (see ``shapes.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatewayd.http.h1.shapes import Shape, keep, widened
from gatewayd.http.request import RequestBlock
from gatewayd.http.request_fields import (
    CONTENT_LENGTH,
    FORWARDED_FOR,
    HOST,
    JOINED,
    REQUEST_ID,
    USER_AGENT,
    is_known_authority,
    kind_of,
)

#: Lines of these may vary when there is one of them; those of JOINED and below always may.
_MAY_VARY: Final = frozenset({USER_AGENT, HOST, CONTENT_LENGTH, FORWARDED_FOR, REQUEST_ID})
#: Digits of a length that is surely below 2^63.
_LENGTH_DIGITS: Final = 18


class _BareBlock(RequestBlock):
    """One whose attributes are all set by who makes it: without a call of ``__init__``."""

    __slots__ = ()
    __init__ = object.__init__


class RequestShape(Shape):
    """What requests of one method have in common.

    ``block`` is that of the request which ``lines`` came from, with its ``texts``; ``scheme`` its scheme.
    """

    __slots__ = ("_block", "_noted", "_pieces", "_places", "_unsent", "scheme")

    def __init__(
        self, lines: Sequence[bytes], varying: Sequence[int], block: RequestBlock, scheme: bytes
    ) -> None:
        super().__init__(lines, varying, start=lines[0].rfind(b" ") + 1)
        self.scheme = scheme
        self._block = block
        kinds = [kind_of(name) for name in self.names]
        #: (position among the values, kind) of those that mean more than their line
        self._noted = tuple(
            (at, kinds[line - 1]) for at, line in enumerate(varying) if kinds[line - 1] > JOINED
        )
        # What a plain route sends, in pieces: the second is the target, others the values, in between literals.
        pieces = [lines[0].partition(b" ")[0] + b" ", b"", b" HTTP/1.1\r\nhost: "]
        places: dict[int, int] = {}
        host = kinds.index(HOST) + 1
        if host in varying:
            places[host] = len(pieces)
            pieces += [b"", b""]
        else:
            pieces[-1] += block.authority or b""
        pieces[-1] += b"\r\n"
        for line, text in enumerate(block.texts or (), start=1):
            if text and line in varying:
                pieces[-1] += text[: text.find(b": ") + 2]
                places[line] = len(pieces)
                pieces += [b"", b"\r\n"]
            else:
                pieces[-1] += text
        self._unsent = any(line not in places for line in varying)
        if self._unsent:
            pieces.append(b"")
        self._pieces = pieces
        #: where each value stands among the pieces: the last one is for those that are not sent
        self._places = tuple(places.get(line, len(pieces) - 1) for line in varying)

    def block(self, rest: bytes, target: bytes) -> RequestBlock | None:
        """The block of a head that is ``rest`` from its version on; None: it does not fit."""
        values = self.values(rest)
        if values is None:
            return None
        common = self._block
        block: RequestBlock = _BareBlock()
        block.error = block.texts = block._forward = block._forward_bytes = block.encoded = None
        block.upgrade = b""  # heads with one have no shape
        block.authority = common.authority
        block.chunked = common.chunked
        block.close = common.close
        block.content_length = common.content_length
        block.forwarded_certificate = common.forwarded_certificate
        block.forwarded_for = common.forwarded_for
        block.forwarded_proto = common.forwarded_proto
        block.request_id = common.request_id
        block.user_agent = common.user_agent
        if self._noted and not self._note(block, values):
            return None
        pieces = self._pieces[:]
        pieces[1] = target
        at = 0
        for place in self._places:
            pieces[place] = values[at]
            at += 1  # noqa: SIM113  enumerate makes a tuple each turn
        if self._unsent:
            pieces[-1] = b""
        block.prefix = b"".join(pieces)
        return block

    def _note(self, block: RequestBlock, values: list[bytes]) -> bool:
        """Write down what varying lines mean; False: the long way shall say what is wrong with them."""
        for at, kind in self._noted:
            value = values[at]
            if kind == USER_AGENT:
                block.user_agent = value
            elif kind == HOST:
                if not is_known_authority(value):
                    return False
                block.authority = value
            elif kind == CONTENT_LENGTH:
                if not value.isdigit() or len(value) > _LENGTH_DIGITS:
                    return False
                block.content_length = int(value)
            elif kind == FORWARDED_FOR:
                block.forwarded_for = value or None  # an empty one is replaced (semantics 14.1.1)
            else:
                block.request_id = value
        return True


def learn(shapes: list[RequestShape], head: bytes, block: RequestBlock, scheme: bytes) -> None:
    """Make a shape of ``head``, whose block has ``texts``, or widen the one among ``shapes`` it nearly fits."""
    lines = head[:-4].split(b"\r\n")
    kinds = [kind_of(line.partition(b":")[0]) for line in lines[1:]]
    variable = [kind <= JOINED or (kind in _MAY_VARY and kinds.count(kind) == 1) for kind in kinds]
    wide, varying = widened(shapes, lines, [False, *variable])
    keep(shapes, RequestShape(lines, varying, block, scheme), wide)
