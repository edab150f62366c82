"""HOT: a response head, parsed: the form between client codecs of any HTTP version and the proxy."""

from __future__ import annotations

from gatewayd.http.message import Fields, Pair
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE


class ResponseHead:
    """One upstream response head. Shared by responses with the very same bytes."""

    __slots__ = (
        "_pairs",
        "chunked",
        "close",
        "content_length",
        "error",
        "grpc_status",
        "has_date",
        "relay",
        "simple",
        "status",
        "tail_bytes",
        "upgrade",
    )  # fmt: skip

    def __init__(self) -> None:
        #: why the head is refused, "" = it is good
        self.error = ""
        self.status = 0
        self.content_length = -1
        self.chunked = False
        #: the upstream closes this connection after the answer
        self.close = False
        self.has_date = False
        self.upgrade = b""
        self.grpc_status = b""
        #: a final answer with a content-length on a connection that stays open
        self.simple = False
        self._pairs: list[Pair] | None = None
        #: status line and fields as HTTP/1 lines, with ``server`` and the framing field, and then
        #: ``x-envoy-upstream-service-time: `` waiting for its value (unless debug fields are off)
        self.relay = b""
        #: how many bytes at the end of ``relay`` are ours
        self.tail_bytes = 0

    @property
    def pairs(self) -> list[Pair]:
        """The fields for downstream, hop-by-hop ones and an overwritten ``server`` left out; not to be changed."""
        pairs = self._pairs
        if pairs is None:
            text = self.relay[: len(self.relay) - self.tail_bytes]
            lines = [line.partition(b": ") for line in text.split(b"\r\n")[1:-1]]
            pairs = self._pairs = [(name, value) for name, _, value in lines]
        return pairs

    def fields(self) -> Fields:
        """``pairs`` with look-ups."""
        return Fields(self.pairs)

    def body_kind(self, request_method: bytes) -> int:
        """How the body of this answer to ``request_method`` ends (RFC 9112 6.3)."""
        if request_method == b"HEAD" or self.status in (204, 304) or self.status < 200:
            return NO_BODY
        if self.chunked:
            return CHUNKED
        if self.content_length > 0:
            return LENGTH
        return NO_BODY if self.content_length == 0 else UNTIL_CLOSE
