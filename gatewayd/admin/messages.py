"""What comes to and goes from an operator's port: requests, read strictly, and answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

_LINE: Final = re.compile(rb"([A-Z]{1,20}) (/[!-~]{0,4095}) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``path`` without query and percent signs resolved, header names in lower case."""

    method: str
    path: str
    #: a parameter without value, ``?usedonly``, is ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: it came by a UNIX socket
    local: bool = False
    http10: bool = False

    def flag(self, name: str) -> bool:
        """Whether ``?name`` is there, and not ``name=0``, ``n``, ``no`` or ``false``."""
        return self.query.get(name, "no").lower() not in ("0", "n", "no", "false")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: ``body``, or ``pieces`` made one after the other, perhaps without end (``stream``)."""

    status: int
    body: str | bytes = b""
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Iterator[bytes] | AsyncIterator[bytes] | None = None
    stream: bool = False


class Rejected(Exception):
    """A request that is answered with this and nothing else."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.answer = Answer(status, text if text.endswith("\n") else text + "\n", headers=headers)


def read_head(head: bytes, *, local: bool = False) -> tuple[Request, int]:
    """The request whose head is ``head``, up to and without its empty line, and the length of its body.

    Raises :class:`Rejected` for anything that is not a plain HTTP/1 head.
    """
    lines = head.split(b"\r\n")
    line = _LINE.fullmatch(lines[0])
    if line is None:
        raise Rejected(400, "bad request")
    headers: dict[str, str] = {}
    for text in lines[1:]:
        found = _FIELD.fullmatch(text)
        if found is None:
            raise Rejected(400, "bad request: a header line cannot be read")
        name, value = found[1].decode().lower(), found[2].decode("latin-1").strip(" \t")
        if name in headers and name in ("host", "content-length", "origin"):
            raise Rejected(400, f"bad request: {name} is there twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "transfer-encoding" in headers:
        raise Rejected(411, "a body needs a content-length")
    length = headers.get("content-length", "0").encode("latin-1")
    if not _LENGTH.fullmatch(length):
        raise Rejected(400, "bad request: content-length is not a number")
    path, _, query = line[2].decode().partition("?")
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace")
    return (
        Request(
            method=line[1].decode(),
            path=unquote(path, errors="replace"),
            query=dict(pairs),
            headers=headers,
            local=local,
            http10=line[3] == b"0",
        ),
        int(length),
    )


def head_of(answer: Answer, *, length: int | None, close: bool) -> bytes:
    """Status line and fields; without ``length`` the body comes in chunks."""
    phrase = HTTPStatus(answer.status).phrase
    lines = [f"HTTP/1.1 {answer.status} {phrase}", f"content-type: {answer.content_type}"]
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    lines += ["cache-control: no-store", "x-content-type-options: nosniff", "x-frame-options: DENY"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if close:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def encode(value: Any) -> bytes:
    """``value`` as compact JSON. What it may hold is plain data; anything else is shown as text."""
    return msgspec.json.encode(value, enc_hook=str)


def pretty(value: Any) -> bytes:
    """``value`` as JSON to be read, with a newline at its end."""
    return msgspec.json.format(encode(value), indent=1) + b"\n"


def json_answer(value: Any, status: int = 200) -> Answer:
    """``value`` as JSON."""
    return Answer(status, pretty(value), JSON)


async def json_list(
    items: AsyncIterator[Any], before: bytes = b'{\n "', name: str = "items", after: bytes = b"\n]}\n"
) -> AsyncIterator[bytes]:
    """``{"name": [...]}`` item by item, each on a line of its own."""
    yield before + name.encode() + b'": ['
    mark = b"\n"
    async for item in items:
        yield mark + encode(item)
        mark = b",\n"
    yield after


def only(request: Request, known: Iterable[str]) -> None:
    """Raise :class:`Rejected` for a parameter that is not ``known``: a typing error must not be overlooked."""
    names = list(known)
    for name in request.query:
        if name not in names:
            expected = ", ".join(names) if names else "none"
            raise Rejected(400, f"unknown parameter {name!r}: {request.path} knows {expected}")


def choice(request: Request, name: str, known: Iterable[str], default: str) -> str:
    """The value of parameter ``name``, one of ``known``."""
    value = request.query.get(name, default)
    names = list(known)
    if value not in names:
        raise Rejected(400, f"{name}={value}: expected one of {', '.join(names)}")
    return value


def whole_number(request: Request, name: str, default: int, lowest: int, highest: int) -> int:
    """The value of parameter ``name`` as a number."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest):
        raise Rejected(400, f"{name}={text}: expected a number from {lowest} to {highest}")
    return int(text)
