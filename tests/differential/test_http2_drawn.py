"""Exchanges drawn by chance where one or both sides speak HTTP/2, and gRPC's own, as the real Envoy has them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.differential.h2_pair import H2Case, H2Pair
from tests.support.h1_text import Headers
from tests.support.h2_client import H2Request

RULES = """
- match: [{uri: {prefix: /new/}}]
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /reset/}}]
  retries: {attempts: 2, retryOn: "reset,5xx,retriable-4xx", backoff: 1ms}
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /grpc/}}]
  retries: {attempts: 2, retryOn: "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable", backoff: 1ms}
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /off/}}]
  retries: {attempts: 0}
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /dead/}}]
  route: [{destination: {host: dead.test}}]
- match: [{uri: {prefix: /nobody/}}]
  route: [{destination: {host: new.test, subset: unknown}}]
- match: [{uri: {prefix: /short/}}]
  timeout: 0.12s
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /per/}}]
  timeout: 2s
  retries: {attempts: 1, perTryTimeout: 0.1s, retryOn: "5xx"}
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /old/}}]
  route: [{destination: {host: old.test}}]
"""
NAMES = ["x-a", "x-b", "accept", "cookie", "cache-control", "x_c", "te", "via", "x-forwarded-proto", "range"]
VALUES = ["", "1", "a, b", "trailers", "a=1; b=2", "x" * 300, "\xe4", "a\tb", "%20"]
FAULTS: Headers = [
    *(("X-A", "1"), ("x a", "1"), ("x-a", "a\0"), ("x-a", "\x01"), ("connection", "x-a"), ("te", "gzip")),
    *((":x", "1"), ("content-length", "7"), ("content-length", "a"), ("host", "other.test"), ("host", "a b")),
    ("transfer-encoding", "chunked"),
]
PATHS = ["p", "p?q=1", "a/../p", "a//p", "p%2Fq", "%7Ep", "p\\q", "p;x", "p\xe4", "a/%2e/p", "p?a/../b"]
BAD_PATHS = ["p#f", "p q", "p%00", "p\x7f"]
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "REFUSED_STREAM", "CANCEL"]


def fields(draw: random.Random) -> Headers:
    drawn = [(draw.choice(NAMES), draw.choice(VALUES)) for _ in range(draw.choice([0, 0, 1, 2, 4]))]
    return [field for field in drawn if field != ("cookie", "")]  # behind another it ends in a space


def request(draw: random.Random, side: str) -> H2Request:
    headers = fields(draw)
    if draw.random() < 0.15:
        headers.insert(draw.randrange(len(headers) + 1), draw.choice(FAULTS))
    path = draw.choice(PATHS) if draw.random() < 0.95 else draw.choice(BAD_PATHS)
    body, trailers = b"", []
    method = draw.choice(["GET", "GET", "POST", "POST", "HEAD", "PUT", "BREW"])
    if method in ("POST", "PUT"):
        body = b"b" * draw.choice([0, 1, 1000, 40_000])
        if draw.random() < 0.3:
            headers.append(("content-length", str(len(body))))
        if draw.random() < 0.2:
            trailers = [("x-t", draw.choice(VALUES)), *([("x-t", "2")] if draw.random() < 0.5 else [])]
    authority = draw.choice(["a.test", "a.test", "A.test:80", "b.test", "[::1]:80", "a..test", None])
    return H2Request(side + path, method, authority, headers=headers, body=body, trailers=trailers)


def answer(draw: random.Random, *, new: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"status": draw.choice([200, 200, 200, 201, 204, 301, 304, 404, 418, 500, 503])}
    found["headers"] = [
        (draw.choice(["x-a", "x-b", "set-cookie", "cache-control", "vary"]), draw.choice(VALUES[:7]))
        for _ in range(draw.choice([0, 1, 3]))
    ]
    kind = draw.random()
    if kind < 0.15:
        found["chunks"] = ["ab", "cde"]
    elif kind < 0.3:
        found["trailers"] = [("x-t", "1")]
    elif kind < 0.4:
        found["body_size"] = draw.choice([0, 1, 70_000])
    elif kind < 0.45:
        found["interim"] = [draw.choice([102, 103])]
    elif kind < 0.5:
        found[draw.choice(["close"])] = draw.choice(["before_headers", "mid_body"])
    elif kind < 0.6 and new:
        found |= {"reset": draw.choice(["before_headers", "mid_body"]), "code": draw.choice(CODES)}
    elif kind < 0.65 and new:
        found["goaway"] = draw.choice(["before", "after"])
    elif kind < 0.7 and new:
        found["headers_only"] = True
    elif kind < 0.75 and new:
        found["headers"].append(draw.choice(FAULTS))
    return found


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_14_drawn_exchanges(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    async with H2Pair(tmp_path, RULES) as pair:
        for number in range(100):
            side = draw.choice(["/old/", "/new/", "/new/", "/reset/", "/off/", "/nobody/"])
            steps = [answer(draw, new=side != "/old/") for _ in range(draw.choice([1, 1, 2]))]
            if draw.random() < 0.75:
                await pair.compare(f"{number}", H2Case(request(draw, side), script=steps))
            else:
                await pair.compare(f"{number}", H2Case(raw=as_http1(request(draw, side)), script=steps))
        await pair.same()


def as_http1(drawn: H2Request) -> bytes:
    """A plain request of HTTP/1.1 with the sound parts of one that was drawn."""
    method = "POST" if drawn.body else "GET"
    lines = [f"{method} {(drawn.path or '/').split('#')[0].replace(' ', '')} HTTP/1.1", "host: a.test"]
    lines += [
        f"{name}: {value}"
        for name, value in drawn.headers
        if (name, value) not in FAULTS and name in NAMES[:5]
    ]
    if drawn.body:
        lines.append(f"content-length: {len(drawn.body)}")
    text = "\r\n".join([*lines, "", ""])
    return "".join(letter for letter in text if letter not in "\0\x7f").encode("latin-1") + drawn.body


GRPC: Headers = [("content-type", "application/grpc"), ("te", "trailers")]
STATUSES = ["0", "1", "2", "4", "8", "13", "14", "16", "99", "x"]


def grpc_answer(draw: random.Random) -> dict[str, Any]:
    status = [("grpc-status", draw.choice(STATUSES)), ("grpc-message", "later")]
    typed = ("content-type", "application/grpc")
    kind = draw.random()
    if kind < 0.4:  # trailers alone
        return {"bare": True, "headers_only": True, "headers": [typed, *status]}
    if kind < 0.7:
        return {"bare": True, "headers": [typed], "body": "\0\0\0\0\1x", "trailers": status}
    if kind < 0.8:
        return {"reset": draw.choice(["before_headers", "mid_body"]), "code": draw.choice(CODES)}
    if kind < 0.9:
        return {"status": draw.choice([200, 400, 404, 429, 500, 503, 504])}
    return {"close": "before_headers"}


@pytest.mark.parametrize("seed", [1, 2])
async def test_15_4_grpc_exchanges_retried_or_not(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    async with H2Pair(tmp_path, RULES) as pair:
        for number in range(100):
            side = draw.choice(
                ["/new/", "/grpc/", "/grpc/", "/reset/", "/off/", "/dead/", "/nobody/", "/none/"]
            )
            typed = draw.choice(
                ["application/grpc", "application/grpc+proto", "application/grpc-web", "application/x"]
            )
            asked = H2Request(
                f"{side}s/m", "POST", headers=[("content-type", typed), GRPC[1]], body=b"\0\0\0\0\1x"
            )
            await pair.compare(f"{number}", H2Case(asked, script=[grpc_answer(draw) for _ in range(3)]))
        await pair.same()


#: Prefix, grpc-timeout: what is asked for where the upstream never answers. Those of PLAIN have no type of gRPC.
TIMEOUTS = [
    *(("/short/", None), ("/short/", "60m"), ("/short/", "5S"), ("/new/", "70m"), ("/new/", "80000u")),
    *(("/new/", "99999999n"), ("/per/", None), ("/per/", "10S"), ("/per/", "60m"), ("/short/", "x")),
    *(("/short/", "1"), ("/short/", "-1S"), ("/short/", "0S"), ("/short/", "123456789m"), ("/short/", "1H")),
]
PLAIN = [("/short/", None), ("/short/", "60m"), ("/per/", None)]


async def test_6_6_3_timeouts_of_grpc(tmp_path: Path) -> None:
    async with H2Pair(tmp_path, RULES) as pair:
        for typed, rows in ((GRPC, TIMEOUTS), ([], PLAIN)):
            for prefix, timeout in rows:
                more = [] if timeout is None else [("grpc-timeout", timeout)]
                asked = H2Request(f"{prefix}s/m", "POST", headers=[*typed, *more], body=b"\0\0\0\0\0")
                await pair.compare(
                    f"{prefix} {timeout} {bool(typed)}", H2Case(asked, script=[{"hang": True}])
                )
        await pair.same()
