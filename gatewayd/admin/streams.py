"""Streams as server-sent events: a bounded queue for each listener, what does not fit is counted, never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gatewayd.admin.messages import EVENTS, Answer, Rejected, encode
from gatewayd.admin.state import State

#: Listeners at a time.
MAX_STREAMS: Final = 16
#: Rows that wait for a listener who is slow.
_QUEUE: Final = 1000
#: So often a listener hears that the connection is alive.
HEARTBEAT_S: Final = 15.0


class Backlog:
    """Rows on their way to a listener who may be slow; what does not fit is counted."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE)
        self._dropped = 0

    def put(self, row: dict[str, Any]) -> None:
        """One more."""
        if self._queue.full():
            self._dropped += 1
        else:
            self._queue.put_nowait(row)

    async def get(self) -> list[dict[str, Any]]:
        """The next one, and behind it ``{"dropped": n}`` if any were."""
        row = await self._queue.get()
        count, self._dropped = self._dropped, 0
        return [row, {"dropped": count}] if count else [row]


class Streams:
    """The listeners of one admin server."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.open = 0

    def answer(self, stream: str, arguments: Mapping[str, Any]) -> Answer:
        """A stream that begins now. Raises :class:`Rejected`."""
        if self.open >= MAX_STREAMS:
            raise Rejected(503, f"{MAX_STREAMS} streams are open already; close one of them")
        backlog = Backlog()
        try:
            leave = self._state.listen(stream, arguments, backlog.put)
        except ValueError as error:
            raise Rejected(400, str(error)) from None
        self.open += 1

        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b": listening\n\n"
                while True:
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            rows = await backlog.get()
                    except TimeoutError:
                        yield b": alive\n\n"
                        continue
                    yield b"".join(map(_event, rows))
            finally:
                leave()
                self.open -= 1

        return Answer(200, content_type=EVENTS, pieces=pieces(), stream=True)


def _event(row: Mapping[str, Any]) -> bytes:
    """``id`` and ``kind`` of an event become the stream's own fields; JSON has no line breaks."""
    lines = []
    if "id" in row:
        lines.append(b"id: %d\n" % row["id"])
    if "kind" in row:
        lines.append(b"event: %b\n" % str(row["kind"]).encode())
    elif "dropped" in row:
        lines.append(b"event: dropped\n")
    return b"".join([*lines, b"data: ", encode(row), b"\n\n"])
