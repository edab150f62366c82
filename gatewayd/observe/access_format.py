"""HOT: one line of the access log for one exchange: Istio's default text form, and JSON (semantics 17).

``FORMATS`` maps the word of ``--access-log-format`` to a function that makes a formatter. The text formatter
is the format string of semantics 17.2 written out by hand, because a compiled one costs some four times as
much; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from time import gmtime, strftime
from typing import Any, Final

import msgspec

from gatewayd.http.message import RequestHead
from gatewayd.observe.escaping import escape
from gatewayd.observe.formatter import split_format
from gatewayd.observe.operators import remote_address
from gatewayd.observe.stream_info import StreamInfo

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

#: Values shown lately, as they are printed. Clients send the same few again and again.
_MAX_SHOWN: Final = 4096
_MAX_SHOWN_BYTES: Final = 256

#: Numbers as text, and the end of the time stamp.
_READY: Final = 4096
_NUMBERS: Final = tuple(map(str, range(_READY)))
_MILLISECONDS: Final = tuple(f".{number:03d}Z]" for number in range(1000))

#: A request id of our own making is a UUID and needs no escaping.
_ID_BYTES: Final = 36

Formatter = Callable[[StreamInfo], str]


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
    """Make the formatter of the default text line; it ends with a line end."""
    shown: dict[bytes | str, str] = {b"": "-", "": "-"}
    look_up = shown.get
    stamp_second = -1
    stamp = ""

    def show(value: bytes | str) -> str:
        """What is printed for ``value``; remembered when it is short."""
        text = escape(value if isinstance(value, bytes) else value.encode())
        if len(value) <= _MAX_SHOWN_BYTES:
            if len(shown) >= _MAX_SHOWN:
                shown.clear()
                shown[b""] = shown[""] = "-"
            shown[value] = text
        return text

    def show_head(request: RequestHead, info: StreamInfo) -> tuple[str, str, str]:
        """What is printed of a request's head: kept with it, since heads repeat."""
        method = info.method
        protocol = info.protocol
        path = request.target
        agent = request.user_agent or request.fields.get(b"user-agent") or b""
        authority = request.authority
        target = escape(path) or "-"  # mostly new, so not worth remembering
        line = f"{look_up(method) or show(method)} {target} {look_up(protocol) or show(protocol)}"
        shown_head = request.shown = (
            line,
            look_up(agent) or show(agent),
            look_up(authority) or show(authority),
        )
        return shown_head

    def show_line(info: StreamInfo) -> str:
        """The first column in quotes, when it is not that of the head."""
        return " ".join([look_up(value) or show(value) for value in (info.method, info.path, info.protocol)])

    def show_connection(info: StreamInfo) -> str:
        """Local address, remote address and server name: kept with the connection."""
        connection = info.connection
        name = connection.requested_server_name
        shown = f"{connection.local_address} {connection.remote_address} {look_up(name) or show(name)}"
        connection.shown = shown
        return shown

    def format_line(info: StreamInfo) -> str:
        nonlocal stamp_second, stamp
        wall = info.started_wall
        second = int(wall)
        if second != stamp_second:
            stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
            stamp_second = second
        request = info.request
        if request is None:
            line, agent, authority = show_line(info), "-", "-"
        else:
            line, agent, authority = request.shown or show_head(request, info)
            if info.path is not request.target:
                line = show_line(info)
        details = info.details
        if details != "via_upstream":
            details = escape(one_column(details).encode()) or "-"
        ended = info.termination_details
        failure = info.transport_failure
        started = info.started_at
        responded = info.responded_at
        forwarded = info.x_forwarded_for
        cluster = info.upstream_cluster
        connection = info.connection
        sides = connection.shown or show_connection(info)
        if info.trusted_address and info.trusted_address != connection.remote_ip.encode():
            name = connection.requested_server_name
            remote = escape(remote_address(info).encode())
            sides = f"{connection.local_address} {remote} {look_up(name) or show(name)}"
        route = info.route
        route_name = route.name if route is not None else ""
        # Ready-made texts: to format a number costs more than to look it up.
        sent = info.bytes_sent
        request_id = info.request_id
        duration = int((info.finished_at - started) * 1000)
        service = int((responded - started) * 1000) if responded else -1
        return (
            f'[{stamp}{_MILLISECONDS[int((wall - second) * 1000)]} "{line}" '
            f"{_NUMBERS[info.status]} {info.flags or '-'} {details} "
            f"{(look_up(ended) or show(ended)) if ended else '-'} "
            f'"{(look_up(failure) or show(failure)) if failure else "-"}" '
            f"{info.bytes_received or '0'} {_NUMBERS[sent] if sent < _READY else sent} "
            f"{_NUMBERS[duration] if duration < _READY else duration} "
            f"{('-' if service < 0 else _NUMBERS[service]) if service < _READY else service} "
            f'"{look_up(forwarded) or show(forwarded)}" "{agent}" '
            f'"{request_id.decode() if len(request_id) == _ID_BYTES else escape(request_id) or "-"}" "{authority}" '
            f'"{info.upstream_host or "-"}" {look_up(cluster) or show(cluster)} '
            f"{info.upstream_local_address or '-'} {sides} "
            f"{(look_up(route_name) or show(route_name)) if route_name else '-'}\n"
        )

    return format_line


def one_column(text: str) -> str:
    """``text`` without white space, as Envoy shows response code details."""
    return "_".join(text.split())


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
    numbers, except the upstream service time, which is a header and so a string.
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
        return encode(record).decode() + "\n"

    return format_line


def _text(value: bytes | None) -> str | None:
    """A header value as JSON text; bytes that are not UTF-8 become ``\\xNN``."""
    return value.decode("utf-8", "backslashreplace") if value else None


#: ``--access-log-format`` -> what makes the formatter of that form.
FORMATS: Final[dict[str, Callable[[], Formatter]]] = {"text": text_formatter, "json": json_formatter}
