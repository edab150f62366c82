"""HOT: what the downstream connections of a listener share under one configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gatewayd.http.dates import DateField
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.h1.response import ResponseParser
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import ParsedRequest

if TYPE_CHECKING:
    from gatewayd.http.h1.server import ServerConnection


class Edge:
    """What the connections of a listener share under one configuration."""

    __slots__ = ("begin", "date", "limits", "options", "requests", "responses", "spec")

    def __init__(
        self,
        spec: Any,
        options: HttpOptions,
        requests: RequestParser,
        responses: ResponseParser,
        begin: Callable[[ServerConnection, ParsedRequest], Any],
        date: DateField,
    ) -> None:
        self.spec = spec
        self.options = options
        self.limits: HttpLimits = options.limits
        self.requests = requests
        self.responses = responses
        #: makes the exchange of a request; may answer at once
        self.begin = begin
        self.date = date
