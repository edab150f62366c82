"""OPERATORS: what each variable of a format string reads, e.g. ``%REQ(x-user?:authority)%``.

A row is a function from the argument in parentheses ("" when there is none) to a reader. A reader takes
a :class:`StreamInfo` with all slots set and gives bytes, or None when there is nothing to say (a header
value then is empty, a log prints ``-``). Rows raise ValueError, in words for the user, for a bad argument.
Semantics 6.2.3 and 17; names as in Envoy's substitution formatter.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from gatewayd.http.message import Pair
from gatewayd.observe.grpc import grpc_status, grpc_status_number, trailer
from gatewayd.observe.operators_more import MORE_OPERATORS
from gatewayd.observe.stream_info import StreamInfo

Reader = Callable[[StreamInfo], bytes | None]

#: Digits of ``%f`` in START_TIME: nanoseconds, of which the clock gives microseconds.
_FRACTION_DIGITS: Final = 9


def _plain(read: Reader) -> Callable[[str], Reader]:
    """A row for a variable that takes no argument."""

    def build(argument: str) -> Reader:
        if argument:
            raise ValueError("takes no argument")
        return read

    return build


def _text(read: Callable[[StreamInfo], str]) -> Callable[[str], Reader]:
    def as_bytes(info: StreamInfo) -> bytes | None:
        return read(info).encode() or None

    return _plain(as_bytes)


def _number(read: Callable[[StreamInfo], int]) -> Callable[[str], Reader]:
    return _plain(lambda info: b"%d" % read(info))


def _first(pairs: Sequence[Pair], name: bytes) -> bytes | None:
    """The first line of a field; of several lines Envoy was seen to show the first alone."""
    for key, value in pairs:
        if key == name:
            return value
    return None


_CONTROL_DATA: Final[dict[str, Callable[[StreamInfo], bytes | None]]] = {
    ":method": lambda info: info.method or None,
    ":path": lambda info: info.path or None,
    ":scheme": lambda info: info.request.scheme if info.request is not None else None,
    ":authority": lambda info: info.request.authority if info.request is not None else None,
}
_CONTROL_DATA["host"] = _CONTROL_DATA[":authority"]


def _remote_ip(info: StreamInfo) -> str:
    """The trusted client address (semantics 14.1.1)."""
    return info.trusted_address.decode("latin-1") or info.connection.remote_ip


#: Fields the proxy itself writes, for when the list of fields sent was not kept. None: as received.
_WRITTEN: Final[dict[str, Reader]] = {
    "x-envoy-attempt-count": lambda info: b"%d" % info.attempts if info.attempts else None,
    "x-envoy-external-address": lambda info: _remote_ip(info).encode() or None,
    "x-forwarded-for": lambda info: info.x_forwarded_for or None,
    "x-forwarded-proto": lambda info: info.request.scheme if info.request is not None else None,
    "x-request-id": lambda info: info.request_id or None,
}


def _request_field(name: str) -> Reader:
    control = _CONTROL_DATA.get(name)
    if control is not None:
        return control
    wanted = name.encode()
    written = _WRITTEN.get(name)

    def read(info: StreamInfo) -> bytes | None:
        # Before the request is built nothing has been kept there.
        sent: Sequence[Pair] | None = getattr(info, "request_pairs", None)
        if sent is not None:
            return _first(sent, wanted)
        value = written(info) if written is not None else None
        if value is None and info.request is not None:
            value = _first(info.request.fields.pairs, wanted)
        return value

    return read


def _response_field(name: str) -> Reader:
    if name == ":status":
        return lambda info: b"%d" % info.status if info.status else None
    wanted = name.encode()

    def read(info: StreamInfo) -> bytes | None:
        return _first(info.response_pairs, wanted) if info.response_pairs is not None else None

    if name != "x-envoy-upstream-service-time":
        return read

    def service_time(info: StreamInfo) -> bytes | None:
        found = read(info)
        # The proxy writes it where it relays, and there nothing is kept.
        return _response_duration(info) if found is None else found

    return service_time


def _field(one: Callable[[str], Reader]) -> Callable[[str], Reader]:
    """A row for ``NAME(x)`` and ``NAME(x?y)``, y being read when x is absent."""

    def build(argument: str) -> Reader:
        names = argument.lower().split("?")
        if not all(names) or len(names) > 2:
            raise ValueError("needs a header name, or two separated by one '?'")
        first = one(names[0])
        if len(names) == 1:
            return first
        second = one(names[1])

        def read(info: StreamInfo) -> bytes | None:
            value = first(info)
            return second(info) if value is None else value

        return read

    return build


def _start_time(argument: str) -> Reader:
    """``START_TIME`` in UTC, by default as in 2026-01-02T03:04:05.678Z, or as the argument says."""
    layout = argument or "%Y-%m-%dT%H:%M:%S.%3fZ"
    pieces = _time_pieces(layout)

    def read(info: StreamInfo) -> bytes:
        at = info.started_wall
        moment = time.gmtime(at)
        fraction = f"{int(at % 1 * 1_000_000):06d}000"
        text = ""
        for piece in pieces:
            if isinstance(piece, int):
                text += fraction[:piece]
            elif piece == "%s":
                text += str(int(at))
            elif piece == "%z":
                text += "+0000"
            else:
                text += time.strftime(piece, moment)
        return text.encode()

    return read


def _time_pieces(layout: str) -> tuple[str | int, ...]:
    """``layout`` cut at what strftime cannot do: ``%s``, ``%z`` of UTC and ``%f`` (its width as a number)."""
    pieces: list[str | int] = [""]
    characters = iter(layout)
    for character in characters:
        if character != "%":
            special: str | int = ""
            literal = character
        else:
            code = next(characters, "")
            width = _FRACTION_DIGITS
            if code.isdigit() and code != "0":
                width = int(code)
                code = next(characters, "")
                if code != "f":
                    raise ValueError("a number in a time layout must be followed by f, as in %3f")
            literal = ""
            special = width if code == "f" else "%" + code
            if not code or (code != "f" and code not in "aAbBcCdDeFgGhHIjmMnprRsStTuUVwWxXyYzZ%"):
                raise ValueError(f"unknown time specifier %{code}")
            if special not in ("%s", "%z") and isinstance(special, str):
                literal, special = special, ""
        if special == "":
            last = pieces[-1]
            if isinstance(last, str) and last not in ("%s", "%z"):
                pieces[-1] = last + literal
            else:
                pieces.append(literal)
        else:
            pieces.append(special)
    return tuple(p for p in pieces if p != "")


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % int(seconds * 1000)


def _duration(info: StreamInfo) -> bytes:
    """Milliseconds since the request began, until it was finished or until now."""
    finished: float = getattr(info, "finished_at", 0.0)  # written last
    return _milliseconds((finished or time.monotonic()) - info.started_at)


def _response_duration(info: StreamInfo) -> bytes | None:
    return _milliseconds(info.responded_at - info.started_at) if info.responded_at else None


def _host_of(address: str) -> str:
    """``1.2.3.4`` of ``1.2.3.4:80``, ``::1`` of ``[::1]:80``."""
    return address.rpartition(":")[0].strip("[]")


def _port_of(address: str) -> str:
    return address.rpartition(":")[2] if ":" in address else ""


def remote_address(info: StreamInfo) -> str:
    """The trusted client address with its port; an address from x-forwarded-for has port 0, as in Envoy."""
    trusted = info.trusted_address.decode("latin-1")
    if not trusted or trusted == info.connection.remote_ip:
        return info.connection.remote_address
    return f"[{trusted}]:0" if ":" in trusted else f"{trusted}:0"


def _connected_to(info: StreamInfo) -> str:
    """The endpoint, once there is a connection to it."""
    return info.upstream_host if info.upstream_local_address else ""


def _details(info: StreamInfo) -> str:
    return "_".join(info.details.split())


def _route_name(info: StreamInfo) -> str:
    return info.route.name if info.route is not None else ""


_HOSTNAME: Final = socket.gethostname()

#: Name -> argument -> reader. The one list of what ``%NAME%`` may be.
OPERATORS: Final[dict[str, Callable[[str], Reader]]] = {
    **MORE_OPERATORS,
    "BYTES_RECEIVED": _number(lambda info: info.bytes_received),
    "BYTES_SENT": _number(lambda info: info.bytes_sent),
    "CONNECTION_TERMINATION_DETAILS": _text(lambda info: info.termination_details),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": _text(lambda info: info.connection.remote_address),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": _text(lambda info: info.connection.remote_ip),
    "DOWNSTREAM_DIRECT_REMOTE_PORT": _text(lambda info: _port_of(info.connection.remote_address)),
    "DOWNSTREAM_LOCAL_ADDRESS": _text(lambda info: info.connection.local_address),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _text(lambda info: _host_of(info.connection.local_address)),
    "DOWNSTREAM_LOCAL_PORT": _text(lambda info: _port_of(info.connection.local_address)),
    "DOWNSTREAM_REMOTE_ADDRESS": _text(remote_address),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _text(_remote_ip),
    "DOWNSTREAM_REMOTE_PORT": _text(lambda info: _port_of(remote_address(info))),
    "DURATION": _plain(_duration),
    "GRPC_STATUS": grpc_status,
    "GRPC_STATUS_NUMBER": grpc_status_number,
    "HOSTNAME": _text(lambda info: _HOSTNAME),
    "PROTOCOL": _plain(lambda info: info.protocol or None),
    "REQ": _field(_request_field),
    "REQUESTED_SERVER_NAME": _text(lambda info: info.connection.requested_server_name),
    "RESP": _field(_response_field),
    "RESPONSE_CODE": _number(lambda info: info.status),
    "RESPONSE_CODE_DETAILS": _text(_details),
    "RESPONSE_DURATION": _plain(_response_duration),
    "RESPONSE_FLAGS": _text(lambda info: info.flags or "-"),
    "ROUTE_NAME": _text(_route_name),
    "START_TIME": _start_time,
    "STREAM_ID": _plain(lambda info: info.request_id or None),
    "TRAILER": _field(trailer),
    "UPSTREAM_CLUSTER": _text(lambda info: info.upstream_cluster),
    "UPSTREAM_HOST": _text(lambda info: info.upstream_host),
    "UPSTREAM_REMOTE_ADDRESS": _text(_connected_to),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _text(lambda info: _host_of(_connected_to(info))),
    "UPSTREAM_REMOTE_PORT": _text(lambda info: _port_of(_connected_to(info))),
    "UPSTREAM_LOCAL_ADDRESS": _text(lambda info: info.upstream_local_address),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": _number(lambda info: info.attempts),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": _text(lambda info: info.transport_failure),
}
