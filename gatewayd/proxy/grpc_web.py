"""gRPC-Web on servers of that protocol, translated for gRPC's own servers (semantics 2.4.4).

A request of a browser's library, HTTP of any version with a type of its own, begins an exchange that sees the request
and the answer as gRPC has them. Between that exchange and the codec stands a :class:`WebStream`, which is each one's
other side to the other. Other requests never meet one. What is done is what Envoy's filter does, header for header.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, Final

from gatewayd.errors import Failure
from gatewayd.grpc_status import encoded_message, is_grpc, of_http_status
from gatewayd.http.grpc_messages import TextDecoder, TextEncoder, trailers_message
from gatewayd.http.message import Pair, RequestHead, Trailers
from gatewayd.http.request import CHUNKED, NO_BODY, ParsedRequest, RequestBlock
from gatewayd.http.response import ResponseHead

_BINARY: Final = b"application/grpc-web"
_TEXT: Final = b"application/grpc-web-text"
_TYPES: Final = frozenset({_BINARY, _BINARY + b"+proto", _TEXT, _TEXT + b"+proto"})
_TEXT_TYPES: Final = frozenset({_TEXT, _TEXT + b"+proto"})
_TYPE_LINE: Final = b"content-type: application/grpc-web"

#: Of an answer that is no gRPC so much becomes its message.
_MAX_MESSAGE: Final = 16384

_REPLACED: Final = frozenset({b"content-type", b"content-length", b"te", b"transfer-encoding"})
_SAID_TO_SERVERS: Final[list[Pair]] = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
_TAKEN_UNPACKED: Final[Pair] = (b"grpc-accept-encoding", b"identity")
#: What a translated answer says otherwise, or not at all.
_FRAMING: Final = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


class _TranslatedRequest(ParsedRequest):
    """A request in gRPC-Web as one of gRPC; ``text`` and ``takes_text``: the client's bytes are base64, and ours."""

    __slots__ = ("takes_text", "text")

    #: answers made here keep their status
    web = True
    takes_text: bool
    text: bool


def web_begin(begin: Callable[[Any, ParsedRequest], None]) -> Callable[[Any, ParsedRequest], None]:
    """``begin`` (``Edge.begin``) for a server that translates; exchanges begun by it log late (:class:`LateLog`)."""

    def begin_web(stream: Any, request: ParsedRequest) -> None:
        head = request.head
        if request.error is not None or head is None or _TYPE_LINE not in request.block.forward_bytes:
            begin(stream, request)
            return
        translated = request.plan if request.plan_for is begin_web else _translated(request, head)
        if translated is None:
            begin(stream, request)
            return
        request.plan, request.plan_for = translated, begin_web
        begin(WebStream(stream, translated), translated)

    return begin_web


class LateLog:
    """A proxy whose exchanges are logged when the loop comes round.

    An exchange is over before its last bytes are translated, and what they came to is part of the log.
    """

    __slots__ = ("_proxy",)

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proxy, name)

    def log(self, info: Any) -> None:
        """See Proxy."""
        self._proxy.loop.call_soon(self._proxy.log, info)


def _translated(request: ParsedRequest, head: RequestHead) -> _TranslatedRequest | None:
    """The request as gRPC's servers want it; None: it is in no form of gRPC-Web."""
    block = request.block
    kind = head.fields.get(b"content-type")
    if kind not in _TYPES or block.upgrade:
        return None
    fields = [pair for pair in block.forward if pair[0] not in _REPLACED] + _SAID_TO_SERVERS
    if head.fields.get(_TAKEN_UNPACKED[0]) is None:
        fields.append(_TAKEN_UNPACKED)
    own = RequestBlock()
    own.authority = block.authority
    own.close = block.close
    own.forwarded_for = block.forwarded_for
    own.forwarded_certificate = block.forwarded_certificate
    own.forwarded_proto = block.forwarded_proto
    own.request_id = block.request_id
    own.user_agent = block.user_agent
    translated = _TranslatedRequest(own, request.method)
    if request.body != NO_BODY:
        # The length is that of the client's form.
        translated.body = CHUNKED
        own.chunked = True
        fields.append((b"transfer-encoding", b"chunked"))
    own.forward_bytes = b"".join([b"%b: %b\r\n" % pair for pair in fields])
    translated.head = RequestHead(head.method, head.target, head.authority, head.scheme, own, head.user_agent)
    translated.text = kind in _TEXT_TYPES
    translated.takes_text = head.fields.get(b"accept") in _TEXT_TYPES
    return translated


class WebStream:
    """A ``ServerStream`` to the exchange, which speaks gRPC, and a ``RequestHandler`` to the codec's own stream."""

    __slots__ = ("_decoder", "_encoder", "_head", "_held", "_over", "_stream", "_type", "exchange")

    def __init__(self, stream: Any, request: _TranslatedRequest) -> None:
        self._stream = stream
        stream.exchange = self
        #: sets itself here
        self.exchange: Any = None
        self._decoder = TextDecoder() if request.text else None
        self._encoder = TextEncoder() if request.takes_text else None
        self._type: Pair = (b"content-type", (_TEXT if request.takes_text else _BINARY) + b"+proto")
        #: the client has its answer, whatever may still come
        self._over = False
        #: of an answer that is no gRPC: status, fields and ``close``, while there is more of its body to come
        self._head: tuple[int, list[Pair], bool] | None = None
        self._held = b""

    #: nothing of a body is taken past us
    body_left: int = 0

    # --- what either side asks of the other

    @property
    def protocol(self) -> bytes:
        """The client's."""
        return self._stream.protocol  # type: ignore[no-any-return]  # of whichever codec

    @property
    def request_done(self) -> bool:
        """Whether the request is complete."""
        return self._stream.request_done  # type: ignore[no-any-return]  # of whichever codec

    @property
    def slow(self) -> bool:
        """Whether the client takes nothing more for now."""
        return self._stream.slow  # type: ignore[no-any-return]  # of whichever codec

    @property
    def edge(self) -> Any:
        """The listener's."""
        return self._stream.edge

    @property
    def info(self) -> Any:
        """The client's connection."""
        return self._stream.info

    @property
    def port(self) -> Any:
        """Where the connection came in."""
        return self._stream.port

    @property
    def method(self) -> bytes:
        """The request's."""
        return self.exchange.method  # type: ignore[no-any-return]  # of whichever kind

    @property
    def started_at(self) -> float:
        """When the exchange began."""
        return self.exchange.started_at  # type: ignore[no-any-return]  # of whichever kind

    # --- from the client (RequestHandler)

    def on_request_data(self, data: bytes, end: bool) -> None:
        """Body bytes; see RequestHandler."""
        decoder = self._decoder
        if decoder is not None:
            received = len(data)
            data = decoder.decode(data, end)
            self.exchange.bytes_received += received - len(data)
            if decoder.failure is not None:
                self.exchange.on_request_invalid(decoder.failure)
                return
        self.exchange.on_request_data(data, end)

    def on_request_trailers(self, trailers: Trailers) -> None:
        """Trailers and the end; see RequestHandler."""
        decoder = self._decoder
        if decoder is not None:
            decoder.decode(b"", end=True)
            if decoder.failure is not None:
                self.exchange.on_request_invalid(decoder.failure)
                return
        self.exchange.on_request_trailers(trailers)

    def on_request_invalid(self, failure: Failure) -> None:
        """See RequestHandler."""
        self.exchange.on_request_invalid(failure)

    def on_request_aborted(self, flag: str, details: str) -> None:
        """See RequestHandler."""
        self._head = None
        self.exchange.on_request_aborted(flag, details)

    def on_downstream_paused(self, paused: bool) -> None:
        """See RequestHandler."""
        self.exchange.on_downstream_paused(paused)

    def on_stream_idle(self) -> None:
        """Nothing moved for the stream idle timeout."""
        self.exchange.on_stream_idle()

    # --- towards the client (ServerStream)

    def relay(self, head: ResponseHead, service_time_ms: int, data: bytes, end: bool) -> None:
        """An upstream's answer; see ServerStream."""
        self.exchange.respond_changed(head, None, service_time_ms, data, end)

    def respond(self, status: int, pairs: list[Pair], data: bytes, end: bool, *, close: bool = False) -> None:
        """An answer, of an upstream or made here; see ServerStream."""
        if end and not data:
            pairs = [pair for pair in pairs if pair[0] != b"content-type"]
            self._send_head(status, [*pairs, self._type], b"", True, close=close)
            return
        kind = next((value for name, value in pairs if name == b"content-type"), b"")
        kept = [pair for pair in pairs if pair[0] not in _FRAMING]
        if status == 200 and (is_grpc(kind) or kind in _TYPES):
            if self._encoder is not None:
                data = self._encoder.encode(data)
            self.exchange.bytes_sent = len(data)
            self._send_head(status, [*kept, self._type], data, False, close=close)
            if end:
                self._stream.send_data(b"", True)
            return
        self._head = status, kept, close
        self._hold(data, end)

    def _send_head(self, status: int, pairs: list[Pair], data: bytes, end: bool, *, close: bool) -> None:
        exchange = self.exchange
        if exchange.response_pairs is not None:
            exchange.response_pairs = pairs
        self._stream.respond(status, pairs, data, end, close=close)

    def _hold(self, data: bytes, end: bool) -> None:
        """The body of what is no gRPC is said as its message."""
        self._held += data
        if not end and len(self._held) < _MAX_MESSAGE:
            return
        assert self._head is not None
        status, pairs, close = self._head
        self._head = None
        self._over = True
        exchange = self.exchange
        exchange.bytes_sent = 0
        exchange.grpc_status = number = b"%d" % of_http_status(status)
        said = [(b"grpc-status", number), (b"grpc-message", encoded_message(self._held[:_MAX_MESSAGE]))]
        self._held = b""
        pairs = [pair for pair in pairs if pair[0] not in (b"grpc-status", b"grpc-message")]
        self._send_head(
            status, [*pairs, self._type, (b"content-length", b"0"), *said], b"", True, close=close
        )
        if not end:  # and nobody wants the rest
            exchange.proxy.loop.call_soon(exchange.on_answered)

    def send_data(self, data: bytes, end: bool) -> None:
        """More of the body; see ServerStream."""
        if self._over:
            self.exchange.bytes_sent = 0
        elif self._head is not None:
            self._hold(data, end)
        elif self._encoder is None:
            self._stream.send_data(data, end)
        else:
            text = self._encoder.encode(data)
            if end:
                text += self._encoder.end()
            self.exchange.bytes_sent += len(text) - len(data)
            self._stream.send_data(text, end)

    def send_trailers(self, trailers: Trailers) -> None:
        """The end of the body, as its last message; see ServerStream."""
        if self._over:
            return
        if self._head is not None:
            self._hold(b"", True)
            return
        message = trailers_message(trailers)
        encoder = self._encoder
        if encoder is not None:
            message = encoder.end() + b2a_base64(message, newline=False)
        self.exchange.bytes_sent += len(message)
        self._stream.send_data(message, True)

    def send_interim(self, status: int, pairs: list[Pair]) -> None:
        """See ServerStream."""
        self._stream.send_interim(status, pairs)

    def truncate(self) -> None:
        """See ServerStream."""
        if not self._over:
            self._stream.truncate()

    def pause(self, paused: bool) -> None:
        """See ServerStream."""
        self._stream.pause(paused)

    def bare_transport(self) -> Any:
        """Never: bytes are translated."""
        return None
