"""What a finished exchange says as a gRPC call: its status, in the access log and in metrics (semantics 17, 18.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatewayd.grpc_status import GRPC_STATUSES, is_grpc, number_of, of_http_status
from gatewayd.observe.stream_info import StreamInfo

#: By number, as Envoy's log writes them.
_CAMEL: Final = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip


def asks_grpc(info: StreamInfo) -> bool:
    """Whether the request was a gRPC one."""
    request = info.request
    return request is not None and is_grpc(request.fields.get(b"content-type"))


def grpc_status_of(info: StreamInfo) -> int | None:
    """The status of a gRPC call: of the trailers, else of the head, else what the HTTP status comes to.

    None: there was no answer; -1: it is no number.
    """
    value = getattr(info, "grpc_status", b"")
    trailers = getattr(info, "response_trailers", None)
    for name, said in trailers.pairs if trailers is not None else ():
        if name == b"grpc-status" and said:
            value = said
            break
    if value:
        return number_of(value)
    return of_http_status(info.status) if info.status else None


def _camel(status: int) -> str:
    return _CAMEL[status] if 0 <= status < len(_CAMEL) else str(status)


def _snake(status: int) -> str:
    return GRPC_STATUSES[status] if 0 <= status < len(GRPC_STATUSES) else str(status)


_FORMS: Final[dict[str, Callable[[int], str]]] = {
    "": _camel,
    "CAMEL_STRING": _camel,
    "SNAKE_STRING": _snake,
    "NUMBER": str,
}


def grpc_status(argument: str) -> Callable[[StreamInfo], bytes | None]:
    """A row for ``GRPC_STATUS``."""
    form = _FORMS.get(argument)
    if form is None:
        raise ValueError("takes CAMEL_STRING, SNAKE_STRING or NUMBER")

    def read(info: StreamInfo) -> bytes | None:
        status = grpc_status_of(info) if asks_grpc(info) else None
        return None if status is None else form(status).encode()

    return read


def grpc_status_number(argument: str) -> Callable[[StreamInfo], bytes | None]:
    """A row for ``GRPC_STATUS_NUMBER``."""
    if argument:
        raise ValueError("takes no argument")
    return grpc_status("NUMBER")


def trailer(name: str) -> Callable[[StreamInfo], bytes | None]:
    """A reader of one field behind a response's body."""
    wanted = name.encode()

    def read(info: StreamInfo) -> bytes | None:
        trailers = getattr(info, "response_trailers", None)
        pairs = trailers.pairs if trailers is not None else ()
        return next((value for known, value in pairs if known == wanted), None)

    return read
