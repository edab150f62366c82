"""An httpbin-like backend: answers that show what arrived, and answers as bad as one asks for."""

from __future__ import annotations

import asyncio
import json
import re
from random import choices
from typing import Any, Final

from gatewayd.demo.web import Handler, Pairs, Request, Response, json_response, text_response

_MAX_DELAY_S: Final = 10.0
_MAX_BYTES: Final = 1024 * 1024
_CORS: Final[Pairs] = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-credentials", "true"),
]
_METHOD_PATHS: Final = {f"/{method.lower()}": method for method in ("GET", "POST", "PUT", "PATCH", "DELETE")}


async def httpbin(request: Request) -> Response:
    """``/status/N``, ``/delay/N``, ``/headers``, ``/ip``, ``/anything``, ``/get``, ``/post`` and kin."""
    path = request.path
    first, _, rest = path[1:].partition("/")
    if path in _METHOD_PATHS:
        response = _only(_METHOD_PATHS[path], request)
    elif first == "anything":
        response = json_response({**_seen(request), "method": request.method})
    elif first == "status":
        response = _status(rest)
    elif first == "delay":
        response = await _delay(rest, request)
    elif first == "bytes":
        response = _bytes(rest)
    elif path == "/headers":
        response = json_response({"headers": _headers(request)})
    elif path == "/ip":
        response = json_response({"origin": _origin(request)})
    elif path == "/user-agent":
        response = json_response({"user-agent": request.header("user-agent")})
    elif path == "/":
        response = text_response(__doc__ or "")
    else:
        response = text_response("no such page\n", 404)
    return Response(response.status, [*response.headers, *_CORS], response.body)


def echo(service: str) -> Handler:
    """A backend that answers every path with what it got, and says that it is ``service``."""

    async def answer(request: Request) -> Response:
        seen: dict[str, Any] = {
            "service": service,
            "method": request.method,
            "path": request.target,
            "host": request.header("host"),
            "headers": _headers(request),
        }
        if request.tls:
            seen["tls"] = request.tls
        return json_response(seen)

    return answer


def _only(method: str, request: Request) -> Response:
    allowed = ("GET", "HEAD") if method == "GET" else (method,)
    if request.method not in allowed:
        return Response(405, [("allow", ", ".join(allowed))], b"")
    return json_response(_seen(request))


def _status(wish: str) -> Response:
    """``418``, or one of ``200,500`` by luck, or of ``200:9,500:1`` by weight."""
    codes: list[int] = []
    weights: list[float] = []
    for part in wish.split(","):
        code, _, weight = part.partition(":")
        if not re.fullmatch(r"[1-9]\d\d", code) or not re.fullmatch(r"(\d+(\.\d+)?)?", weight):
            return text_response("/status/N, /status/N,M or /status/N:weight,M:weight\n", 400)
        codes.append(int(code))
        weights.append(float(weight or 1))
    if not sum(weights) > 0:
        return text_response("the weights are all zero\n", 400)
    status = choices(codes, weights)[0]
    if status < 200:
        return text_response("1xx are not final\n", 400)
    headers = [("content-type", "text/html; charset=utf-8")]
    if 300 <= status < 400 and status != 304:
        headers.append(("location", "/get"))
    return Response(status, headers)


async def _delay(wish: str, request: Request) -> Response:
    if not re.fullmatch(r"\d+(\.\d+)?", wish):
        return text_response("/delay/SECONDS\n", 400)
    await asyncio.sleep(min(float(wish), _MAX_DELAY_S))
    return json_response(_seen(request))


def _bytes(wish: str) -> Response:
    if not re.fullmatch(r"\d{1,7}", wish):
        return text_response("/bytes/N\n", 400)
    return Response(200, [("content-type", "application/octet-stream")], b"." * min(int(wish), _MAX_BYTES))


def _seen(request: Request) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "args": request.query,
        "headers": _headers(request),
        "origin": _origin(request),
        "url": f"{request.header('x-forwarded-proto') or 'http'}://{request.header('host')}{request.target}",
    }
    if request.method not in ("GET", "HEAD"):
        text = request.body.decode("utf-8", "replace")
        seen["data"] = text
        try:
            seen["json"] = json.loads(text)
        except ValueError:
            seen["json"] = None
    return seen


def _headers(request: Request) -> dict[str, str]:
    """Names in the usual capitals, repeated fields joined."""
    return {
        name.title(): request.header(name.lower()) for name in sorted({n.lower() for n, _ in request.headers})
    }


def _origin(request: Request) -> str:
    return request.header("x-forwarded-for") or request.peer
