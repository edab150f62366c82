"""HOT: a response head, parsed: the form between client codecs of any HTTP version and the proxy."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gatewayd.http import headers
from gatewayd.http.message import Fields, Pair
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE

#: Reason phrases; the upstream's own is not passed on (semantics 14.7, golden framing-e).
REASONS: Final[dict[int, bytes]] = {int(status): status.phrase.encode() for status in HTTPStatus}


_OUR_STATUS_LINES: Final = tuple(
    b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown")) for status in range(1000)
)


def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` CRLF."""
    return _OUR_STATUS_LINES[status]


class ResponseHead:
    """One upstream response head. Shared by responses with the very same bytes."""

    __slots__ = (
        "_pairs",
        "chunked",
        "close",
        "content_length",
        "encoded",
        "error",
        "grpc_status",
        "has_date",
        "relay",
        "simple",
        "status",
        "tail_bytes",
        "upgrade",
    )  # fmt: skip

    #: names of fields that nobody may index on their way (RFC 7541 6.2.3); HTTP/2 alone says so
    never_indexed: frozenset[bytes] = frozenset()

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
        #: the same for HTTP/2, without the last of them; None until somebody made it
        self.encoded: bytes | None = None
        #: how many bytes at the end of ``relay`` are ours
        self.tail_bytes = 0

    @classmethod
    def granting(cls, head: ResponseHead, upgrade: bytes) -> ResponseHead:
        """A head that says by ``upgrade`` what ``head``, an answer to extended CONNECT, says by its status."""
        granted = ResponseHead()
        granted.status = 101
        granted.upgrade = upgrade
        granted._pairs = head.pairs
        return granted

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


def join_repeated(out: list[bytes]) -> bool:
    """Repeated lines of a field that is one value become one line (semantics 14.7.2); whether there were any."""
    at: dict[bytes, int] = {}
    repeated = False
    for index, text in enumerate(out[1:], start=1):
        name, _, value = text.partition(b": ")
        if name not in headers.JOINED_IN_RESPONSES:
            continue
        first = at.setdefault(name, index)
        if first != index:
            out[first] = headers.joined_lines(out[first], value)
            out[index] = b""
            repeated = True
    return repeated


def added_lines(options: HttpOptions) -> bytes:
    """What is added to every response that is relayed: ``server``, and the service time waiting for its value."""
    server = options.server_header
    lines = b"" if server is None else b"server: %b\r\n" % server
    return lines + b"x-envoy-upstream-service-time: " if options.debug_headers else lines
