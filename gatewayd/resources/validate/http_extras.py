"""Header operations, CORS and fault injection."""

import re

from gatewayd.grpc_status import GRPC_STATUSES
from gatewayd.resources.validate.durations import check_duration, check_percentage
from gatewayd.resources.validate.http_match import check_string_match
from gatewayd.resources.validate.names import is_header_name
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.virtual_service import (
    CorsPolicy,
    FaultAbort,
    FaultDelay,
    HeaderOperations,
    Headers,
    HTTPFault,
)

#: A doubled percent sign is itself, a single one begins a variable: `%REQ(x-id)%` (semantics 6.2.3).
_FORMAT = re.compile(r"(?:[^%]|%%|%[A-Z][A-Z0-9_]*(?:\([^()]*\))?(?::[0-9]+)?%)*")
_AUTHORITY = frozenset({"host", ":authority"})
_METHODS: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def check_headers(headers: Headers, path: Path, out: Notes) -> None:
    """Check header operations; only a request's `set` and `add` may touch the authority (semantics 6.2.6)."""
    if headers.request is not None:
        _check_operations(headers.request, (*path, "request"), out, authority=True)
    if headers.response is not None:
        _check_operations(headers.response, (*path, "response"), out, authority=False)


def sets_authority(headers: Headers | None) -> bool:
    """Return whether the request's `set` or `add` touches the authority."""
    request = headers.request if headers is not None else None
    return request is not None and any(
        name.lower() in _AUTHORITY for names in (request.set, request.add) for name in names
    )


def _check_operations(operations: HeaderOperations, path: Path, out: Notes, *, authority: bool) -> None:
    for operation, values in (("set", operations.set), ("add", operations.add)):
        for name, value in values.items():
            here = (*path, operation, name)
            _check_name(name, here, out, authority=authority)
            if _FORMAT.fullmatch(value) is None:
                out.error(
                    here, f'"{value[:80]}": a single % begins a variable such as %REQ(x-id)%', "write %%"
                )
            elif "\r" in value or "\n" in value or "\0" in value:
                out.error(here, "a header value may not contain line ends or NUL")
    for index, name in enumerate(operations.remove):
        _check_name(name, (*path, "remove", index), out, authority=False)


def _check_name(name: str, path: Path, out: Notes, *, authority: bool) -> None:
    if not name:
        out.error(path, "a header name may not be empty")
    elif name.startswith(":") or name.lower() == "host":
        if not authority or name.lower() not in _AUTHORITY:
            out.error(path, f'header "{name[:80]}" cannot be changed here')
    elif not is_header_name(name):
        out.error(path, f'"{name[:80]}" is not a header name')


def check_cors(cors: CorsPolicy, path: Path, out: Notes) -> None:
    """Check a CORS policy (semantics 19.6)."""
    for index, origin in enumerate(cors.allow_origins):
        check_string_match(origin, (*path, "allowOrigins", index), out)
    for index, method in enumerate(cors.allow_methods):
        if method != "*" and method not in _METHODS:
            out.unknown((*path, "allowMethods", index), "method", method, (*_METHODS, "*"))
    for name, headers in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, header in enumerate(headers):
            if header != "*" and not is_header_name(header):
                out.error((*path, name, index), f'"{header[:80]}" is not a header name')
    if cors.max_age is not None:
        check_duration(cors.max_age, (*path, "maxAge"), out)
        if cors.max_age % 1:
            out.error((*path, "maxAge"), "maxAge must be whole seconds")


def check_fault(fault: HTTPFault, path: Path, out: Notes) -> None:
    """Check a fault (semantics 6.8)."""
    if fault.delay is None and fault.abort is None:
        out.error(path, "a fault needs a delay or an abort")
    if fault.delay is not None:
        _check_delay(fault.delay, (*path, "delay"), out)
    if fault.abort is not None:
        _check_abort(fault.abort, (*path, "abort"), out)


def _check_delay(delay: FaultDelay, path: Path, out: Notes) -> None:
    check_percentage(delay.percentage, (*path, "percentage"), out)
    if not 0 <= delay.percent <= 100:
        out.error((*path, "percent"), f"a percentage must be from 0 to 100, not {delay.percent}")
    if delay.fixed_delay is not None and delay.exponential_delay is not None:
        out.error((*path, "exponentialDelay"), "fixedDelay and exponentialDelay exclude each other")
    if delay.fixed_delay is None and delay.exponential_delay is None:
        out.error(path, "a delay needs a fixedDelay")
    check_duration(delay.fixed_delay, (*path, "fixedDelay"), out)
    check_duration(delay.exponential_delay, (*path, "exponentialDelay"), out)


def _check_abort(abort: FaultAbort, path: Path, out: Notes) -> None:
    check_percentage(abort.percentage, (*path, "percentage"), out)
    kinds = {
        "httpStatus": abort.http_status,
        "grpcStatus": abort.grpc_status,
        "http2Error": abort.http2_error,
    }
    given = [name for name, value in kinds.items() if value is not None]
    if len(given) > 1:
        out.error(
            path, f"only one of httpStatus, grpcStatus and http2Error may be set, not {' and '.join(given)}"
        )
    elif not given:
        out.error(path, "an abort needs an httpStatus or a grpcStatus")
    if abort.http_status is not None and not 200 <= abort.http_status <= 600:
        out.error((*path, "httpStatus"), f"httpStatus must be from 200 to 599, not {abort.http_status}")
    if abort.http2_error is not None:
        out.error((*path, "http2Error"), "http2Error is not supported")
    status = abort.grpc_status
    if (
        status is not None
        and status not in GRPC_STATUSES
        and not (status.isascii() and status.isdigit() and int(status[:3]) <= 16)
    ):
        out.unknown((*path, "grpcStatus"), "gRPC status", status, GRPC_STATUSES)
