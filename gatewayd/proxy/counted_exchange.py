"""HOT on servers of gRPC: exchanges that count messages both ways (semantics 18.1).

Which exchanges a server has is decided once; those of other protocols know nothing of this. As with traces, what is
added stands around the steps of the exchange.
"""

from __future__ import annotations

from typing import Any

from gatewayd.http.grpc_messages import MessageCounter
from gatewayd.http.request import ParsedRequest
from gatewayd.http.response import ResponseHead
from gatewayd.proxy.exchange import Exchange


class _Counting(Exchange):
    """Counts what goes by; the steps are those of the class behind it."""

    __slots__ = ()

    def __init__(self, proxy: Any, stream: Any, request: ParsedRequest) -> None:
        super().__init__(proxy, stream, request)
        grpc = self.is_grpc
        self.request_messages = MessageCounter() if grpc else None
        self.response_messages = MessageCounter() if grpc else None

    def on_request_data(self, data: bytes, end: bool) -> None:
        """Request body bytes; see RequestHandler."""
        if self.request_messages is not None:
            self.request_messages.add(data)
        super().on_request_data(data, end)

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """The upstream's answer begins; see ResponseHandler."""
        if data and self.response_messages is not None:
            self.response_messages.add(data)
        super().on_response(head, data, end)

    def on_response_data(self, data: bytes, end: bool) -> None:
        """More of the response body; see ResponseHandler."""
        if self.response_messages is not None:
            self.response_messages.add(data)
        super().on_response_data(data, end)


_COUNTED: dict[type[Exchange], type[Exchange]] = {}


def counted(kind: type[Exchange]) -> type[Exchange]:
    """``kind`` of exchange, counting messages; made once."""
    made = _COUNTED.get(kind)
    if made is None:
        made = _COUNTED[kind] = _make(kind)
    return made


def _make(kind: type[Exchange]) -> type[Exchange]:
    return type(
        f"Counted{kind.__name__}", (_Counting, kind), {"__slots__": (), "__doc__": "Counts messages."}
    )
