"""The only author of our own responses (semantics 14.7.5, 16).

Each function returns (status, fields, body); framing and ``connection`` are the codec's business.
"""

from __future__ import annotations

from gatewayd.errors import Failure, body_after_retry
from gatewayd.grpc_status import encoded_message, of_http_status
from gatewayd.http.message import Pair, RequestHead
from gatewayd.policies.redirect import location
from gatewayd.routing.route import Route

Reply = tuple[int, list[Pair], bytes]

_TEXT: Pair = (b"content-type", b"text/plain")
_GRPC: Pair = (b"content-type", b"application/grpc")
_ABORTED = b"fault filter abort"
#: Statuses for which a location is added by itself (semantics 6.5.3).
_WITH_LOCATION = frozenset({201, 300, 301, 302, 303, 304, 305, 307, 308})


def failure_reply(failure: Failure, *, retried: bool) -> Reply:
    """The answer to a request that failed in the way ``failure`` says."""
    body = body_after_retry(failure) if retried else failure.body
    fields: list[Pair] = []
    if body:
        fields += [(b"content-length", b"%d" % len(body)), _TEXT]
    if failure.flag == "UO":
        fields.append((b"x-envoy-overloaded", b"true"))
    return failure.status, fields, body


def abort_reply(status: int, grpc_status: int | None) -> Reply:
    """The answer of an injected fault (semantics 6.8.3).

    A gRPC status says nothing to an HTTP client: it gets 200 and the text.
    """
    fields: list[Pair] = [(b"content-length", b"%d" % len(_ABORTED)), _TEXT]
    return (200 if grpc_status is not None else status), fields, _ABORTED


def grpc_reply(reply: Reply, status: int | None = None) -> Reply:
    """``reply`` as a gRPC client can read it: 200, and the failure in fields; ``status`` if it is known already."""
    http_status, fields, body = reply
    number = of_http_status(http_status) if status is None else status
    kept = [pair for pair in fields if pair[0] not in (b"content-length", b"content-type")]
    kept += [_GRPC, (b"grpc-status", b"%d" % number)]
    if body:
        kept.append((b"grpc-message", encoded_message(body)))
    return 200, kept, b""


def redirect_reply(route: Route, request: RequestHead) -> Reply:
    """A rule's ``redirect``, or httpsRedirect (semantics 6.4, 2.6)."""
    action = route.redirect
    assert action is not None
    return action.status, [(b"location", location(action, request, route.path_matched))], b""


def direct_reply(route: Route, request: RequestHead) -> Reply:
    """A rule's ``directResponse`` (semantics 6.5)."""
    action = route.direct
    assert action is not None
    fields: list[Pair] = []
    if action.status in _WITH_LOCATION:
        where = b"%b://%b%b" % (request.scheme, request.authority, request.target)
        fields.append((b"location", where))
    body = action.body
    if action.status in (204, 304):
        body = b""  # a body here would be read as the next answer (hardening section 1, property 2)
    if body:
        fields += [(b"content-length", b"%d" % len(body)), _TEXT]
    return action.status, fields, body
