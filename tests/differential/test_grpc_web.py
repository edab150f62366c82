"""gRPC-Web as the real Envoy translates it (semantics 2.4.4)."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.differential.h2_pair import H2Case, H2Pair
from tests.support.h1_text import Headers
from tests.support.h2_client import H2Request

RULES = """
- match: [{uri: {prefix: /direct}}]
  directResponse: {status: 200, body: {string: "hi ~ % \u00e4"}}
- match: [{uri: {prefix: /redirect}}]
  redirect: {uri: /x}
- match: [{uri: {prefix: /unknown}}]
  route: [{destination: {host: new.test, subset: unknown}}]
- match: [{uri: {prefix: /short}}]
  timeout: 0.12s
  route: [{destination: {host: new.test}}]
- match: [{uri: {prefix: /old}}]
  route: [{destination: {host: old.test}}]
- match: [{uri: {prefix: /new}}]
  route: [{destination: {host: new.test}}]
"""
WEB = "application/grpc-web"
TEXT = f"{WEB}-text"
GRPC = ("content-type", "application/grpc")
TAKES_TEXT = ("accept", TEXT)
MESSAGE = b"\0\0\0\0\1a"
ENCODED = base64.b64encode(MESSAGE)
GOOD: dict[str, Any] = {
    "bare": True,
    "headers": [GRPC],
    "body": "\0\0\0\0\1x",
    "trailers": [("grpc-status", "0"), ("grpc-message", "m m")],
}


def asked(
    kind: str = WEB, body: bytes = MESSAGE, *more: tuple[str, str], path: str = "/new/s/m"
) -> H2Request:
    return H2Request(path, "POST", headers=[("content-type", kind), *more], body=body)


def answers(**fields: Any) -> dict[str, Any]:
    return GOOD | fields


def status_alone(*fields: tuple[str, str]) -> dict[str, Any]:
    return {"bare": True, "headers_only": True, "headers": [GRPC, *fields]}


#: What it shows -> the request, what the server does.
ROWS: dict[str, tuple[H2Request, dict[str, Any]]] = {
    "binary": (asked(), GOOD),
    "binary of protobuf": (asked(f"{WEB}+proto"), GOOD),
    "another form": (asked(f"{WEB}+json"), GOOD),
    "with parameters": (asked(f"{WEB}; charset=utf-8"), GOOD),
    "in capitals": (asked("Application/grpc-web"), GOOD),
    "text asked, binary answered": (asked(TEXT, ENCODED), GOOD),
    "text both ways": (asked(TEXT, ENCODED, TAKES_TEXT), GOOD),
    "text of protobuf": (asked(f"{TEXT}+proto", ENCODED, ("accept", f"{TEXT}+proto")), GOOD),
    "binary asked, text answered": (asked(WEB, MESSAGE, TAKES_TEXT), GOOD),
    "text among others": (asked(WEB, MESSAGE, ("accept", f"{TEXT}, x")), GOOD),
    "fields of gRPC": (
        asked(WEB, MESSAGE, ("te", "trailers"), ("grpc-accept-encoding", "br"), ("grpc-timeout", "5S")),
        GOOD,
    ),
    "length": (asked(WEB, MESSAGE, ("content-length", "6")), GOOD),
    "no base64": (asked(TEXT, b"!!!!"), GOOD),
    "base64 cut short": (asked(TEXT, ENCODED[:7]), GOOD),
    "padding inside": (asked(TEXT, b"AA==" + ENCODED), GOOD),
    "a line break": (asked(TEXT, b"AAA\nAAAF"), GOOD),
    "no text at all": (asked(TEXT, b""), GOOD),
    "status alone": (asked(), status_alone(("grpc-status", "5"), ("grpc-message", "n"))),
    "status alone in text": (asked(TEXT, ENCODED, TAKES_TEXT), status_alone(("grpc-status", "5"))),
    "no trailers": (asked(), answers(trailers=[])),
    "no trailers in text": (asked(TEXT, ENCODED, TAKES_TEXT), answers(trailers=[])),
    "two messages in text": (asked(TEXT, ENCODED, TAKES_TEXT), answers(body="\0\0\0\0\1x\1\0\0\0\2xy")),
    "pieces in text": (
        asked(TEXT, ENCODED, TAKES_TEXT),
        answers(body=None, chunks=["\0\0\0\0", "\4a", "bcd"]),
    ),
    "no messages in text": (asked(TEXT, ENCODED, TAKES_TEXT), answers(body="\7\0\0\0\1x")),
    "gRPC of protobuf": (asked(), answers(headers=[("content-type", "application/grpc+proto")])),
    "gRPC-Web answered": (asked(), answers(headers=[("content-type", WEB)])),
    "an answer of HTTP": (asked(), {"body": "fine ~ %\n"}),
    "404 of HTTP": (asked(), {"status": 404, "body": "not found", "headers": [("x-a", "1")]}),
    "503 in text": (asked(TEXT, ENCODED, TAKES_TEXT), {"status": 503, "body": "oops"}),
    "404 without body": (asked(), {"status": 404, "headers_only": True}),
    "much of HTTP": (asked(), {"status": 500, "body_size": 20_000}),
    "400 with a status": (asked(), {"status": 400, "headers": [("grpc-status", "7")]}),
    "broken off before": (asked(), {"reset": "before_headers", "code": "INTERNAL_ERROR"}),
    "broken off": (asked(), answers(reset="mid_body", code="INTERNAL_ERROR")),
    "of HTTP/1.1": (asked(path="/old/s/m"), {"bare": True, "headers": [GRPC], "body": "\0\0\0\0\1x"}),
    "plain gRPC": (asked("application/grpc", MESSAGE, ("te", "trailers")), GOOD),
    "plain HTTP": (asked("text/plain", b"x"), {}),
    "direct": (asked(path="/direct"), GOOD),
    "direct to gRPC": (asked("application/grpc", path="/direct"), GOOD),
    "redirect": (asked(path="/redirect"), GOOD),
    "nowhere": (asked(path="/nowhere"), GOOD),
    "nowhere in text": (asked(TEXT, ENCODED, TAKES_TEXT, path="/nowhere"), GOOD),
    "unknown": (asked(path="/unknown"), GOOD),
    "too late": (asked(path="/short/s/m"), {"hang": True}),
}


#: How much of these comes to the server is a matter of moments.
BROKEN = ("no base64", "base64 cut short", "padding inside", "a line break")


def as_http1(request: H2Request) -> bytes:
    headers: Headers = [("content-length", str(len(request.body))), *request.headers]
    lines = [f"{name}: {value}" for name, value in dict(headers).items()]
    return (
        "\r\n".join([f"POST {request.path} HTTP/1.1", "host: a.test", *lines, "", ""]).encode() + request.body
    )


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_2_4_4_translated_as_by_envoy(version: str, tmp_path: Path) -> None:
    async with H2Pair(tmp_path, RULES, "GRPC-WEB") as pair:
        # The broken ones last: what of them comes late to the server would be taken for the next one's.
        for what, (request, answer) in sorted(ROWS.items(), key=lambda row: row[0] in BROKEN):
            case = H2Case(request) if version == "HTTP/2" else H2Case(raw=as_http1(request))
            await pair.compare(what, dataclasses.replace(case, script=[answer], seen=what not in BROKEN))
        await pair.same()
