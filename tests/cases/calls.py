"""What a golden call sends: bytes of HTTP/1, a request of HTTP/2, and the variants of a repeated call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.behaviour import render_headers, to_bytes
from tests.support.h1_text import Headers
from tests.support.h2_client import H2Request


def request_bytes(call: Mapping[str, Any]) -> bytes:
    """The bytes of an http1 call: ``raw``, or the request exactly as written."""
    if "raw" in call:
        return to_bytes(call["raw"])
    request = call["request"]
    headers, body = _fields(call), _body(call)
    line = (
        f"{request.get('method', 'GET')} {request.get('path', '/')} {request.get('version', 'HTTP/1.1')}\r\n"
    )
    return to_bytes(line) + render_headers(headers) + body


def h2_request(call: Mapping[str, Any]) -> H2Request:
    """The request of an http2 call; its scheme is that of its connection unless it says otherwise."""
    request = call["request"]
    return H2Request(
        request.get("path", "/"),
        request.get("method", "GET"),
        request.get("authority"),
        request.get("scheme", "https" if call.get("tls") is not None else "http"),
        _fields(call),
        _body(call),
        [(str(name), str(value)) for name, value in request.get("trailers") or []],
        request.get("protocol"),
        pieces(call),
        to_bytes(request["tunnel"]) if "tunnel" in request else None,
    )


def _fields(call: Mapping[str, Any]) -> Headers:
    request = call["request"]
    headers = [(str(name), str(value)) for name, value in request.get("headers") or []]
    size = request.get("header_size", call.get("header_size"))
    if size is not None:
        headers.append(("x-big", "a" * size))
    count = request.get("header_count", call.get("header_count", 0))
    return headers + [(f"x-n{number}", "1") for number in range(count)]


def _body(call: Mapping[str, Any]) -> bytes:
    request = call["request"]
    size = request.get("body_size", call.get("body_size"))
    return to_bytes(request.get("body") or "") if size is None else b"x" * size


def pieces(call: Mapping[str, Any]) -> list[tuple[float, bytes]]:
    return [(float(wait_s), to_bytes(piece)) for wait_s, piece in call.get("pieces") or []]


def numbered(value: Any, number: int) -> Any:
    """``value`` with ``{i}`` in its strings replaced by the call number."""
    if isinstance(value, str):
        return value.replace("{i}", str(number))
    if isinstance(value, Mapping):
        return {key: numbered(part, number) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [numbered(part, number) for part in value]
    return value


def with_cookie(call: Mapping[str, Any], cookie: str) -> dict[str, Any]:
    """``call`` with a Cookie header added."""
    request = dict(call["request"])
    request["headers"] = [
        *(request.get("headers") or []),
        ["cookie" if call.get("protocol") == "http2" else "Cookie", cookie],
    ]
    return {**call, "request": request}
