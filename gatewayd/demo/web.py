"""A small HTTP/1.1 server and client for the demo's backends: sturdy, plain, and not made for speed.

A backend is an async function from :class:`Request` to :class:`Response`. Requests may be kept alive and
pipelined, and carry bodies by Content-Length or chunked; ``Expect: 100-continue`` is honoured. Whatever
cannot be read with certainty gets 400 and a closed connection.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from gatewayd.demo.secure import facts

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
#: Longer than the minute for which gatewayd keeps idle connections, so that it closes first.
_IDLE_S: Final = 300.0
_CLIENT_TIMEOUT_S: Final = 5.0

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole. Header names are as sent; ``peer`` is the client's IP address.

    tls: what the connection's TLS settled (``secure.facts``), empty without.
    """

    method: str
    target: str
    version: str
    headers: Pairs
    body: bytes
    peer: str
    tls: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The target's path, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; the last of a name counts."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def header(self, name: str) -> str:
        """The values of ``name`` (lower case), joined by commas; empty without any."""
        return ",".join(value for key, value in self.headers if key.lower() == name)


@dataclass(frozen=True, slots=True)
class Response:
    """One response; its length and connection headers are added on sending."""

    status: int = 200
    headers: Pairs = field(default_factory=list)
    body: bytes = b""


Handler = Callable[[Request], Awaitable[Response]]


class BadMessage(Exception):
    """The peer's bytes are no message we can be sure of. ``status`` is what to answer."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


def json_response(value: Any, status: int = 200, headers: Pairs | None = None) -> Response:
    """``value`` as indented JSON."""
    body = json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
    return Response(status, [("content-type", "application/json"), *(headers or [])], body)


def text_response(text: str, status: int = 200) -> Response:
    """``text`` as plain text."""
    return Response(status, [("content-type", "text/plain; charset=utf-8")], text.encode())


async def serve(
    handler: Handler, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Start serving ``handler``, over TLS with a context; port 0 takes a free one."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _converse(handler, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the peer left, in the middle, after a long silence or for its TLS: nobody to tell
        except asyncio.CancelledError:
            pass  # the program ends; asyncio's own callback would print a cancelled task as an error
        finally:
            writer.close()

    return await asyncio.start_server(connected, host, port, limit=_MAX_HEAD_BYTES, ssl=tls)


async def _converse(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("peername")[0]
    while True:
        try:
            request = await _read_request(reader, writer, peer)
        except BadMessage as bad:
            response = text_response(f"{bad}\n", bad.status)
            writer.write(_head(response, keep=False) + response.body)
            await writer.drain()
            return
        if request is None:
            return
        keep = request.version == "HTTP/1.1" and "close" not in request.header("connection").lower()
        response = await _answer(handler, request)
        body = b"" if request.method == "HEAD" else response.body
        writer.write(_head(response, keep=keep) + body)
        await writer.drain()
        if not keep:
            return


async def _answer(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except Exception as error:  # a demo that goes on and says what broke beats one that stops
        return text_response(f"{type(error).__name__}: {error}\n", 500)


def _head(response: Response, *, keep: bool) -> bytes:
    try:
        reason = HTTPStatus(response.status).phrase
    except ValueError:
        reason = "Status"
    lines = [
        f"HTTP/1.1 {response.status} {reason}",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    if response.status >= 200 and response.status not in (204, 304):
        lines.append(f"content-length: {len(response.body)}")
    if not keep:
        lines.append("connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str
) -> Request | None:
    async with asyncio.timeout(_IDLE_S):
        head = await _read_head(reader)
        if head is None:
            return None
        first, headers = head
        words = first.split(" ")
        if len(words) != 3 or not all(words) or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadMessage("the request line is not METHOD TARGET HTTP/1.1")
        if any(name.lower() == "expect" and value.lower() == "100-continue" for name, value in headers):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, headers, until_close=False)
    return Request(words[0], words[1], words[2], headers, body, peer, facts(writer))


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, Pairs] | None:
    """First line and headers; None if the peer closed between messages."""
    try:
        block = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if not end.partial:
            return None
        raise
    except asyncio.LimitOverrunError:
        raise BadMessage("the head is too large", 431) from None
    first, *lines = block[:-4].decode("latin-1").lstrip("\r\n").split("\r\n")
    headers: Pairs = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadMessage("a header line has no name")
        headers.append((name, value.strip(" \t")))
    return first, headers


async def _read_body(reader: asyncio.StreamReader, headers: Pairs, *, until_close: bool) -> bytes:
    lengths = {value for name, value in headers if name.lower() == "content-length"}
    codings = [value.lower() for name, value in headers if name.lower() == "transfer-encoding"]
    if codings:
        if codings != ["chunked"] or lengths:
            raise BadMessage("the framing is ambiguous")
        return await _read_chunks(reader)
    if not lengths:
        return await reader.read(_MAX_BODY_BYTES) if until_close else b""
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()):
        raise BadMessage("the content-length is not a number")
    if int(length) > _MAX_BODY_BYTES:
        raise BadMessage("the body is too large", 413)
    return await reader.readexactly(int(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError:
            raise BadMessage("a chunk has no size") from None
        if size < 0 or len(body) + size > _MAX_BODY_BYTES:
            raise BadMessage("the body is too large", 413)
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers are of no use here
            return bytes(body)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise BadMessage("a chunk does not end where it says")


async def fetch(address: str, target: str, headers: Pairs) -> tuple[int, bytes]:
    """GET ``target`` from ``host:port``; ``headers`` must hold Host. Raises OSError or BadMessage."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(_CLIENT_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, int(port), limit=_MAX_HEAD_BYTES)
        try:
            lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
            writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1"))
            head = await _read_head(reader)
            if head is None:
                raise BadMessage(f"{address} closed the connection without an answer")
            status = int(head[0].split(" ")[1])
            return status, await _read_body(reader, head[1], until_close=True)
        finally:
            writer.close()
