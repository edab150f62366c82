"""Our codec on a fake transport, with somebody in the place of the exchange who notes what it is told.

Each role is spoken to in bytes (``tests/support/h2_wire.py``) and answers in frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from gatewayd.errors import Failure
from gatewayd.http.dates import DateField
from gatewayd.http.edge import Edge
from gatewayd.http.h1 import head, response
from gatewayd.http.h2.client import ClientConnection
from gatewayd.http.h2.server import ServerConnection
from gatewayd.http.limits import HttpLimits
from gatewayd.http.message import Trailers
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import ParsedRequest
from gatewayd.http.response import ResponseHead
from tests.support import h2_wire as wire
from tests.support.fake_transport import FakeTransport
from tests.support.h2_wire import Frame

Pairs = list[tuple[str, str]]


class Party:
    """A connection of ours and its peer, which is the test."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        #: what is to be done in the next turn of the loop
        self.later: list[Callable[[], None]] = []
        connection.soon = self.later.append
        self.transport = FakeTransport(connection)
        self.reader = wire.Reader()
        self._read = 0
        #: everything it sent, frame by frame
        self.frames: list[Frame] = []

    def send(self, *pieces: bytes) -> list[Frame]:
        """Deliver each piece by itself; the frames that came back."""
        for piece in pieces:
            self.transport.deliver(piece)
        return self.sent()

    def sent(self) -> list[Frame]:
        """Frames that were sent since the last look; a turn of the loop is over."""
        while self.later:
            self.later.pop(0)()
        found = wire.frames(bytes(self.transport.sent[self._read :]))
        self._read = len(self.transport.sent)
        self.frames += found
        return found

    def failed(self) -> int | None:
        """The error code of the GOAWAY that ended the connection, None: it goes on."""
        self.sent()
        last = [frame for frame in self.frames if frame.kind == wire.GOAWAY]
        ended = self.transport.ended or self.transport.closing
        assert ended == bool(last), "GOAWAY and the end of our side come together"
        return last[-1].code if last else None

    def of(self, found: Sequence[Frame], kind: int) -> list[Frame]:
        """Those of one kind."""
        return [frame for frame in found if frame.kind == kind]


class Handler:
    """What a server codec takes for an exchange."""

    def __init__(self, stream: Any, request: ParsedRequest) -> None:
        self.stream = stream
        stream.exchange = self
        self.request = request
        self.method = request.method
        self.started_at = monotonic()
        self.details = ""
        self.body = b""
        self.ended = False
        self.trailers: Trailers | None = None
        self.aborted: tuple[str, str] | None = None
        self.paused: list[bool] = []
        self.tunnelled: list[bytes] = []
        self.idle = False

    def on_request_data(self, data: bytes, end: bool) -> None:
        assert not self.ended, "nothing comes behind the end"
        self.body += data
        self.ended = end

    def on_request_trailers(self, trailers: Trailers) -> None:
        assert not self.ended
        self.trailers = trailers
        self.ended = True

    def on_request_aborted(self, flag: str, details: str) -> None:
        assert self.aborted is None, "told once"
        self.aborted = (flag, details)

    def on_downstream_paused(self, paused: bool) -> None:
        self.paused.append(paused)

    def on_tunnel_data_down(self, data: bytes) -> None:
        self.tunnelled.append(data)

    def on_stream_idle(self) -> None:
        self.idle = True

    # --- what tests make it do

    def answer(self, status: int = 200, data: bytes = b"", end: bool = True, **fields: str) -> None:
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        self.stream.respond(status, pairs, data, end)


class Served(Party):
    """A server connection; ``begun`` are its requests, ``noted`` those that get no answer."""

    def __init__(
        self, limits: HttpLimits | None = None, *, greet: bool = True, answers: bool = False, **options: Any
    ) -> None:
        """``greet``: the client's preface and SETTINGS have come. ``answers``: every request, at once."""
        options.setdefault("limits", limits or HttpLimits())
        self.options = HttpOptions(**options)
        self.begun: list[Handler] = []
        self.noted: list[Failure] = []
        self.answers = answers
        self.connections: set[Any] = set()
        self.number = 80
        self.edge = Edge(
            None,
            self.options,
            head.parser_for(self.options),
            response.parser_for(self.options),
            self._begin,
            self._note,
            DateField(),
        )
        super().__init__(ServerConnection(self))
        if greet:
            self.send(wire.PREFACE + wire.settings())
            self.send(wire.settings(ack=True))

    # --- as the connection's port

    def connected(self, connection: Any) -> None:
        self.connections.add(connection)

    def disconnected(self, connection: Any) -> None:
        self.connections.discard(connection)

    # --- as the proxy

    def _begin(self, stream: Any, request: ParsedRequest) -> None:
        handler = Handler(stream, request)
        self.begun.append(handler)
        if self.answers:
            handler.answer(200, b"hello")

    def _note(self, stream: Any, request: ParsedRequest) -> None:
        assert request.error is not None
        self.noted.append(request.error)

    def fields(self, stream: int = 1) -> Pairs:
        """The head of the answer on ``stream``, of which there must be one."""
        self.sent()
        (found,) = self.reader.of(self.frames, stream)
        return found


class Attempt:
    """What a client codec takes for an exchange."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.interim: list[ResponseHead] = []
        self.body = b""
        self.ended = False
        self.trailers: Trailers | None = None
        self.failure: tuple[Failure, bool] | None = None
        self.paused: list[bool] = []
        self.tunnelled: list[bytes] = []
        self.upgraded: ResponseHead | None = None

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        assert self.head is None
        self.head = head
        self.body += data
        self.ended = end

    def on_response_data(self, data: bytes, end: bool) -> None:
        assert self.head is not None, "no body before its head"
        assert not self.ended
        self.body += data
        self.ended = end

    def on_response_trailers(self, trailers: Trailers) -> None:
        assert not self.ended
        self.trailers = trailers
        self.ended = True

    def on_interim(self, head: ResponseHead) -> None:
        self.interim.append(head)

    def on_upgraded(self, head: ResponseHead, data: bytes) -> None:
        self.upgraded = head

    def on_tunnel_data_up(self, data: bytes) -> None:
        self.tunnelled.append(data)

    def on_upstream_failure(self, failure: Failure, transport: str, unread: bool) -> None:
        assert self.failure is None, "told once"
        assert not self.ended, "nothing fails behind the end"
        self.failure = (failure, unread)

    def on_upstream_paused(self, paused: bool) -> None:
        self.paused.append(paused)


class Owner:
    """A pool that only notes."""

    def __init__(self) -> None:
        self.released_count = 0
        self.ready_count = 0
        self.lost = False
        self.refused = False

    def released(self, connection: Any) -> None:
        self.released_count += 1

    def ready(self, connection: Any) -> None:
        self.ready_count += 1

    def refusing(self, connection: Any) -> None:
        self.refused = True

    def gone(self, connection: Any) -> None:
        self.lost = True


class Asked(Party):
    """A client connection."""

    def __init__(
        self, limits: HttpLimits | None = None, *, greet: bool = True, settings: bytes = b""
    ) -> None:
        """``greet``: the server's SETTINGS (or ``settings``) have come."""
        self.owner = Owner()
        options = HttpOptions(limits=limits or HttpLimits())
        self.edge = Edge(
            None,
            options,
            head.parser_for(options),
            response.parser_for(options),
            lambda *_: None,
            lambda *_: None,
            DateField(),
        )
        super().__init__(ClientConnection(self.owner, options.limits))
        assert self.transport.sent.startswith(wire.PREFACE)
        self._read = len(wire.PREFACE)
        if greet:
            self.send(settings or wire.settings(), wire.settings(ack=True))

    def ask(self, method: str = "GET", *, complete: bool = True, upgrade: bytes = b"") -> tuple[Any, Attempt]:
        """A request on a stream of its own."""
        attempt = Attempt()
        stream = self.connection.open_stream()
        block = wire.block(wire.request(method))
        stream.start(attempt, block, method.encode(), self.edge, complete=complete, upgrade=upgrade)
        return stream, attempt


def response_head(status: str = "200", *fields: tuple[str, str]) -> Pairs:
    """The fields of a response."""
    return [(":status", status), *fields]
