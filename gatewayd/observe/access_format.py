"""HOT: the lines of the access log, one for each exchange: any text form, and JSON (semantics 17).

``FORMATS`` maps the word of ``--access-log-format`` to what makes the formatter of a batch. Istio's default text form
is written out by hand (:mod:`gatewayd.observe.text_lines`), because a compiled one costs some four times as much; a
test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import gmtime, strftime
from typing import Any, Final

import msgspec

from gatewayd.observe.escaping import escape, one_column
from gatewayd.observe.formatter import split_format
from gatewayd.observe.operators import remote_address
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.observe.text_lines import TextLines
from gatewayd.observe.trace import trace_of

#: Istio's default format (semantics 17.2).
DEFAULT_FORMAT: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

Formatter = Callable[[StreamInfo], str]
#: The lines of a batch. A batch at a time, because one long join costs less than a line's and then theirs.
BatchFormatter = Callable[[Sequence[StreamInfo]], bytes]


def start_times() -> Callable[[float], str]:
    """Make the function that prints a time as 17.3 says: UTC in ISO 8601 with milliseconds."""
    stamp_second = -1
    stamp = ""

    def start_time(wall: float) -> str:
        nonlocal stamp_second, stamp
        second = int(wall)
        if second != stamp_second:
            stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
            stamp_second = second
        return f"{stamp}.{int((wall - second) * 1000):03d}Z"

    return start_time


def text_formatter() -> Formatter:
    """Make the formatter of one default text line."""
    lines = TextLines()
    return lambda info: lines((info,)).decode("ascii")


def compile_text(template: str = DEFAULT_FORMAT) -> Formatter:
    """A formatter of any format string; absent values print ``-`` (semantics 17.2).

    Values are escaped, the template is not. Raises ValueError, in words for the user, for a bad template.
    """
    pieces = [p.decode() if isinstance(p, bytes) else p for p in split_format(template)]

    def format_line(info: StreamInfo) -> str:
        return "".join([p if isinstance(p, str) else escape(p(info) or b"-") for p in pieces])

    return format_line


def json_formatter() -> Formatter:
    """Make the formatter of JSON lines (semantics 17.4).

    As Envoy writes them: what is absent is null, but ``response_flags`` is ``-``; times and sizes are
    numbers, except the upstream service time, which is a header and so a string. A traced exchange says its
    ``trace_id`` and ``span_id`` besides.
    """
    encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
    start_time = start_times()

    def format_line(info: StreamInfo) -> str:
        request = info.request
        route = info.route
        connection = info.connection
        started = info.started_at
        responded = info.responded_at
        record: dict[str, Any] = {
            "start_time": start_time(info.started_wall),
            "route_name": (route.name or None) if route is not None else None,
            "method": _text(info.method),
            "path": _text(info.path),
            "protocol": _text(info.protocol),
            "response_code": info.status,
            "response_flags": info.flags or "-",
            "response_code_details": one_column(info.details) or None,
            "connection_termination_details": info.termination_details or None,
            "bytes_received": info.bytes_received,
            "bytes_sent": info.bytes_sent,
            "duration": int((info.finished_at - started) * 1000),
            "upstream_service_time": str(int((responded - started) * 1000)) if responded else None,
            "x_forwarded_for": _text(info.x_forwarded_for),
            "user_agent": _text(request.fields.get(b"user-agent")) if request is not None else None,
            "request_id": _text(info.request_id),
            "authority": _text(request.authority) if request is not None else None,
            "upstream_host": info.upstream_host or None,
            "upstream_cluster": info.upstream_cluster or None,
            "upstream_local_address": info.upstream_local_address or None,
            "downstream_local_address": connection.local_address or None,
            "downstream_remote_address": remote_address(info) or None,
            "requested_server_name": connection.requested_server_name or None,
            "upstream_transport_failure_reason": info.transport_failure or None,
        }
        trace = trace_of(info)
        if trace is not None:
            record["trace_id"] = trace.trace_id.decode()
            record["span_id"] = trace.span_id.decode()
        return encode(record).decode() + "\n"

    return format_line


def _text(value: bytes | None) -> str | None:
    """A header value as JSON text; bytes that are not UTF-8 become ``\\xNN``."""
    return value.decode("utf-8", "backslashreplace") if value else None


def json_lines() -> BatchFormatter:
    """Make the formatter of a batch of JSON lines."""
    make = json_formatter()
    return lambda infos: "".join([make(info) for info in infos]).encode()


#: ``--access-log-format`` -> what makes the formatter of that form.
FORMATS: Final[dict[str, Callable[[], BatchFormatter]]] = {"text": TextLines, "json": json_lines}
