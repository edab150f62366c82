"""What is prepared is what would be built: the same request on a route that is plain, one that has policies but changes
no head, and one whose heads are built field by field."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.http.h1.server import ServerConnection
from gatewayd.http.options import HttpOptions
from gatewayd.proxy.worker import Port, Proxy
from gatewayd.routing.index import Rule
from gatewayd.routing.route import RetryPolicy, Route, RoutePolicies
from gatewayd.routing.table import RouteTable, VirtualHost
from gatewayd.snapshot import FilterChain
from tests.support.fake_transport import FakeTransport
from tests.support.in_process import forward

#: of which one in a hundred is marked as sampled (semantics 14.3.3)
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[49][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class _Upstream:
    """An endpoint with one connection that only notes what it is told to send."""

    def __init__(self) -> None:
        self.name = self.host_port = self.local_address = "x"
        self.active = self.total = 0
        self.takes_lines, self.is_http2 = True, False
        self.budget = self.detector = None
        self.sent = b""
        self.idle = [self]
        self.pick = lambda: self

    def start(self, exchange: Any, message: bytes, *_: Any, **__: Any) -> None:
        self.sent += message

    def send_data(self, data: bytes, end: bool) -> None:
        self.sent += data

    def close(self) -> None:
        pass

    def gone(self, _: object) -> None:
        pass


def sent_upstream(
    data: bytes,
    options: HttpOptions,
    *,
    plain: bool = False,
    prepared: bool = False,
    change: Callable[[Route], None] = lambda _: None,
) -> bytes:
    """What goes upstream for the request ``data``, on a route that ``change`` was applied to."""
    upstream: Any = _Upstream()
    route: Route = forward(upstream)
    change(route)
    route.seal()
    assert route.prepared
    assert route.plain or not plain
    route.plain, route.prepared = plain, plain or prepared
    loop: Any = SimpleNamespace(call_later=lambda *_: None)
    proxy = Proxy(loop, None, lambda _: None)
    table = RouteTable([VirtualHost("all", ["*"], [Rule((), route)])])
    port = Port(proxy, set(), FilterChain("http.8080", 8080, routes=table, options=options))
    FakeTransport(ServerConnection(port)).deliver(data)
    return bytes(upstream.sent)


def _same(data: bytes, options: HttpOptions) -> None:
    _equal(sent_upstream(data, options), sent_upstream(data, options, plain=True))
    _equal(sent_upstream(data, options), sent_upstream(data, options, prepared=True))


def _equal(*messages: bytes) -> None:
    """Up to the order of fields and the request id."""
    heads = []
    for message in messages:
        head, _, body = message.partition(b"\r\n\r\n")
        lines = UUID.sub(b"<uuid>", head).split(b"\r\n")
        heads.append((lines[0], lines[1], sorted(lines[2:]), body))
    assert heads[0] == heads[1]
    assert heads[0][1].startswith(b"host: ")


OPTIONS = [
    HttpOptions(),
    HttpOptions(request_id=False),
    HttpOptions(attempt_count=False, debug_headers=False),
    HttpOptions(trusted_proxies=1),
    HttpOptions(x_forwarded_host=True, x_forwarded_port=True),
    HttpOptions(scheme=b"https"),
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "data",
    [
        b"GET /a?b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: mine\r\nConnection: x-a\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ],
)
def test_both_lanes_send_the_same(options: HttpOptions, data: bytes) -> None:
    _same(data, options)


FIELDS = st.lists(
    st.builds(
        lambda name, value: f"{name}: {value}\r\n".encode("latin-1"),
        st.sampled_from(["x-a", "X-B", "Accept", "accept", "Cookie", "x-forwarded-for", "x-forwarded-proto",
                         "x-request-id", "Connection", "TE", "User-Agent", "x-envoy-internal",
                         "x-forwarded-host", "Expect"]),
        st.sampled_from(["a", "b, c", "x-a", "trailers", "1.2.3.4", "https", "100-continue", "é"]),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=100)
@given(st.sampled_from(["GET", "POST", "DELETE", "OPTIONS"]), FIELDS, st.sampled_from(OPTIONS))
def test_both_lanes_send_the_same_whatever_the_fields(
    method: str, fields: list[bytes], options: HttpOptions
) -> None:
    _same(f"{method} /a HTTP/1.1\r\nHost: a.test\r\n".encode() + b"".join(fields) + b"\r\n", options)


def _policed(route: Route) -> None:
    route.policies = RoutePolicies()


def _timed(route: Route) -> None:
    route.timeout_s = 2.5


def _tried_briefly(route: Route) -> None:
    route.timeout_s = 2.5
    route.retry = RetryPolicy(per_try_timeout_s=0.25)


def _two_destinations(route: Route) -> None:
    (one,) = route.destinations
    route.destinations = (one, one)
    route.pick = lambda: one


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("change", [_policed, _timed, _tried_briefly, _two_destinations])
def test_a_route_that_changes_no_head_sends_what_is_prepared(
    change: Callable[[Route], None], options: HttpOptions
) -> None:
    data = b"POST /a HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabc"
    one, other = (
        sent_upstream(data, options, prepared=prepared, change=change) for prepared in (True, False)
    )
    _equal(one, other)


def test_the_expected_time_goes_upstream_with_the_first_attempt() -> None:
    """Semantics 14.3.4: the smaller of the route's and the try's time."""
    data = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
    for change, expected in ((_timed, b"2500"), (_tried_briefly, b"250")):
        sent = sent_upstream(data, HttpOptions(), prepared=True, change=change)
        assert b"x-envoy-expected-rq-timeout-ms: %b\r\n" % expected in sent
        bare = sent_upstream(data, HttpOptions(debug_headers=False), prepared=True, change=change)
        assert b"expected" not in bare


def test_what_goes_upstream_field_by_field() -> None:
    """Semantics 14.3.4, 14.3.5, golden 14_06 post-without-length."""
    sent = sent_upstream(b"POST / HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\n\r\n", HttpOptions(), plain=True)
    assert UUID.sub(b"<uuid>", sent).split(b"\r\n") == [
        b"POST / HTTP/1.1",
        b"host: a.test",
        b"x-a: 1",
        b"content-length: 0",
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-proto: http",
        b"x-envoy-external-address: 127.0.0.1",
        b"x-request-id: <uuid>",
        b"x-envoy-decorator-operation: a.test:80/*",
        b"x-envoy-attempt-count: 1",
        b"",
        b"",
    ]


def test_the_client_s_own_request_id_passes_where_ours_is_off() -> None:
    """Semantics 14.3.3."""
    data = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: mine\r\n\r\n"
    for plain in (True, False):
        assert b"x-request-id: mine\r\n" in sent_upstream(data, HttpOptions(request_id=False), plain=plain)
        assert b"mine" not in sent_upstream(data, HttpOptions(), plain=plain)
