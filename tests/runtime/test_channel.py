"""The channel between a supervisor and its workers: requests, rows, descriptors, ends."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gatewayd.runtime import channel as channels
from gatewayd.runtime.channel import Channel, ChannelClosed, ChannelError, Handler, make_pair
from tests.runtime.running import LIMIT_S

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


@asynccontextmanager
async def pair(
    handlers: Mapping[str, Handler], on_closed: Callable[[], Any] = lambda: None
) -> AsyncIterator[tuple[Channel, Channel]]:
    """An end to ask with, and one that answers with ``handlers``."""
    loop = asyncio.get_running_loop()
    ours, theirs = make_pair()
    asking, answering = Channel(loop, ours, {}, on_closed), Channel(loop, theirs, handlers)
    try:
        async with asyncio.timeout(LIMIT_S):
            yield asking, answering
    finally:
        asking.close()
        answering.close()


async def double(arguments: dict[str, Any], fds: list[int]) -> Any:
    return {"twice": arguments["text"] * 2}


async def test_a_request_has_its_answer_whatever_the_size() -> None:
    async with pair({"double": double}) as (asking, _):
        for text in ("a", "b" * 100_000, "c" * 3_000_000):
            assert await asking.ask("double", {"text": text}) == {"twice": text * 2}


async def test_many_requests_at_once_have_each_their_own() -> None:
    async def later(arguments: dict[str, Any], fds: list[int]) -> Any:
        await asyncio.sleep(0.001 * (arguments["number"] % 3))
        return arguments["number"]

    async with pair({"later": later}) as (asking, _):
        answers = await asyncio.gather(*(asking.ask("later", {"number": n}) for n in range(500)))
        assert answers == list(range(500))


async def test_what_fails_there_is_said_here(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(arguments: dict[str, Any], fds: list[int]) -> Any:
        raise ChannelError("no such thing") if arguments else ValueError("odd")

    async with pair({"fail": fail}) as (asking, _):
        with pytest.raises(ChannelError, match="no such thing"):
            await asking.ask("fail", {"a": 1})
        with pytest.raises(ChannelError, match="ValueError: odd"):
            await asking.ask("fail")
        with pytest.raises(ChannelError, match="nobody here knows 'other'"):
            await asking.ask("other")
    assert "'fail' could not be done" in caplog.text


async def test_an_answer_that_does_not_come_is_not_waited_for_and_its_making_ends() -> None:
    ended = asyncio.Event()

    async def never(arguments: dict[str, Any], fds: list[int]) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with pair({"never": never}) as (asking, _):
        with pytest.raises(ChannelError, match=r"no answer to 'never' within 0\.01 s"):
            await asking.ask("never", timeout_s=0.01)
        await ended.wait()


async def test_descriptors_go_with_a_request() -> None:
    async def bound(arguments: dict[str, Any], fds: list[int]) -> Any:
        with socket.socket(fileno=fds[0]) as first:
            os.close(fds[1])
            return [first.getsockname()[1], len(fds), os.get_inheritable(first.fileno())]

    async with pair({"bound": bound}) as (asking, _):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            for text in ("", "long" * 50_000):
                found = await asking.ask("bound", {"text": text}, [sock.fileno(), 0])
                assert found == [sock.getsockname()[1], 2, False]
            assert sock.fileno() >= 0, "ours stays ours"


async def test_rows_come_in_order_and_a_slow_reader_is_waited_for() -> None:
    made = 0

    async def count(arguments: dict[str, Any], fds: list[int]) -> AsyncIterator[Any]:
        nonlocal made
        for made in range(arguments["upto"]):
            yield {"number": made, "text": "x" * 1000}

    async with pair({"count": count}) as (asking, _):
        rows = asking.rows("count", {"upto": 5000})
        first = await anext(rows)
        assert first["number"] == 0
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert made < 500, "packets wait until somebody takes them"
        assert [row["number"] async for row in rows] == list(range(1, 5000))


async def test_a_row_does_not_wait_for_others_that_do_not_come() -> None:
    async def one(arguments: dict[str, Any], fds: list[int]) -> AsyncIterator[Any]:
        yield 1
        await asyncio.Event().wait()

    async with pair({"one": one}) as (asking, _):
        async for row in asking.rows("one"):
            assert row == 1
            break


async def test_who_stops_reading_rows_ends_their_making() -> None:
    ended = asyncio.Event()

    async def endless(arguments: dict[str, Any], fds: list[int]) -> AsyncIterator[Any]:
        try:
            while True:
                yield "x" * 5000
        finally:
            ended.set()

    async with pair({"endless": endless}) as (asking, _):
        rows = asking.rows("endless")
        await anext(rows)
        await rows.aclose()  # type: ignore[attr-defined]
        await ended.wait()


async def test_an_error_after_some_rows_is_raised_after_them() -> None:
    async def broken(arguments: dict[str, Any], fds: list[int]) -> AsyncIterator[Any]:
        yield 1
        raise ChannelError("that was all")

    async with pair({"broken": broken}) as (asking, _):
        rows = asking.rows("broken")
        assert await anext(rows) == 1
        with pytest.raises(ChannelError, match="that was all"):
            await anext(rows)


async def test_words_need_no_answer_and_come_in_order() -> None:
    heard: list[int] = []
    done = asyncio.Event()

    async def note(arguments: dict[str, Any], fds: list[int]) -> None:
        heard.append(arguments["number"])
        if arguments["number"] == 2999:
            done.set()

    async with pair({"note": note}) as (asking, _):
        for number in range(3000):  # more than the socket takes at once
            asking.tell("note", {"number": number, "text": "x" * 500})
        await done.wait()
    assert heard == list(range(3000))


async def test_the_end_of_one_side_is_heard_by_the_other() -> None:
    gone = asyncio.Event()

    async def never(arguments: dict[str, Any], fds: list[int]) -> Any:
        await asyncio.Event().wait()

    async with pair({"never": never}, gone.set) as (asking, answering):
        question = asyncio.ensure_future(asking.ask("never"))
        rows = asyncio.ensure_future(anext(asking.rows("never")))
        await asyncio.sleep(0)
        answering.close()
        await gone.wait()
        for waiting in (question, rows):
            with pytest.raises(ChannelClosed):
                await waiting
        with pytest.raises(ChannelClosed):
            await asking.ask("never")
        asking.tell("anything")


async def test_no_descriptor_is_left_over() -> None:
    async def close(arguments: dict[str, Any], fds: list[int]) -> Any:
        for fd in fds:
            os.close(fd)

    before = len(os.listdir("/proc/self/fd"))
    async with pair({"close": close}) as (asking, _):
        for _ in range(300):
            asking.tell("close", {"text": "x" * channels._INLINE_BYTES}, [0, 1])
        await asking.ask("close", fds=[0])
    assert len(os.listdir("/proc/self/fd")) == before
