"""The contract between codecs and the proxy: all verbs on a page.

A *server codec* owns a downstream connection. For each request head it calls the ``begin`` it was given,
gets an object with the ``on_*`` methods of :class:`RequestHandler`, and offers itself as
:class:`ServerStream`. A *client codec* owns an upstream connection, is lent to one exchange at a time (per
stream), tells it what arrives by :class:`ResponseHandler`, and its pool what became of it by
:class:`ClientOwner`. Direct calls on slotted objects; no event objects, tasks or queues between them.

``end`` rides on the last piece. ``paused`` runs against the data: whoever cannot take more says so and the
other side's connection stops reading.
"""

from __future__ import annotations

from typing import Any, Protocol

from gatewayd.errors import Failure
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.response import ResponseHead


class RequestHandler(Protocol):
    """What a server codec tells the exchange about one request."""

    def on_request_data(self, data: bytes, end: bool) -> None:
        """Body bytes arrived; with ``end`` the request is complete (``data`` may be empty)."""

    def on_request_trailers(self, trailers: Trailers) -> None:
        """Trailers arrived, and with them the request is complete."""

    def on_request_invalid(self, failure: Failure) -> None:
        """The body broke its framing; the client still listens, but nothing after this can be trusted."""

    def on_request_aborted(self, flag: str, details: str) -> None:
        """The client went away or broke the framing in mid-request or while it waited."""

    def on_downstream_paused(self, paused: bool) -> None:
        """The client reads more slowly than the response comes, or caught up."""

    def on_tunnel_data_down(self, data: bytes) -> None:
        """Bytes of an upgraded connection, from the client; ``b""`` is its end of stream."""


class ServerStream(Protocol):
    """What the exchange may ask of a server codec, for one request."""

    #: the version as the log prints it
    protocol: bytes
    #: whether the request is complete
    request_done: bool
    #: whether the client takes nothing more for now; changes are told by ``on_downstream_paused``
    slow: bool
    #: bytes of the request body that may be taken past the codec; 0: none (see :class:`Borrower`)
    body_left: int

    def relay(self, head: ResponseHead, service_time_ms: int, data: bytes, end: bool) -> None:
        """Send an upstream response unchanged but for the proxy's own fields. -1 ms: leave the time out."""

    def respond(self, status: int, pairs: list[Pair], data: bytes, end: bool, *, close: bool = False) -> None:
        """Send a response built here; framing and ``connection`` fields are the codec's business."""

    def send_data(self, data: bytes, end: bool) -> None:
        """More of the body."""

    def send_trailers(self, trailers: Trailers) -> None:
        """What ends the body; dropped where the version does not carry it (semantics 14.6.9)."""

    def send_interim(self, status: int, pairs: list[Pair]) -> None:
        """A 1xx response."""

    def truncate(self) -> None:
        """Leave the response visibly unfinished."""

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the request body."""

    def start_tunnel(self, upgrade: bytes, pairs: list[Pair], data: bytes) -> None:
        """Grant the upgrade that was asked for, and let bytes through from here on."""

    def bare_transport(self) -> Any:
        """The transport that takes body bytes as they are, or None when they need framing or nobody is there."""


class Borrower(Protocol):
    """Who moves part of a body from socket to socket, past both codecs.

    The codec it comes from lends its socket (``lend``) and is given it back (``take_back``); in between it reads
    nothing. A client codec that a request body goes past is told how much did (``passed``).
    """

    def pause(self, paused: bool) -> None:
        """The other side cannot keep up, or can again; told to the borrower instead of the codec."""

    def stop(self) -> None:
        """The exchange or the connection is over: hold nothing any more, and give nothing back."""


class ResponseHandler(Protocol):
    """What a client codec tells the exchange about its attempt."""

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """A final response head, with the body bytes that came along."""

    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx head other than 101."""

    def on_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """The upgrade is granted: from here on bytes go through untouched; ``data`` came with the head."""

    def on_response_data(self, data: bytes, end: bool) -> None:
        """More of the response body."""

    def on_response_trailers(self, trailers: Trailers) -> None:
        """Trailers arrived, and with them the response is complete."""

    def on_upstream_failure(self, failure: Failure, transport: str, unread: bool) -> None:
        """The attempt is over without a complete response.

        ``transport`` is the transport's own reason in words or ``""``. ``unread`` says that the upstream
        provably received nothing of the request, so any method may be tried again (hardening 9.5).
        """

    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream reads more slowly than the request comes, or caught up."""

    def on_tunnel_data_up(self, data: bytes) -> None:
        """Bytes of an upgraded connection, from the upstream; ``b""`` is its end of stream."""


class ClientConnection(Protocol):
    """What the exchange may ask of a client codec, for one attempt."""

    #: whether ``start`` takes a head as HTTP/1 lines; else it takes one that HPACK encoded
    takes_lines: bool
    #: ours, ``ip:port`` as the log prints it
    local_address: str
    #: bytes of the response body that may be taken past the codec; 0: none (see :class:`Borrower`)
    body_left: int

    def start(
        self,
        exchange: Any,
        head: bytes,
        method: bytes,
        edge: Any,
        *,
        complete: bool = True,
        chunked: bool = False,
        upgrade: bytes = b"",
    ) -> None:
        """Send a request head for ``exchange``; ``complete``: there is no body.

        ``edge``: the listener's, whose parsers and limits the response is read with. ``chunked``: HTTP/1 sends the
        body in chunks. ``upgrade``: the protocol asked for.
        """

    def send_data(self, data: bytes, end: bool) -> None:
        """More of the request body."""

    def send_trailers(self, trailers: Trailers) -> None:
        """What ends the body; dropped where the version does not carry it."""

    def bare_transport(self) -> Any:
        """Where body bytes may go past it, as in ServerStream."""

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of an upgraded connection; ``b""`` ends our side."""

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the response."""

    def finish_tunnel(self) -> None:
        """Both ends of a tunnel ended."""

    def close(self) -> None:
        """Give the attempt up; the exchange hears no more of it."""


class ClientOwner(Protocol):
    """What a client codec tells its pool."""

    def released(self, connection: Any) -> None:
        """The connection finished a clean exchange and can carry another."""

    def gone(self, connection: Any) -> None:
        """The connection is closed or must not be used again."""


class SharedOwner(ClientOwner, Protocol):
    """What a client codec whose connections carry several exchanges tells its pool; ``released``: one is over."""

    def ready(self, connection: Any) -> None:
        """There may be room for more now."""

    def refusing(self, connection: Any) -> None:
        """It takes no new exchanges; those under way go on."""
