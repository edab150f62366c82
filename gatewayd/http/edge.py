"""HOT: what the downstream connections of a listener share under one configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatewayd.http.dates import DateField
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.h1.response import ResponseParser
from gatewayd.http.h2.requests import reader_for as request_reader
from gatewayd.http.h2.responses import reader_for as response_reader
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import ParsedRequest


class Edge:
    """What the connections of a listener share under one configuration."""

    __slots__ = (
        "begin", "date", "limits", "new_id", "note", "options", "request_fields", "requests", "response_fields",
        "responses", "spec",
    )  # fmt: skip

    def __init__(
        self,
        spec: Any,
        options: HttpOptions,
        requests: RequestParser,
        responses: ResponseParser,
        begin: Callable[[Any, ParsedRequest], Any],
        note: Callable[[Any, ParsedRequest], Any],
        date: DateField,
        new_id: Callable[[], bytes] | None = None,
    ) -> None:
        self.spec = spec
        self.options = options
        self.limits: HttpLimits = options.limits
        #: of HTTP/1.1
        self.requests = requests
        self.responses = responses
        #: of HTTP/2
        self.request_fields = request_reader(options)
        self.response_fields = response_reader(options)
        #: makes the exchange of a request on its ServerStream; may answer at once
        self.begin = begin
        #: writes down a request that cannot be answered
        self.note = note
        self.date = date
        #: makes the id of a request; None: it has none, or its exchange sees to it
        self.new_id = new_id
