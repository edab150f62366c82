"""The location of redirects, semantics 6.4 and 2.6.1; hosts and paths as recorded from Envoy."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.http.message import Fields, RequestHead
from gatewayd.policies.redirect import location
from gatewayd.routing.route import PathMatched, RedirectAction

PREFIX = PathMatched("prefix", b"/old")


def to(
    target: bytes,
    host: bytes = b"shop.test",
    arrived: bytes = b"http",
    matched: PathMatched = PREFIX,
    **fields: Any,
) -> bytes:
    action = RedirectAction(status=301, **fields)
    return location(action, RequestHead(b"GET", target, host, arrived, Fields(())), matched)


def test_path_parts() -> None:
    assert to(b"/old?q=1", uri=b"/new") == b"http://shop.test/new?q=1"
    assert to(b"/old?", uri=b"/new") == b"http://shop.test/new?"
    assert to(b"/old?q=1", uri=b"/new?a=b") == b"http://shop.test/new?a=b"
    assert to(b"/old", uri=b"new") == b"http://shop.test/new"
    assert to(b"/old/tail", uri=b"/np/") == b"http://shop.test/np/"
    assert to(b"/old/x?q", authority=b"other.test") == b"http://other.test/old/x?q"


@pytest.mark.parametrize(
    ("matched", "target", "new", "path"),
    [
        (PathMatched("prefix", b"/pr/"), b"/pr/tail?q=1", b"/z/", b"/z/tail?q=1"),
        (PathMatched("prefix", b"/pq"), b"/pq/x?q=1", b"/z?k=v", b"/z?k=v/x?q=1"),
        (PathMatched("prefix", b"/pn"), b"/pn/x", b"z", b"/z/x"),
        (PathMatched("regex", b"/rx/.*"), b"/rx/abc?q=1", b"/z", b"/z?q=1"),
        (PathMatched("exact", b"/ex"), b"/ex?q=1", b"/z", b"/z?q=1"),
        (PathMatched(), b"/x?q", b"/z/", b"/z/x?q"),
    ],
)
def test_prefix_rewrite(matched: PathMatched, target: bytes, new: bytes, path: bytes) -> None:
    assert to(target, matched=matched, prefix_rewrite=new) == b"http://shop.test" + path


@pytest.mark.parametrize(
    ("host", "fields", "origin"),
    [
        (b"SHOP.test", {}, b"http://SHOP.test"),
        (b"shop.test:80", {}, b"http://shop.test:80"),  # kept: the scheme stays (6.4.4)
        (b"shop.test:80", {"scheme": b"https"}, b"https://shop.test"),
        (b"shop.test:8080", {"scheme": b"https"}, b"https://shop.test:8080"),
        (b"shop.test:443", {"scheme": b"https"}, b"https://shop.test:443"),
        (b"shop.test:9", {"port": 81}, b"http://shop.test:81"),
        (b"shop.test:", {"port": 81}, b"http://shop.test:81"),
        (b"[::1]:9", {"port": 81}, b"http://[::1]:81"),
        (b"[::1]", {"port": 81}, b"http://[::1]:81"),
        (b"[::1]:80", {"scheme": b"https"}, b"https://[::1]"),
        # A default port is no port at all, so the Host keeps its own (6.4.3)
        (b"shop.test:9", {"port": 80}, b"http://shop.test:9"),
        (b"shop.test", {"port": 443, "scheme": b"https"}, b"https://shop.test"),
        (b"shop.test", {"port": 80, "scheme": b"https"}, b"https://shop.test:80"),
        (b"x:80", {"authority": b"o.test"}, b"http://o.test"),
        (b"x", {"authority": b"o.test:99", "port": 1234}, b"http://o.test:99:1234"),
        (b"", {"scheme": b"https"}, b"https://"),
    ],
)
def test_origin(host: bytes, fields: dict[str, Any], origin: bytes) -> None:
    assert to(b"/p", host, **fields) == origin + b"/p"


def test_https_to_http_drops_the_port_of_https() -> None:
    assert to(b"/p", b"shop.test:443", b"https", scheme=b"http") == b"http://shop.test/p"
    assert to(b"/p", b"shop.test:80", b"https", scheme=b"http") == b"http://shop.test:80/p"


def test_https_redirect_keeps_the_host_verbatim() -> None:
    moved = to(b"/a?b=c", b"Shop.test:80", scheme=b"https", host_verbatim=True)
    assert moved == b"https://Shop.test:80/a?b=c"
