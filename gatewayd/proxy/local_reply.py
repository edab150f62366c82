"""The only author of our own responses (semantics 14.7.5, 16).

Each function returns (status, fields, body); framing and ``connection`` are the codec's business.
"""

from __future__ import annotations

from gatewayd.errors import Failure, body_after_retry
from gatewayd.http.message import Pair, RequestHead
from gatewayd.policies.redirect import location
from gatewayd.routing.route import Route

Reply = tuple[int, list[Pair], bytes]

_TEXT: Pair = (b"content-type", b"text/plain")
#: Statuses for which a location is added by itself (semantics 6.5.3).
_WITH_LOCATION = frozenset({201, 300, 301, 302, 303, 304, 305, 307, 308})


def failure_reply(failure: Failure, *, retried: bool, head_only: bool) -> Reply:
    """The answer to a request that failed in the way ``failure`` says."""
    body = body_after_retry(failure) if retried else failure.body
    fields: list[Pair] = []
    if body:
        fields += [(b"content-length", b"%d" % len(body)), _TEXT]
    if failure.flag == "UO":
        fields.append((b"x-envoy-overloaded", b"true"))
    return failure.status, fields, b"" if head_only else body


def redirect_reply(route: Route, request: RequestHead) -> Reply:
    """A rule's ``redirect``, or httpsRedirect (semantics 6.4, 2.6)."""
    action = route.redirect
    assert action is not None
    return action.status, [(b"location", location(action, request, route.path_matched))], b""


def direct_reply(route: Route, request: RequestHead, *, head_only: bool) -> Reply:
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
    return action.status, fields, b"" if head_only else body
