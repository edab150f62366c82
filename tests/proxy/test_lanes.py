"""The plain lane sends what the general lane would build: the same request on a plain and a not plain route."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.http.h1.server import ServerConnection
from gatewayd.http.options import HttpOptions
from gatewayd.proxy.worker import Port, Proxy
from gatewayd.routing.index import Rule
from gatewayd.routing.route import Route
from gatewayd.routing.table import RouteTable, VirtualHost
from gatewayd.snapshot import FilterChain
from tests.support.fake_transport import FakeTransport
from tests.support.in_process import forward

UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class _Upstream:
    """An endpoint with one connection that only notes what it is told to send."""

    def __init__(self) -> None:
        self.name = self.host_port = self.local_address = "x"
        self.active = self.total = 0
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


def sent_upstream(data: bytes, options: HttpOptions, *, plain: bool) -> bytes:
    """What goes upstream for the request ``data``."""
    upstream: Any = _Upstream()
    route: Route = forward(upstream)
    assert route.plain
    route.plain = plain
    loop: Any = SimpleNamespace()
    proxy = Proxy(loop, None, lambda _: None)
    table = RouteTable([VirtualHost("all", ["*"], [Rule((), route)])])
    port = Port(proxy, set(), FilterChain("http.8080", 8080, routes=table, options=options))
    FakeTransport(ServerConnection(port)).deliver(data)
    return bytes(upstream.sent)


def _same(data: bytes, options: HttpOptions) -> None:
    one, other = (sent_upstream(data, options, plain=plain) for plain in (True, False))
    heads = []
    for message in (one, other):
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
