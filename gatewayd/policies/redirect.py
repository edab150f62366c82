"""HOT: the ``location`` of ``redirect`` and of ``httpsRedirect`` (semantics 6.4, 2.6.1)."""
# ruff: noqa: D102  the properties name fields described in routing/route.py

from __future__ import annotations

from typing import Protocol

from gatewayd.http.message import RequestHead

_DEFAULT_PORTS = {b"http": 80, b"https": 443}


class Redirect(Protocol):
    """The fields of ``RedirectAction`` (routing stands above policies, so it is named by its shape)."""

    @property
    def scheme(self) -> bytes | None: ...
    @property
    def authority(self) -> bytes | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def uri(self) -> bytes | None: ...
    @property
    def prefix_rewrite(self) -> bytes | None: ...
    @property
    def host_verbatim(self) -> bool: ...


class Matched(Protocol):
    """The fields of ``PathMatched`` that are needed: what the uri condition was, and its length in bytes."""

    @property
    def kind(self) -> str: ...
    @property
    def length(self) -> int: ...


def location(action: Redirect, request: RequestHead, matched: Matched) -> bytes:
    """The value of ``location``: scheme://host[:port]path[?query] (semantics 6.4.2)."""
    scheme = action.scheme or request.scheme
    port = action.port
    if port is not None and port == _DEFAULT_PORTS.get(scheme):
        port = None  # as if none were given: the Host then keeps its own (6.4.3, 6.4.4)
    if action.authority:
        host = action.authority
    elif action.host_verbatim:
        host = request.authority
    else:
        host = _request_host(request, scheme, port)
    if port is not None:
        host = b"%b:%d" % (host, port)
    return b"%b://%b%b" % (scheme, host, _path(action, request, matched))


def _request_host(request: RequestHead, scheme: bytes, port: int | None) -> bytes:
    """The request's Host, without its port where that would be wrong after the redirect (6.4.4)."""
    authority = request.authority
    colon = authority.rfind(b":")
    if colon < 0 or authority.find(b"]", colon) >= 0:
        return authority
    if port is not None:
        return authority[:colon]
    old = request.scheme
    if scheme != old and authority[colon + 1 :] == b"%d" % _DEFAULT_PORTS.get(old, 0):
        return authority[:colon]
    return authority


def _path(action: Redirect, request: RequestHead, matched: Matched) -> bytes:
    """The new path and query (6.4.5)."""
    if action.uri:
        uri = action.uri if action.uri.startswith(b"/") else b"/" + action.uri
        if request.query is None or b"?" in uri:
            return uri
        return b"%b?%b" % (uri, request.query)
    new = action.prefix_rewrite
    if not new:
        return request.target
    if not new.startswith(b"/"):
        new = b"/" + new
    # Of an expression the whole path is what matched.
    length = len(request.path) if matched.kind == "regex" else matched.length
    return new + request.target[length:]
