"""HOT: one line of the access log for one exchange: Istio's default text form, and JSON (semantics 17).

``FORMATS`` maps the word of ``--access-log-format`` to a function that makes a formatter. The text formatter
is the format string of semantics 17.2 written out by hand, because a compiled one costs some four times as
much; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from time import gmtime, strftime
from typing import Final

from gatewayd.observe.escaping import escape
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

Formatter = Callable[[StreamInfo], str]


def start_time(wall: float) -> str:
    """UTC in ISO 8601 with milliseconds (semantics 17.3)."""
    second = int(wall)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(second))}.{int((wall - second) * 1000):03d}Z"


def text_formatter() -> Formatter:
    """Make the formatter of the default text line; it ends with a line end."""
    shown: dict[bytes | str, str] = {b"": "-", "": "-"}
    look_up = shown.get
    stamp_second = -1
    stamp = ""

    def show(value: bytes | str) -> str:
        """What is printed for ``value``; remembered when it is short."""
        text = escape(value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape"))
        if len(value) <= _MAX_SHOWN_BYTES:
            if len(shown) >= _MAX_SHOWN:
                shown.clear()
                shown[b""] = shown[""] = "-"
            shown[value] = text
        return text

    def format_line(info: StreamInfo) -> str:
        nonlocal stamp_second, stamp
        wall = info.started_wall
        second = int(wall)
        if second != stamp_second:
            stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
            stamp_second = second
        request = info.request
        if request is None:
            agent = authority = "-"
        else:
            value = request.fields.get(b"user-agent") or b""
            agent = look_up(value) or show(value)
            value = request.authority
            authority = look_up(value) or show(value)
        method = info.method
        path = info.path
        forwarded = info.x_forwarded_for
        failure = info.transport_failure
        details = info.details
        server_name = info.connection.requested_server_name
        connection = info.connection
        route = info.route
        name = route.name if route is not None else ""
        started = info.started_at
        responded = info.responded_at
        cluster = info.upstream_cluster
        return (
            f"[{stamp}.{int((wall - second) * 1000):03d}Z] "
            f'"{look_up(method) or show(method)} {look_up(path) or show(path)} '
            f'{info.protocol.decode("latin-1") or "-"}" '
            f"{info.status} {info.flags or '-'} {look_up(details) or show(details)} "
            f'{info.termination_details or "-"} "{look_up(failure) or show(failure)}" '
            f"{info.bytes_received} {info.bytes_sent} {int((info.finished_at - started) * 1000)} "
            f"{int((responded - started) * 1000) if responded else '-'} "
            f'"{look_up(forwarded) or show(forwarded)}" "{agent}" '
            f'"{escape(info.request_id) or "-"}" "{authority}" '
            f'"{info.upstream_host or "-"}" {look_up(cluster) or show(cluster)} '
            f"{info.upstream_local_address or '-'} "
            f"{connection.local_address} {connection.remote_address} "
            f"{look_up(server_name) or show(server_name)} {look_up(name) or show(name)}\n"
        )

    return format_line
