"""HOT: a request head, parsed: the form between server codecs of any HTTP version and the proxy.

What stands here is shared by all requests whose heads had the very same bytes: nobody may change it, but for what is
made once when first asked for.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayd.errors import Failure
from gatewayd.http.message import Fields, Pair, RequestHead

#: Body framing of a message.
NO_BODY: Final = 0
LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3


class RequestBlock:
    """A request's field block, parsed."""

    __slots__ = (
        "_forward", "_forward_bytes", "authority", "chunked", "close", "content_length", "encoded", "error",
        "forwarded_certificate", "forwarded_for", "forwarded_proto", "prefix", "request_id", "texts",
        "upgrade", "user_agent",
    )  # fmt: skip

    #: names of fields that nobody may index on their way (RFC 7541 6.2.3); HTTP/2 alone says so
    never_indexed: frozenset[bytes] = frozenset()

    def __init__(self) -> None:
        self.error: Failure | None = None
        self.authority: bytes | None = None
        self.content_length = -1
        self.chunked = False
        self.close = False
        #: value of Upgrade when Connection asked for it, lower-case; b"" = none
        self.upgrade = b""
        self.forwarded_for: bytes | None = None
        #: x-forwarded-client-cert, None unless the options may send it on (semantics 3.18)
        self.forwarded_certificate: bytes | None = None
        #: x-forwarded-proto as sent upstream (semantics 14.2.1)
        self.forwarded_proto = b"http"
        self.request_id: bytes | None = None
        self.user_agent = b""
        #: request line, host and the lines that go upstream, as a route without operations sends them; b"" until
        #: somebody made it
        self.prefix = b""
        #: the same for HTTP/2, with the pseudo-fields in front; None until somebody made it
        self.encoded: bytes | None = None
        self._forward_bytes: bytes | None = None
        self._forward: list[Pair] | None = None
        #: what of each line goes upstream (b"" where nothing does), while a shape may be made of them
        self.texts: list[bytes] | None = None

    @property
    def forward_bytes(self) -> bytes:
        """The lines that go upstream, each ended by CRLF: without host, hop-by-hop and edge fields."""
        text = self._forward_bytes
        if text is None:
            text = self._forward_bytes = self.prefix.split(b"\r\n", 2)[2]
        return text

    @forward_bytes.setter
    def forward_bytes(self, text: bytes) -> None:
        self._forward_bytes = text

    @property
    def forward(self) -> list[Pair]:
        """``forward_bytes`` as pairs; not to be changed."""
        pairs = self._forward
        if pairs is None:
            lines = [line.partition(b": ") for line in self.forward_bytes.split(b"\r\n")]
            lines.pop()
            pairs = self._forward = [(name, value) for name, _, value in lines]
        return pairs

    def routed_fields(self, authority: bytes) -> Fields:
        """What a route may look at: host, the forwarded fields, x-forwarded-*."""
        pairs = [(b"host", authority), *self.forward, (b"x-forwarded-proto", self.forwarded_proto)]
        if self.forwarded_for is not None:
            pairs.append((b"x-forwarded-for", self.forwarded_for))
        return Fields(pairs)


class ParsedRequest:
    """One request head, ready for the proxy. Shared by requests with the very same bytes.

    ``plan`` belongs to the proxy: what it worked out for this head under ``plan_for`` (the listener's
    spec in force then); the codec never looks at it.
    """

    __slots__ = ("block", "body", "error", "head", "method", "plan", "plan_for")

    #: asked in gRPC-Web: answers made here keep their status (:mod:`gatewayd.proxy.grpc_web`)
    web: bool = False

    def __init__(self, block: RequestBlock, method: bytes = b"", error: Failure | None = None) -> None:
        self.error = error
        self.head: RequestHead | None = None
        self.block = block
        self.method = method
        self.body = NO_BODY
        self.plan: Any = None
        self.plan_for: Any = None

    @property
    def content_length(self) -> int:
        """Body bytes announced; 0 = none."""
        return max(0, self.block.content_length)

    @property
    def close(self) -> bool:
        """Whether the client asked to close after the answer."""
        return self.block.close


_EMPTY_BLOCK: Final = RequestBlock()


def refused(failure: Failure) -> ParsedRequest:
    """What stands for a request whose head could not be read."""
    return ParsedRequest(_EMPTY_BLOCK, error=failure)
