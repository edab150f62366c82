"""HOT: the lines of the access log, one for each exchange: Istio's default text form, and JSON (semantics 17).

``FORMATS`` maps the word of ``--access-log-format`` to what makes the formatter of a batch. The text formatter
is the format string of semantics 17.2 written out by hand, because a compiled one costs some four times as
much; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import gmtime, strftime
from typing import Any, Final

import msgspec

from gatewayd.observe.escaping import SAFE, escape, escaped
from gatewayd.observe.formatter import split_format
from gatewayd.observe.operators import remote_address
from gatewayd.observe.stream_info import ConnectionInfo, StreamInfo
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

#: Values shown lately, as they are printed. Clients send the same few again and again.
_MAX_SHOWN: Final = 4096
_MAX_SHOWN_BYTES: Final = 256

#: Numbers as columns, and the end of the time stamp.
_READY: Final = 4096
_NUMBERS: Final = tuple(b"%d " % number for number in range(_READY))
_MILLISECONDS: Final = tuple(b'.%03dZ] "' % number for number in range(1000))
#: From the status to the bytes received, when there is nothing else to say, by status.
_ORDINARY: Final = tuple(b'" %d - via_upstream - "-" 0 ' % status for status in range(1000))

#: Of a connection whose columns have not been made yet: fits no exchange.
_NOT_SHOWN: Final[tuple[Any, Any, bytes, bytes]] = (..., None, b"", b"")


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


class _Shown:
    """Values as they are printed, remembered when they are short: ``get``, and ``add`` for those it has not."""

    __slots__ = ("_form", "_known", "get")

    def __init__(self, form: bytes) -> None:
        self._form = form
        self._known: dict[bytes | str, bytes] = {}
        self.get = self._known.get

    def __len__(self) -> int:
        return len(self._known)

    def add(self, value: bytes | str) -> bytes:
        """What is printed for ``value``."""
        text = self._form % (escaped(value if isinstance(value, bytes) else value.encode()) or b"-")
        if len(value) <= _MAX_SHOWN_BYTES:
            if len(self._known) >= _MAX_SHOWN:
                self._known.clear()
            self._known[value] = text
        return text


class TextLines:
    """Makes the default text lines of a batch; each ends with a line end."""

    __slots__ = ("_columns", "_ends", "_quoted", "_second", "_stamp", "_upstreams")

    def __init__(self) -> None:
        self._columns = _Shown(b"%b ")
        self._quoted = _Shown(b'"%b" ')
        self._ends = _Shown(b"%b\n")
        #: upstream address, cluster and local address -> their columns
        self._upstreams: dict[tuple[str, str, str], bytes] = {}
        #: the whole second that ``_stamp`` prints
        self._second = -1.0
        self._stamp = b""

    @property
    def remembered(self) -> tuple[int, ...]:
        """How many values are remembered, of each kind."""
        return len(self._columns), len(self._quoted), len(self._ends), len(self._upstreams)

    def __call__(self, infos: Sequence[StreamInfo]) -> bytes:
        """The lines of ``infos``."""
        out: list[bytes] = []
        quoted = self._quoted
        quoted_of = quoted.get
        upstream_of = self._upstreams.get
        numbers = _NUMBERS
        safe = SAFE
        all_ids = b"".join([info.request_id for info in infos])
        ids_safe = all_ids.translate(safe) is all_ids
        stamp_second = self._second
        stamp = self._stamp
        for info in infos:
            since = info.started_wall - stamp_second
            if not 0.0 <= since < 1.0:
                stamp_second = self._second = float(int(info.started_wall))
                stamp = self._stamp = strftime("[%Y-%m-%dT%H:%M:%S", gmtime(stamp_second)).encode()
                since = info.started_wall - stamp_second
            request = info.request
            if request is None:
                line, agent, authority = _first_line(info), b'"-" "', b'" "-" '
            else:
                shown = request.shown
                if shown is None:
                    path = request.target
                    line = b" ".join((info.method, path, info.protocol))
                    if not (path and info.method and info.protocol) or line.translate(safe) is not line:
                        line = _first_line(info, path)
                    agent = request.user_agent or request.fields.get(b"user-agent") or b""
                    agent = (quoted_of(agent) or quoted.add(agent)) + b'"'
                    authority = b'" ' + (quoted_of(request.authority) or quoted.add(request.authority))
                    request.shown = line, agent, authority  # heads repeat
                else:
                    line, agent, authority = shown
                if info.path is not request.target:
                    line = _first_line(info)
            if (
                info.details == "via_upstream"
                and not info.flags
                and not info.transport_failure
                and not info.termination_details
            ):
                outcome = _ORDINARY[info.status]
                received = info.bytes_received
                if received:
                    outcome = outcome[:-2] + (numbers[received] if received < _READY else b"%d " % received)
            else:
                outcome = _outcome(info)
            sent = info.bytes_sent
            started = info.started_at
            finished = info.finished_at
            responded = info.responded_at
            # Ready-made texts: to format a number costs more than to look it up.
            try:
                took = numbers[int((finished - started) * 1000)]
            except IndexError:
                took = b"%d " % int((finished - started) * 1000)
            if responded is finished:
                service = took
            elif responded:
                try:
                    service = numbers[int((responded - started) * 1000)]
                except IndexError:
                    service = b"%d " % int((responded - started) * 1000)
            else:
                service = b"- "
            forwarded = info.x_forwarded_for
            request_id = info.request_id
            if not request_id or not ids_safe:
                request_id = escaped(request_id) or b"-"
            upstream = info.upstream_host, info.upstream_cluster, info.upstream_local_address
            end_route, address, end, _ = info.connection.shown or _NOT_SHOWN
            if info.route is not end_route or info.trusted_address != address:
                end = self._end(info)
            out += (
                stamp,
                _MILLISECONDS[int(since * 1000)],
                line,
                outcome,
                numbers[sent] if sent < _READY else b"%d " % sent,
                took,
                service,
                quoted_of(forwarded) or quoted.add(forwarded),
                agent,
                request_id,
                authority,
                upstream_of(upstream) or self._show_upstream(upstream),
                end,
            )
        return b"".join(out)

    def _end(self, info: StreamInfo) -> bytes:
        """From the local address to the route's name. That of an ordinary request is kept with its connection."""
        connection, route = info.connection, info.route
        name = "" if route is None else route.name
        end = self._ends.get(name) or self._ends.add(name)
        known = connection.shown
        if known is not None and known[1] == info.trusted_address:
            sides = known[3]
        else:
            sides = _sides(connection, remote_address(info))
        connection.shown = route, info.trusted_address, sides + end, sides
        return sides + end

    def _show_upstream(self, upstream: tuple[str, str, str]) -> bytes:
        host, cluster, local = upstream
        columns = self._columns
        text = b'"%b" %b%b' % (
            escaped(host.encode()) or b"-",
            columns.get(cluster) or columns.add(cluster),
            columns.get(local) or columns.add(local),
        )
        known = self._upstreams
        if len(known) >= _MAX_SHOWN:
            known.clear()
        if len(text) <= 2 * _MAX_SHOWN_BYTES:
            known[upstream] = text
        return text


def _first_line(info: StreamInfo, path: bytes | None = None) -> bytes:
    """Method, path and protocol."""
    values = (info.method, info.path if path is None else path, info.protocol)
    return b" ".join([escaped(value) or b"-" for value in values])


def _outcome(info: StreamInfo) -> bytes:
    """From the status to the bytes received, with the end of the quotes before it."""
    values = (one_column(info.details), info.termination_details, info.transport_failure)
    details, ended, failure = [escaped(value.encode()) or b"-" for value in values]
    flags = info.flags.encode() or b"-"
    return b'" %d %b %b %b "%b" %d ' % (info.status, flags, details, ended, failure, info.bytes_received)


def _sides(connection: ConnectionInfo, remote: str) -> bytes:
    """Local address, remote address and server name."""
    values = (connection.local_address, remote, connection.requested_server_name)
    return b"%b %b %b " % tuple([escaped(value.encode()) or b"-" for value in values])


def text_formatter() -> Formatter:
    """Make the formatter of one default text line."""
    lines = TextLines()
    return lambda info: lines((info,)).decode("ascii")


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
