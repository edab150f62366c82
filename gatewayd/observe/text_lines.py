"""HOT: Istio's default lines of the access log (semantics 17.2), written out by hand.

A line is joined from few pieces, because each costs some two hundred instructions. What lines have in common is kept
as one piece with what they have it from: with a request's head (the clients of a service send the same few again and
again), with the connections on either side. A piece is good for a line while the facts it was made of are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from time import gmtime, strftime
from typing import Any, Final

from gatewayd.http.message import RequestHead
from gatewayd.observe.escaping import SAFE, escaped, one_column
from gatewayd.observe.operators import remote_address
from gatewayd.observe.stream_info import ConnectionInfo, StreamInfo

#: Values shown lately, as they are printed.
_MAX_SHOWN: Final = 4096
_MAX_SHOWN_BYTES: Final = 256

#: Numbers as columns, those of both durations, and the end of the time stamp.
_READY: Final = 4096
_NUMBERS: Final = tuple(b"%d " % number for number in range(_READY))
_TWICE: Final = tuple(b"%d %d " % (number, number) for number in range(_READY))
_MILLISECONDS: Final = tuple(b'.%03dZ] "' % number for number in range(1000))
#: From the status to the bytes received, when there is nothing else to say, by status.
_ORDINARY: Final = tuple(b'" %d - via_upstream - "-" 0 ' % status for status in range(1000))

#: Of a connection whose columns have not been made yet: fits no exchange.
_NO_END: Final[tuple[Any, Any, bytes, bytes]] = (..., ..., b"", b"")

#: The request line, and the agent with the quote behind it.
_Own = tuple[bytes, bytes]
#: What is kept with a head: what is its own, the authority, and two pieces behind the facts that they were made of. By
#: status and size, from the request line to the bytes sent; by x-forwarded-for, that and the agent.
_Head = tuple[_Own | None, bytes, int, int, bytes, bytes, bytes]
#: Of one that came once: fits no exchange.
_SEEN: Final[_Head] = (None, b"", -1, -1, b"", b"", b"")


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
        #: local address of a connection to an upstream -> that one's address, the cluster, the columns of all three
        self._upstreams: dict[str, tuple[str, str, bytes]] = {}
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
        whole = floor
        twice = _TWICE
        upstreams = self._upstreams
        all_ids = b"".join([info.request_id for info in infos])
        ids_safe = all_ids.translate(SAFE) is all_ids
        second, stamp = self._second, self._stamp
        millisecond, begin = -1, b""
        for info in infos:
            now = whole((info.started_wall - second) * 1000.0)
            if now != millisecond:
                if not 0 <= now < 1000:
                    second = self._second = float(int(info.started_wall))
                    stamp = self._stamp = strftime("[%Y-%m-%dT%H:%M:%S", gmtime(second)).encode()
                    now = whole((info.started_wall - second) * 1000.0)
                millisecond = now
                begin = stamp + _MILLISECONDS[now]
            # ``told``: from the request line to the bytes sent.
            request = info.request
            if request is None:
                told, forwarded, authority = self._unread(info)
            else:
                shown = request.shown
                if shown is None:  # one that never comes again is not worth keeping anything
                    request.shown = _SEEN
                    own, authority, told, forwarded = self._pieces(info, request, None, b"")
                else:
                    own, authority, status, size, told, client, forwarded = shown
                    if info.bytes_sent != size or info.status != status or info.x_forwarded_for != client:
                        own, authority, told, forwarded = self._pieces(info, request, own, authority)
                        request.shown = (
                            own, authority, info.status, info.bytes_sent, told, info.x_forwarded_for, forwarded,
                        )  # fmt: skip
                if (
                    info.details != "via_upstream"
                    or info.flags
                    or info.bytes_received
                    or info.path is not request.target
                    or info.transport_failure
                    or info.termination_details
                ):
                    told = (own[0] if info.path is request.target else _first_line(info)) + _outcome(info)
            finished = info.finished_at
            if info.responded_at is finished:
                try:
                    times = twice[whole((finished - info.started_at) * 1000.0)]
                except IndexError:
                    times = _times(info)
            else:
                times = _times(info)
            request_id = info.request_id
            if not request_id or not ids_safe:
                request_id = escaped(request_id) or b"-"
            try:
                host, cluster, upstream = upstreams[info.upstream_local_address]
            except KeyError:
                upstream = self._show_upstream(info)
            else:
                if info.upstream_host is not host or info.upstream_cluster is not cluster:
                    upstream = self._show_upstream(info)
            known = info.connection.shown
            route, address, end, _ = _NO_END if known is None else known
            if info.route is not route or info.trusted_address is not address:
                end = self._end(info)
            out += (begin, told, times, forwarded, request_id, authority, upstream, end)
        return b"".join(out)

    def _pieces(
        self, info: StreamInfo, request: RequestHead, own: _Own | None, authority: bytes
    ) -> tuple[_Own, bytes, bytes, bytes]:
        """The pieces of an ordinary exchange that depend on its head; ``own`` and ``authority``: if they are known."""
        quoted = self._quoted
        if own is None:
            path = request.target
            line = b" ".join((info.method, path, info.protocol))
            if not (path and info.method and info.protocol) or line.translate(SAFE) is not line:
                line = _first_line(info, path)
            agent = request.user_agent or request.fields.get(b"user-agent") or b""
            own = line, (quoted.get(agent) or quoted.add(agent)) + b'"'
            authority = b'" ' + (quoted.get(request.authority) or quoted.add(request.authority))
        client = info.x_forwarded_for
        told = b"".join((own[0], _ORDINARY[info.status], _number(info.bytes_sent)))
        return own, authority, told, (quoted.get(client) or quoted.add(client)) + own[1]

    def _unread(self, info: StreamInfo) -> tuple[bytes, bytes, bytes]:
        """The pieces of what could not be read, or was no request."""
        client = info.x_forwarded_for
        forwarded = self._quoted.get(client) or self._quoted.add(client)
        return _first_line(info) + _outcome(info), forwarded + b'"-" "', b'" "-" '

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

    def _show_upstream(self, info: StreamInfo) -> bytes:
        host, cluster, local = info.upstream_host, info.upstream_cluster, info.upstream_local_address
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
            known[local] = host, cluster, text
        return text


def _first_line(info: StreamInfo, path: bytes | None = None) -> bytes:
    """Method, path and protocol."""
    values = (info.method, info.path if path is None else path, info.protocol)
    return b" ".join([escaped(value) or b"-" for value in values])


def _outcome(info: StreamInfo) -> bytes:
    """From the status to the bytes sent, with the end of the quotes before it."""
    values = (one_column(info.details), info.termination_details, info.transport_failure)
    details, ended, failure = [escaped(value.encode()) or b"-" for value in values]
    flags = info.flags.encode() or b"-"
    facts = (info.status, flags, details, ended, failure, info.bytes_received, info.bytes_sent)
    return b'" %d %b %b %b "%b" %d %d ' % facts


def _number(number: int) -> bytes:
    """As a column; to format one costs more than to look it up."""
    return _NUMBERS[number] if number < _READY else b"%d " % number


def _times(info: StreamInfo) -> bytes:
    """How long it took, and until the upstream's answer began, in milliseconds."""
    took = _number(floor((info.finished_at - info.started_at) * 1000.0))
    if not info.responded_at:
        return took + b"- "
    return took + _number(floor((info.responded_at - info.started_at) * 1000.0))


def _sides(connection: ConnectionInfo, remote: str) -> bytes:
    """Local address, remote address and server name."""
    values = (connection.local_address, remote, connection.requested_server_name)
    return b"%b %b %b " % tuple([escaped(value.encode()) or b"-" for value in values])
