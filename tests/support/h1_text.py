"""HTTP/1 messages as they came over a wire: nothing repaired, nothing lower-cased, nothing dropped."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.wire import Ending, Wire

Headers = list[tuple[str, str]]


class Truncated(Exception):
    """The peer stopped inside a message; ``ending`` says how ("timeout": it fell silent)."""

    def __init__(self, ending: str) -> None:
        super().__init__(ending)
        self.ending = ending


@dataclass
class Head:
    """Start line and headers of one message; text is latin-1, so every byte has a character."""

    start_line: str
    headers: Headers
    raw: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header, names compared without case."""
        return [value for key, value in self.headers if key.lower() == name]

    def has_token(self, name: str, token: str) -> bool:
        """Whether a comma-separated header holds ``token``, case aside."""
        return any(token == part.strip().lower() for value in self.values(name) for part in value.split(","))

    @property
    def content_length(self) -> int | None:
        """The declared length in bytes; None when absent or not a number."""
        values = self.values("content-length")
        return int(values[0]) if values and values[0].isdigit() else None

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.has_token("transfer-encoding", "chunked")


@dataclass
class Body:
    """What came after a head. ``truncated`` is None for a whole body, else how it broke off."""

    data: bytearray = field(default_factory=bytearray)
    trailers: Headers = field(default_factory=list)
    truncated: str | None = None


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip(" \t")


async def read_head(wire: Wire, timeout_s: float | None = None) -> Head | None:
    """The next head; None when the wire ended, or stayed silent for the time, before its first byte.

    Raises Truncated when it stopped inside the head.
    """
    while (end := wire.buffer.find(b"\r\n\r\n")) < 0:
        if not await wire.wait_more(timeout_s):
            if not wire.buffer:
                return None
            raise Truncated(_ending(wire))
    raw = wire.take(end + 4)
    lines = raw[:-4].decode("latin-1").split("\r\n")
    return Head(lines[0], [_pair(line) for line in lines[1:]], raw)


async def read_sized(wire: Wire, body: Body, size: int | None, timeout_s: float | None = None) -> None:
    """Read ``size`` bytes into ``body``, or to the end of the connection when None."""
    left = size
    while left is None or left > 0:
        if not wire.buffer and not await wire.wait_more(timeout_s):
            if size is not None or wire.ending != "closed":
                body.truncated = _ending(wire)
            return
        piece = wire.take(len(wire.buffer) if left is None else left)
        body.data += piece
        if left is not None:
            left -= len(piece)


async def read_chunked(wire: Wire, body: Body, timeout_s: float | None = None) -> None:
    """Read chunks and trailers into ``body``; a malformed size line counts as truncation ("garbage")."""
    try:
        while True:
            line = await _read_line(wire, timeout_s)
            size = int(line.split(";")[0].strip(), 16)
            if size == 0:
                break
            part = Body()
            await read_sized(wire, part, size + 2, timeout_s)
            body.data += part.data[:size]
            if part.truncated:
                raise Truncated(part.truncated)
        while line := await _read_line(wire, timeout_s):
            body.trailers.append(_pair(line))
    except Truncated as stop:
        body.truncated = stop.ending
    except ValueError:
        body.truncated = "garbage"


async def _read_line(wire: Wire, timeout_s: float | None) -> str:
    while (end := wire.buffer.find(b"\r\n")) < 0:
        if not await wire.wait_more(timeout_s):
            raise Truncated(_ending(wire))
    return wire.take(end + 2)[:-2].decode("latin-1")


def _ending(wire: Wire) -> str | Ending:
    return wire.ending or "timeout"
