"""How a supervisor and its workers talk: requests with one answer, requests with many rows, and plain words.

Both ends are alike. Each message is one packet of a socket pair, JSON and no pickle (hardening 9.15), with descriptors
beside it where a message is about some. What does not fit into a packet travels as an anonymous file whose descriptor
is sent. Rows are asked for by the handful, so that a slow reader makes the other side wait and no queue grow.

The other side's end is the end of the channel: nobody reconnects.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import socket
from array import array
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from random import getrandbits
from time import perf_counter
from typing import Any, Final

import msgspec

_log = logging.getLogger("gatewayd.runtime")

#: Is given the arguments, and descriptors, which are its own to close. A plain function answers at once.
Handler = Callable[[dict[str, Any], list[int]], Awaitable[Any] | AsyncIterator[Any] | Any]

#: Longer messages go as files.
_INLINE_BYTES: Final = 32 * 1024
_PACKET_BYTES: Final = 64 * 1024
_BESIDE_BYTES: Final = socket.CMSG_SPACE(256 * array("i").itemsize)
_ELSEWHERE: Final = b"@"
#: Descriptors of one message; the kernel takes 253.
MAX_FDS: Final = 240
#: Rows wait for others to go with them until they are so many bytes, or for so long.
_ROWS_BYTES: Final = 16 * 1024
_ROWS_WAIT_S: Final = 0.005
#: Packets of rows that may be under way.
_CREDIT: Final = 4
#: Making rows holds the loop for so long at most.
_SLICE_S: Final = 0.001
#: Packets read in one turn of the loop.
_BURST: Final = 16
ANSWER_S: Final = 5.0


class ChannelError(Exception):
    """The other side could not do what it was asked, or did not answer in time; the text says why."""


class ChannelClosed(ChannelError):
    """The other side is gone."""


def make_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel that is to be."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


class Channel:
    """One end. ``handlers`` answer what the other side asks; ``on_closed()`` is called when that is gone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        handlers: Mapping[str, Handler],
        on_closed: Callable[[], Any] = lambda: None,
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._handlers = handlers
        self._on_closed = on_closed
        self.closed = False
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        #: what we asked for, by number; anywhere to begin: a program that takes over has other numbers
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, asyncio.Queue[Any]] = {}
        self._number = getrandbits(40)
        #: what we were asked for, by the other side's number
        self._working: dict[int, asyncio.Task[None]] = {}
        self._rows: dict[int, _Rows] = {}
        loop.add_reader(sock, self._on_readable)

    def fileno(self) -> int:
        """The descriptor of this end."""
        return self._socket.fileno()

    # Asking

    async def ask(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        fds: Sequence[int] = (),
        timeout_s: float | None = ANSWER_S,
    ) -> Any:
        """The answer to a request; raises :class:`ChannelError`. ``fds`` are copied, and stay the caller's."""
        number = self._next_number()
        answer = self._answers[number] = self._loop.create_future()
        self._send({"ask": number, "name": name, "arguments": arguments or {}}, fds)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise ChannelError(f"no answer to {name!r} within {timeout_s:g} s") from None
        finally:
            if self._answers.pop(number, None) is not None:  # nobody waits any more
                self._send({"cancel": number})

    async def rows(self, name: str, arguments: Mapping[str, Any] | None = None) -> AsyncIterator[Any]:
        """The rows of an answer as they come; leaving the loop over them tells the other side to stop."""
        number = self._next_number()
        stream = self._streams[number] = asyncio.Queue()
        self._send({"ask": number, "name": name, "arguments": arguments or {}})
        ended = False
        try:
            while True:
                message = await stream.get()
                if "rows" not in message:
                    ended = True
                    if "error" in message:
                        raise message["error"]
                    if message.get("answer") is not None:
                        yield message["answer"]
                    return
                for row in message["rows"]:
                    yield row
                self._send({"more": number})
        finally:
            del self._streams[number]
            if not ended:
                self._send({"cancel": number})

    def tell(self, name: str, arguments: Mapping[str, Any] | None = None, fds: Sequence[int] = ()) -> None:
        """Say something that nobody answers; nothing happens if the other side is gone."""
        with contextlib.suppress(ChannelClosed):
            self._send({"tell": name, "arguments": arguments or {}}, fds)

    async def flushed(self, limit_s: float) -> None:
        """Wait until the kernel has everything that was said, for at most ``limit_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._outbox and not self.closed:  # noqa: ASYNC110, the kernel decides
                    await asyncio.sleep(0.002)

    def hear_out(self) -> None:
        """The other side has ended: take what it said before that."""
        while not self.closed:
            try:
                data, fds = _receive(self._socket)
            except OSError:
                return
            if not data:
                return
            self._hear(data, fds)

    def close(self) -> None:
        """Nothing is said or heard any more. ``on_closed`` is not called."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket)
        if self._outbox:
            self._loop.remove_writer(self._socket)
        for _, fds in self._outbox:
            _close_all(fds)
        self._outbox.clear()
        self._socket.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ChannelClosed("the other process is gone"))
                answer.exception()  # whoever asked may not be there any more
        for stream in self._streams.values():
            stream.put_nowait({"error": ChannelClosed("the other process is gone")})
        for task in list(self._working.values()):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until nobody here works on an answer any more, after :meth:`close`."""
        if self._working:
            await asyncio.wait(list(self._working.values()))

    def _next_number(self) -> int:
        if self.closed:
            raise ChannelClosed("the other process is gone")
        self._number += 1
        return self._number

    # Sending

    def _send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        if self.closed:
            return
        data = msgspec.json.encode(message)
        own: list[int] = []
        if len(data) > _INLINE_BYTES:
            own.append(_file_of(data))
            data = _ELSEWHERE
        try:
            if not self._outbox and self._send_now(data, [*own, *fds]):
                return
            self._outbox.append((data, [os.dup(fd) for fd in (*own, *fds)]))
            if len(self._outbox) == 1:
                self._loop.add_writer(self._socket, self._on_writable)
        finally:
            _close_all(own)

    def _send_now(self, data: bytes, fds: list[int]) -> bool:
        """Whether it is out, or never will be."""
        try:
            socket.send_fds(self._socket, [data], fds)
        except BlockingIOError:
            return False
        except OSError:
            # The reading side hears of the end, after what was sent before it.
            return True
        return True

    def _on_writable(self) -> None:
        while self._outbox:
            data, fds = self._outbox[0]
            if not self._send_now(data, fds):
                return
            _close_all(fds)
            self._outbox.popleft()
        self._loop.remove_writer(self._socket)

    # Hearing

    def _on_readable(self) -> None:
        for _ in range(_BURST):
            if self.closed:
                return
            try:
                data, fds = _receive(self._socket)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.close()
                self._on_closed()
                return
            self._hear(data, fds)

    def _hear(self, data: bytes, fds: list[int]) -> None:
        if data == _ELSEWHERE:
            data = _content(fds.pop(0))
        self._take(msgspec.json.decode(data), fds)

    def _take(self, message: dict[str, Any], fds: list[int]) -> None:
        if "tell" in message:
            self._start(None, message["tell"], message["arguments"], fds)
        elif "ask" in message:
            self._start(message["ask"], message["name"], message["arguments"], fds)
        elif "end" in message:
            self._ended(message["end"], message)
        elif "rows" in message:
            stream = self._streams.get(message["of"])
            if stream is not None:
                stream.put_nowait(message)
        elif "more" in message:
            rows = self._rows.get(message["more"])
            if rows is not None:
                rows.credit.release()
        elif "cancel" in message:
            task = self._working.get(message["cancel"])
            if task is not None:
                task.cancel()

    def _ended(self, number: int, message: dict[str, Any]) -> None:
        if "error" in message:
            message["error"] = ChannelError(message["error"])
        stream = self._streams.get(number)
        if stream is not None:
            stream.put_nowait(message)
        answer = self._answers.pop(number, None)
        if answer is not None and not answer.done():
            if "error" in message:
                answer.set_exception(message["error"])
            else:
                answer.set_result(message.get("answer"))

    # Answering

    def _start(self, number: int | None, name: str, arguments: dict[str, Any], fds: list[int]) -> None:
        handler = self._handlers.get(name)
        if handler is None:
            _close_all(fds)
            self._end(number, name, {"error": f"nobody here knows {name!r}"})
            return
        try:
            made = handler(arguments, fds)
        except Exception as error:
            self._end(number, name, _failure(name, error))
            return
        if not inspect.isawaitable(made) and not hasattr(made, "__anext__"):
            self._end(number, name, {"answer": made})
            return
        task = self._loop.create_task(self._answer(number, name, made))
        key = number if number is not None else -id(task)
        self._working[key] = task
        task.add_done_callback(lambda _: self._working.pop(key, None))

    async def _answer(self, number: int | None, name: str, made: Any) -> None:
        end: dict[str, Any] = {}
        try:
            if inspect.isawaitable(made):
                end["answer"] = await made
            elif number is not None:
                await self._send_rows(number, made)
        except asyncio.CancelledError:
            end["error"] = "cancelled"
        except Exception as error:
            end |= _failure(name, error)
        self._end(number, name, end)

    def _end(self, number: int | None, name: str, end: dict[str, Any]) -> None:
        """Say what came of a request; of a word only that it failed, and only here."""
        if number is not None:
            self._send({"end": number, **end})
        elif "error" in end:
            _log.warning("%r was not done: %s", name, end["error"])

    async def _send_rows(self, number: int, made: AsyncIterator[Any]) -> None:
        rows = self._rows[number] = _Rows(self._loop, lambda texts: self._send({"of": number, "rows": texts}))
        until = perf_counter() + _SLICE_S
        try:
            async with contextlib.aclosing(made):  # type: ignore[type-var]  # every async generator has aclose
                async for row in made:
                    await rows.add(row)
                    if perf_counter() >= until:
                        await asyncio.sleep(_SLICE_S)
                        until = perf_counter() + _SLICE_S
        finally:
            rows.flush()
            del self._rows[number]


class _Rows:
    """The rows of one answer on their way: several to a packet, and few packets at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[list[msgspec.Raw]], None]) -> None:
        self._loop = loop
        self._send = send
        self.credit = asyncio.Semaphore(_CREDIT)
        self._texts: list[msgspec.Raw] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    async def add(self, row: Any) -> None:
        """One more."""
        if not self._texts:
            await self.credit.acquire()
            self._timer = self._loop.call_later(_ROWS_WAIT_S, self.flush)
        text = msgspec.json.encode(row)
        self._texts.append(msgspec.Raw(text))
        self._size += len(text)
        if self._size >= _ROWS_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._texts:
            self._send(self._texts)
            self._texts, self._size = [], 0


def _failure(name: str, error: Exception) -> dict[str, Any]:
    """What to say of a handler that has failed."""
    if isinstance(error, ChannelError):
        return {"error": str(error)}
    _log.error("%r could not be done", name, exc_info=error)
    return {"error": f"{type(error).__name__}: {error}"}


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet. (``socket.recv_fds`` would let the descriptors be inherited.)"""
    data, beside, _, _ = sock.recvmsg(_PACKET_BYTES, _BESIDE_BYTES, socket.MSG_CMSG_CLOEXEC)
    fds = array("i")
    for level, kind, content in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, fds.tolist()


def _file_of(data: bytes) -> int:
    """An anonymous file that holds ``data``."""
    fd = os.memfd_create("gatewayd-message", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd


def _content(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
