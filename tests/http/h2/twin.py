"""hyper-h2 beside our codec: the same bytes to both, what they make of them side by side.

What is compared: the requests (or responses) each hands over, field by field and byte by byte, which streams are reset,
and whether the connection goes on. Where they differ, both are allowed to; the tests say where.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from gatewayd.http.request import NO_BODY
from tests.http.h2.rigs import Asked, Attempt, Handler, Served
from tests.support import h2_wire as wire

#: What happened to a stream: its fields, its body, its trailers, whether it ended, whether it was reset.
Story = tuple[Any, bytes, Any, bool, bool]


class TheirServer:
    """h2 in the role of a server."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.connection.max_inbound_frame_size = 16384
        self.failed = ""
        self.fields: dict[int, Any] = {}
        self.trailers: dict[int, Any] = {}
        self.body: dict[int, bytes] = defaultdict(bytes)
        self.ended: set[int] = set()
        self.reset: set[int] = set()

    def send(self, data: bytes) -> None:
        if self.failed:
            return
        try:
            for event in self.connection.receive_data(data):
                self._on(event)
        except h2.exceptions.ProtocolError as error:
            self.failed = f"{type(error).__name__}: {error}"

    def _on(self, event: Any) -> None:
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                self.fields[event.stream_id] = [(bytes(n), bytes(v)) for n, v in event.headers]
            case h2.events.TrailersReceived():
                self.trailers[event.stream_id] = [(bytes(n), bytes(v)) for n, v in event.headers]
            case h2.events.DataReceived():
                self.body[event.stream_id] += event.data
                if event.flow_controlled_length and event.stream_id not in self.reset:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                self.reset.add(event.stream_id)

    def stories(self) -> dict[int, Story]:
        return {
            number: (
                fields,
                self.body[number],
                self.trailers.get(number),
                number in self.ended,
                number in self.reset,
            )
            for number, fields in self.fields.items()
        }


class TheirClient(TheirServer):
    """h2 in the role of a client that has asked ``count`` times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        for number in range(1, 2 * count, 2):
            fields = [
                (
                    name.encode() if isinstance(name, str) else name,
                    value.encode() if isinstance(value, str) else value,
                )
                for name, value in wire.request()
            ]
            self.connection.send_headers(number, fields, end_stream=True)


def our_requests(served: Served) -> dict[int, Story]:
    """What our server made of it."""
    return {handler.stream.id: _request(handler) for handler in served.begun}


def _request(handler: Handler) -> Story:
    request = handler.request
    trailers = list(handler.trailers.pairs) if handler.trailers is not None else None
    head = request.head
    assert head is not None
    fields = [
        (b":method", head.method),
        (b":scheme", head.scheme),
        (b":path", head.target),
        (b":authority", head.authority),
        *[pair for pair in request.block.forward if pair[0] != b"transfer-encoding"],
    ]
    ended = handler.ended or request.body == NO_BODY
    return fields, handler.body, trailers, ended, handler.aborted is not None


def our_responses(attempts: dict[int, Attempt]) -> dict[int, Story]:
    """What our client made of it."""
    found: dict[int, Story] = {}
    for number, attempt in attempts.items():
        if attempt.head is not None:
            trailers = list(attempt.trailers.pairs) if attempt.trailers is not None else None
            fields = [(b":status", b"%d" % attempt.head.status), *attempt.head.pairs]
            found[number] = (fields, attempt.body, trailers, attempt.ended, attempt.failure is not None)
    return found


def asked(count: int) -> tuple[Asked, dict[int, Attempt]]:
    """Our client, that has asked ``count`` times."""
    rig = Asked(greet=False)
    return rig, {2 * index + 1: rig.ask()[1] for index in range(count)}
