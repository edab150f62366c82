"""HTTP/2 as the real Envoy takes, changes and gives it, both sides (semantics 14.2 to 14.7; hardening 3 and 4)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.differential.h2_pair import H2Case, H2Pair
from tests.support.h2_client import H2Request

RULES = """
- match: [{uri: {prefix: /new/}}]
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /dead/}}]
  route: [{destination: {host: dead.test}}]
- match: [{uri: {prefix: /short/}}]
  timeout: 0.3s
  route: [{destination: {host: new.test}}]
- route: [{destination: {host: old.test}}]
"""
SIDES = ["/old/", "/new/"]


def req(path: str | None = "/p", method: str | None = "GET", **fields: Any) -> H2Request:
    return H2Request(path, method, **fields)


def h(*fields: tuple[str, str], **more: Any) -> H2Request:
    return H2Request("/p", headers=fields, **more)


BIG = "a" * 16_000
#: Deliberate differences are left out here and below (docs/decisions/differences_from_envoy.md).
#: What it shows -> a request, whose path is put below each of SIDES where it begins with ``/``.
REQUESTS: dict[str, H2Request] = {
    "get": req(),
    "head": req(method="HEAD"),
    "post without length": req(method="POST", body=b"abc"),
    "post without body": req(method="POST"),
    "post in pieces": req(method="POST", body=b"a", pieces=[(0.01, b"b"), (0.01, b"c")]),
    "delete with body": req(method="DELETE", body=b"x"),
    "get with body": req(body=b"x"),
    "unknown method": req(method="BREW"),
    "lower-case method": req(method="get"),
    "empty method": req(method=""),
    "method with a space": req(method="GET X"),
    "method with a control byte": req(method="GE\x01T"),
    "no method": req(method=None),
    # Lengths
    "length": req(method="POST", headers=[("content-length", "3")], body=b"abc"),
    "length above": req(method="POST", headers=[("content-length", "5")], body=b"abc"),
    "length below": req(method="POST", headers=[("content-length", "2")], body=b"abc"),
    "length without body": h(("content-length", "3")),
    "length of nothing": h(("content-length", "0")),
    "length twice": req(
        method="POST", headers=[("content-length", "3"), ("content-length", "3")], body=b"abc"
    ),
    "lengths that differ": req(
        method="POST", headers=[("content-length", "3"), ("content-length", "4")], body=b"abc"
    ),
    "length that is none": req(method="POST", headers=[("content-length", "abc")], body=b"abc"),
    "length with a sign": req(method="POST", headers=[("content-length", "+3")], body=b"abc"),
    "length below zero": req(method="POST", headers=[("content-length", "-1")], body=b"abc"),
    "length beyond 64 bits": req(method="POST", headers=[("content-length", "9" * 20)], body=b"abc"),
    "length with trailers": req(
        method="POST", headers=[("content-length", "3")], body=b"abc", trailers=[("x-t", "1")]
    ),
    "length above with trailers": req(
        method="POST", headers=[("content-length", "5")], body=b"abc", trailers=[("x-t", "1")]
    ),
    # Pseudo-header fields
    "no scheme": req(scheme=None),
    "scheme https in plain text": req(scheme="https"),
    "scheme in capitals": req(scheme="HTTP"),
    "scheme of another kind": req(scheme="ftp"),
    "empty scheme": req(scheme=""),
    "no authority": req(authority=None),
    "no authority but host": h(("host", "b.test"), authority=None),
    "authority and the same host": h(("host", "a.test")),
    "authority and another host": h(("host", "b.test")),
    "two hosts": h(("host", "b.test"), ("host", "c.test"), authority=None),
    "empty authority": req(authority=""),
    "authority with a port": req(authority="a.test:80"),
    "authority with user": req(authority="u@a.test"),
    "authority with a space": req(authority="a test"),
    "authority in capitals": req(authority="A.Test"),
    "no path": req(path=None),
    "empty path": req(path=""),
    "path without slash": req(path="x"),
    "star": req(path="*", method="OPTIONS"),
    "star of a get": req(path="*"),
    "absolute path": req(path="http://b.test/x"),
    "path with query": req(path="/p?a=1&b=%20"),
    "path with fragment": req(path="/p#f"),
    "path with a space": req(path="/p q"),
    "path with a control byte": req(path="/p\x01"),
    "path with delete": req(path="/p\x7f"),
    "path with bytes above": req(path="/p\xe4"),
    "path with encoded zero": req(path="/p%00"),
    "path with dots": req(path="/a/../p"),
    "path with encoded dots": req(path="/a/%2e%2e/p"),
    "path with two slashes": req(path="//p"),
    "path with a backslash": req(path="/a\\p"),
    "path with an encoded slash": req(path="/a%2Fp"),
    "path twice": h((":path", "/q")),
    "path behind a field": H2Request(None, headers=[("x-a", "1"), (":path", "/p")]),
    "unknown pseudo-header": h((":foo", "1")),
    "status in a request": h((":status", "200")),
    # Fields
    "name in capitals": h(("X-Upper", "1")),
    "name with a space": h(("x a", "1")),
    "name with a colon": h(("x:a", "1")),
    "name with a control byte": h(("x\x01a", "1")),
    "name with a byte above": h(("x\xe4", "1")),
    "name with underscore": h(("x_a", "1")),
    "empty name": h(("", "1")),
    "empty value": h(("x-a", "")),
    "value with a tab": h(("x-a", "a\tb")),
    "value with cr": h(("x-a", "a\rb")),
    "value with lf": h(("x-a", "a\nb")),
    "value with zero": h(("x-a", "a\0b")),
    "value with a control byte": h(("x-a", "a\x01b")),
    "value with delete": h(("x-a", "a\x7fb")),
    "value with a byte above": h(("x-a", "a\xe4b")),
    "connection close": h(("connection", "close")),
    "connection keep-alive": h(("connection", "keep-alive")),
    "keep-alive": h(("keep-alive", "timeout=5")),
    "proxy-connection": h(("proxy-connection", "keep-alive")),
    "transfer-encoding": h(("transfer-encoding", "chunked")),
    "upgrade": h(("upgrade", "websocket")),
    "http2-settings": h(("http2-settings", "AAMAAABkAAQAAP__")),
    "te trailers": h(("te", "trailers")),
    "te gzip": h(("te", "gzip")),
    "te trailers and gzip": h(("te", "trailers, gzip")),
    "te in capitals": h(("te", "Trailers")),
    "one cookie": h(("cookie", "a=1")),
    "cookie crumbs": h(("cookie", "a=1"), ("cookie", "b=2"), ("x-a", "1"), ("cookie", "c=3")),
    "cookie crumbs with ends": h(("cookie", "a=1;"), ("cookie", ""), ("cookie", " b=2")),
    "equal names": h(("x-a", "1"), ("x-b", "2"), ("x-a", "3")),
    "accept twice": h(("accept", "a"), ("accept", "b")),
    "99 fields": h(*((f"x-{number}", "1") for number in range(90))),
    "101 fields": h(*((f"x-{number}", "1") for number in range(101))),
    "62 KB": h(("x-a", BIG), ("x-b", BIG), ("x-c", BIG), ("x-d", BIG)),
    "48 KB": h(("x-a", BIG), ("x-b", BIG), ("x-c", BIG)),
    "a hop's own fields": h(
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-internal", "true"),
        ("x-request-id", "1"),
        ("via", "1.1 x"),
        ("forwarded", "for=1.2.3.4"),
    ),
    "expect": req(method="POST", headers=[("expect", "100-continue")], pieces=[(0.05, b"late")]),
    "expect something else": req(method="POST", headers=[("expect", "200-ok")], body=b"x"),
    # Trailers
    "trailers": req(method="POST", body=b"x", trailers=[("x-t", "1"), ("x-t", "2")]),
    "trailers without body": req(method="POST", trailers=[("x-t", "1")]),
    "trailers with a pseudo-header": req(method="POST", body=b"x", trailers=[(":path", "/q")]),
    "trailers in capitals": req(method="POST", body=b"x", trailers=[("X-T", "1")]),
    # Other methods of opening
    "connect": H2Request(None, "CONNECT", "a.test:80", None),
    "connect with a path": H2Request("/p", "CONNECT", "a.test:80", "http"),
    "extended connect": H2Request("/p", "CONNECT", "a.test", "http", protocol="websocket"),
    "protocol of a get": H2Request("/p", protocol="websocket"),
}


def placed(request: H2Request, side: str) -> H2Request:
    """The request with its path below ``side``."""
    if request.path is None or not request.path.startswith("/"):
        return request
    return dataclasses.replace(request, path=side.rstrip("/") + request.path)


@pytest.mark.parametrize("side", SIDES)
async def test_14_requests_over_http2(side: str, tmp_path: Path) -> None:
    async with H2Pair(tmp_path, RULES) as pair:
        for what, request in REQUESTS.items():
            await pair.compare(what, H2Case(placed(request, side)))
        await pair.same()


#: What an upstream does -> words of its behaviour; those in NEW_ONLY are of HTTP/2 alone.
ANSWERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "201 with reason": {"status": 201, "reason": "Made"},
    "204": {"status": 204},
    "304": {"status": 304, "headers": [("etag", "1")]},
    "404": {"status": 404, "body": "no"},
    "500": {"status": 500},
    "599": {"status": 599},
    "empty body": {"body": ""},
    "no type": {"bare": True},
    "length": {"headers": [("content-length", "3")], "body": "abc"},
    "equal names": {"headers": [("x-a", "1"), ("set-cookie", "a=1"), ("x-a", "2"), ("set-cookie", "b=2")]},
    "own date and server": {"headers": [("date", "now"), ("server", "mine"), ("via", "1.1 x")]},
    "hop's own": {"headers": [("x-envoy-upstream-service-time", "5"), ("x-envoy-attempt-count", "7")]},
    "alt-svc": {"headers": [("alt-svc", 'h3=":443"')]},
    "large body": {"body_size": 300_000},
    "chunks": {"chunks": ["ab", "c", "def"], "chunk_delay_ms": 5},
    "trailers": {"trailers": [("x-t", "1"), ("x-t", "2")]},
    "trailers alone": {"body": "", "trailers": [("x-t", "1")]},
    "103": {"interim": [103]},
    "102": {"interim": [102]},
    "early": {"before_body": True, "status": 413, "body": "too much"},
    "48 KB": {"headers": [("x-a", BIG), ("x-b", BIG), ("x-c", BIG)]},
    "95 fields": {"headers": [(f"x-{number}", "1") for number in range(95)]},
    "105 fields": {"headers": [(f"x-{number}", "1") for number in range(105)]},
    "close first": {"close": "accept"},
    "close": {"close": "before_headers"},
    "close in the body": {"close": "mid_body", "body": "abcdef"},
    "value with a tab": {"headers": [("x-a", "a\tb")]},
    "value with a byte above": {"headers": [("x-a", "a\xe4b")]},
}
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "REFUSED_STREAM", "CANCEL", "ENHANCE_YOUR_CALM"]
NEW_ONLY: dict[str, dict[str, Any]] = {
    **{f"reset {code}": {"reset": "before_headers", "code": code} for code in CODES},
    **{f"reset {code} in the body": {"reset": "mid_body", "code": code, "body": "abcdef"} for code in CODES},
    "goaway before": {"goaway": "before"},
    "goaway after": {"goaway": "after"},
    "close after": {"then": "close"},
    "head alone": {"headers_only": True},
    "garbage": {"raw": "garbage"},
    "length above": {"headers": [("content-length", "9")], "body": "abc"},
    "length below": {"headers": [("content-length", "2")], "body": "abc"},
    "length and head alone": {"headers_only": True, "headers": [("content-length", "9")]},
    "length that is none": {"headers": [("content-length", "x")], "body": "abc"},
    "lengths that differ": {"headers": [("content-length", "3"), ("content-length", "4")], "body": "abc"},
    "connection": {"headers": [("connection", "close")]},
    "keep-alive": {"headers": [("keep-alive", "timeout=5")]},
    "transfer-encoding": {"headers": [("transfer-encoding", "chunked")]},
    "upgrade": {"headers": [("upgrade", "websocket")]},
    "te": {"headers": [("te", "trailers")]},
    "name in capitals": {"headers": [("X-Upper", "1")]},
    "name with a space": {"headers": [("x a", "1")]},
    "value with cr": {"headers": [("x-a", "a\rb")]},
    "value with zero": {"headers": [("x-a", "a\0b")]},
    "value with a control byte": {"headers": [("x-a", "a\x01b")]},
    "no status": {"status": 0},
    "status of four digits": {"status": 2000},
    "status of two digits": {"status": 20},
    "status 101": {"status": 101},
    "status twice": {"headers": [(":status", "201")]},
    "pseudo-header of a request": {"headers": [(":path", "/")]},
    "trailers with a pseudo-header": {"trailers": [(":status", "200")]},
    "trailers in capitals": {"trailers": [("X-T", "1")]},
}
ASKED = {
    "get": H2Request(),
    "head": H2Request(method="HEAD"),
    "post": H2Request(method="POST", body=b"abc"),
    "grpc": H2Request(
        method="POST", headers=[("content-type", "application/grpc"), ("te", "trailers")], body=b"abc"
    ),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("side", SIDES)
async def test_14_answers_to_http2(side: str, asked: str, tmp_path: Path) -> None:
    answers = {**ANSWERS, **NEW_ONLY} if side == "/new/" else ANSWERS
    async with H2Pair(tmp_path, RULES) as pair:
        for what, answer in answers.items():
            request = placed(dataclasses.replace(ASKED[asked], path="/p"), side)
            await pair.compare(what, H2Case(request, script=[answer], seen="before_body" not in answer))
        await pair.same()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_14_answers_of_http2_to_http1(method: str, tmp_path: Path) -> None:
    body = "content-length: 3\r\n\r\nabc" if method == "POST" else "\r\n"
    async with H2Pair(tmp_path, RULES) as pair:
        for what, answer in {**ANSWERS, **NEW_ONLY}.items():
            raw = f"{method} /new/p HTTP/1.1\r\nhost: a.test\r\n{body}".encode()
            await pair.compare(what, H2Case(raw=raw, script=[answer], seen="before_body" not in answer))
        await pair.same()
