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


class Streams:
    """The listeners of one admin server."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.open = 0

    def answer(self, stream: str, arguments: Mapping[str, Any]) -> Answer:
        """A stream that begins now. Raises :class:`Rejected`."""
        if self.open >= MAX_STREAMS:
            raise Rejected(503, f"{MAX_STREAMS} streams are open already; close one of them")
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE)
        dropped = 0

        def put(row: dict[str, Any]) -> None:
            nonlocal dropped
            if queue.full():
                dropped += 1
            else:
                queue.put_nowait(row)

        def lost() -> int:
            nonlocal dropped
            count, dropped = dropped, 0
            return count

        try:
            leave = self._state.listen(stream, arguments, put)
        except ValueError as error:
            raise Rejected(400, str(error)) from None
        self.open += 1

        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b": listening\n\n"
                while True:
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            row = await queue.get()
                    except TimeoutError:
                        yield b": alive\n\n"
                        continue
                    yield _event(row)
                    count = lost()
                    if count:
                        yield _event({"dropped": count})
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
