"""What an upstream recorder does with one request: a literal description and the player of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from tests.support.h1_text import Head, Headers
from tests.support.wire import Wire

Moment = Literal["accept", "before_headers", "mid_body"]
MID_BODY_BYTES = 2


@dataclass(frozen=True)
class Behaviour:
    """One answer. The default: 200, ``content-type: text/plain``, content-length, the upstream's name.

    headers: further response headers, in order. interim: statuses of 1xx responses sent first.
    until_close: no length, the end of the connection ends the body. http: version in the status line ("1.0").
    close, reset: end the connection at that moment. raw: these bytes, then close.
    upgrade: answer 101, then echo ``echo:`` + data. before_body: answer before reading the body.
    no_100: never send 100. bare: no content-type. then: "close" after the response.
    headers_only: no body. Words of HTTP/2 that HTTP/1 has no use for: code of a reset; goaway: "before" instead of
    an answer, with the stream above the last one processed, "after" it, with the last stream there is.
    """

    status: int = 200
    reason: str = "OK"
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    chunked: bool = False
    chunks: Sequence[bytes] = ()
    chunk_delay_ms: float = 0
    trailers: Sequence[tuple[str, str]] = ()
    until_close: bool = False
    http: str = "1.1"
    interim: Sequence[int] = ()
    delay_ms: float = 0
    hang: bool = False
    close: Moment | None = None
    reset: Moment | None = None
    raw: bytes | None = None
    upgrade: bool | str = False
    before_body: bool = False
    no_100: bool = False
    bare: bool = False
    then: Literal["close"] | None = None
    headers_only: bool = False
    code: str | None = None
    goaway: Literal["before", "after"] | None = None

    @classmethod
    def parse(cls, words: Mapping[str, Any]) -> Behaviour:
        """Read the words of a case file (golden README, "behaviour"); ValueError names unknown ones."""
        known = dict(words)
        size = known.pop("body_size", None)
        if size is not None:
            known["body"] = "x" * int(size)
        unknown = known.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown words in a behaviour: {', '.join(sorted(unknown))}")
        for name in ("headers", "trailers"):
            if name in known:
                known[name] = tuple((str(key), str(value)) for key, value in known[name])
        for name in ("body", "raw"):
            if known.get(name) is not None:
                known[name] = to_bytes(known[name])
        if "chunks" in known:
            known["chunks"] = tuple(to_bytes(chunk) for chunk in known["chunks"])
        interim = known.get("interim", ())
        known["interim"] = tuple(interim) if isinstance(interim, (list, tuple)) else (int(interim),)
        known["http"] = str(known.get("http", "1.1")).removeprefix("HTTP/")
        return cls(**known)


def to_bytes(text: str | bytes) -> bytes:
    """Bytes of a string of a case file: latin-1, or UTF-8 when it holds more."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def render_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Header lines and the empty line that ends them."""
    return b"".join(to_bytes(f"{name}: {value}\r\n") for name, value in headers) + b"\r\n"


async def answer(wire: Wire, behaviour: Behaviour, name: str, request: Head) -> bool:
    """Answer a request that has been read; True when the connection may carry another request.

    The caller has handled ``hang``, ``raw``, ``upgrade`` and endings before the headers.
    """
    for status in behaviour.interim:
        await wire.send(f"HTTP/1.1 {status} Interim\r\nlink: </a.css>\r\n\r\n".encode())
    body = to_bytes(name) if behaviour.body is None else behaviour.body
    head, pieces = _response(behaviour, body, request.start_line.startswith("HEAD "))
    moment = "close" if behaviour.close == "mid_body" else "reset" if behaviour.reset == "mid_body" else None
    if moment is not None:
        await wire.send(head + b"".join(pieces)[: _mid_body(pieces, behaviour)])
        if moment == "reset":
            await wire.until_read()  # a reset overtakes what the peer has not read yet
            wire.reset()
        return False
    await wire.send(head + (pieces[0] if pieces and not behaviour.chunk_delay_ms else b""))
    for piece in pieces[0 if behaviour.chunk_delay_ms else 1 :]:
        await asyncio.sleep(behaviour.chunk_delay_ms / 1000)
        if not await wire.send(piece):
            return False
    return not (
        behaviour.until_close or behaviour.then == "close" or request.has_token("connection", "close")
    )


def _mid_body(pieces: Sequence[bytes], behaviour: Behaviour) -> int:
    framing = pieces[0].index(b"\r\n") + 2 if pieces and _is_chunked(behaviour) else 0
    return framing + MID_BODY_BYTES


def _is_chunked(behaviour: Behaviour) -> bool:
    return bool(behaviour.chunked or behaviour.chunks or behaviour.trailers)


def _response(behaviour: Behaviour, body: bytes, to_head: bool) -> tuple[bytes, list[bytes]]:
    """Status line with headers, and the pieces of the body as they go on the wire."""
    own = {name.lower() for name, _ in behaviour.headers}
    headers: Headers = []
    bodyless = behaviour.status in (204, 304)
    if not behaviour.bare and not bodyless and "content-type" not in own:
        headers.append(("content-type", "text/plain"))
    pieces = [body]
    if behaviour.headers_only or bodyless:
        pieces = []
        if not bodyless:
            headers.append(("content-length", "0"))
    elif behaviour.until_close:
        pass
    elif _is_chunked(behaviour):
        headers.append(("transfer-encoding", "chunked"))
        pieces = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in behaviour.chunks or (body,) if chunk]
        pieces.append(b"0\r\n" + render_headers(behaviour.trailers))
    elif "content-length" not in own:
        headers.append(("content-length", str(len(body))))
    headers.extend(behaviour.headers)
    line = f"HTTP/{behaviour.http} {behaviour.status} {behaviour.reason}\r\n"
    return to_bytes(line) + render_headers(headers), [] if to_head else pieces
