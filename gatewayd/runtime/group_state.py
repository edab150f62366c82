"""What a service with several workers says of itself: each is asked over its channel, and the answers become one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from gatewayd.admin.merging import ASK_ONE, PASSED, Addends, merge
from gatewayd.admin.state import Put
from gatewayd.admin.status import Readiness
from gatewayd.observe import exposition
from gatewayd.observe.events import Events
from gatewayd.observe.exposition import COUNTER, GAUGE, Family
from gatewayd.observe.tap import Allowance, Filter
from gatewayd.runtime.channel import ChannelError
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.crew import Child, Crew
from gatewayd.runtime.departed import Departed
from gatewayd.runtime.history import History
from gatewayd.runtime.measures.configuration import configuration_families
from gatewayd.runtime.measures.process import process_families
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.views.configuration import configuration_rows, finding_rows
from gatewayd.runtime.views.dump import dump_about
from gatewayd.runtime.views.process import supervisor_row

#: A worker that takes longer is left out of an answer.
_ANSWER_S: Final = 10.0
#: Workers see the same (an ejection, a certificate): within so long it is told once.
_SAME_S: Final = 3.0
#: Of the supervisor's own numbers those that are the workers'.
_NOT_OWN: Final = frozenset({"envoy_server_concurrency", "gatewayd_loop_lag_seconds"})


class _Tap:
    """One who watches requests. Each worker holds itself to the limit, and all of them together are held to it."""

    def __init__(self, wanted: Mapping[str, Any], put: Put) -> None:
        """Raises ValueError if nobody can be asked for what is ``wanted``."""
        self.wanted = wanted
        self.tasks: list[asyncio.Task[None]] = []
        self._put = put
        self._allowance = Allowance(Filter(wanted).limit, put)

    def take(self, worker: int, row: dict[str, Any]) -> None:
        """A row of a worker."""
        self._allowance.look()
        if "dropped" in row:
            self._put(row)
        elif self._allowance.take():
            self._put({**row, "worker": worker})


class GroupState:
    """A :class:`gatewayd.admin.state.State` of all workers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        reader: ConfigurationReader,
        history: History,
        readiness: Readiness,
        crew: Crew,
        events: Events,
        state: Callable[[], str],
        counted: Sequence[Any] = (),
    ) -> None:
        """``state()``: that of the supervisor; ``counted``: by the workers of the program before."""
        self._state = state
        self._loop = loop
        self._options = options
        self._reader = reader
        self._history = history
        self._readiness = readiness
        self._crew = crew
        self._events = events
        self.departed = Departed(counted)
        self._told: deque[tuple[float, str]] = deque(maxlen=64)
        self._listening: set[asyncio.Task[None]] = set()
        #: who watches requests: those of every worker, also of one that comes later
        self._taps: list[_Tap] = []
        crew.on_ready = self._joined
        crew.on_farewell = self.departed.note
        crew.on_exit = self.departed.left

    async def rows(self, topic: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """See :class:`gatewayd.admin.state.State`."""
        own = getattr(self, f"_{topic}", None)
        if own is not None:
            for row in own():
                yield row
        elif topic in ASK_ONE:
            async for row in self._of_one(topic, arguments):
                yield row
        elif topic in PASSED:
            addends = await self._addends(topic, arguments)
            async for row in self._of_one(topic, arguments):
                yield addends.added(row)
        else:
            # Those that leave are not asked how the service is, but what they have counted belongs to it.
            asked = self._crew.counting if topic == "metrics" else self._crew.ready
            answers = await self._of_all(asked, topic, arguments)
            for row in self._merged(topic, answers):
                yield row

    async def _of_one(self, topic: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The rows of one worker, passed on as they come; of the next one if it dies before the first."""
        if topic == "dump":
            arguments = {**arguments, "about": dump_about(self._history)}
        for child in self._crew.ready:
            begun = False
            try:
                async for row in child.channel.rows("state", {"topic": topic, "arguments": dict(arguments)}):
                    begun = True
                    yield row
                return
            except ChannelError:
                if begun:
                    raise

    async def _addends(self, topic: str, arguments: Mapping[str, Any]) -> Addends:
        """What all but the first worker have, for its rows."""
        addends = Addends(topic)
        asked = {"topic": topic, "arguments": dict(arguments)}

        async def one(child: Child) -> None:
            with suppress(ChannelError, TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    async for row in child.channel.rows("state", asked):
                        addends.note(row)

        await asyncio.gather(*map(one, self._crew.ready[1:]))
        return addends

    async def _of_all(
        self, children: Iterable[Child], topic: str, arguments: Mapping[str, Any]
    ) -> dict[int, list[Any]]:
        """The rows of each of ``children``, by process; none of one that does not answer."""
        asked = {"topic": topic, "arguments": dict(arguments)}

        async def one(child: Child) -> tuple[int, list[Any]]:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    return child.pid, [row async for row in child.channel.rows("state", asked)]
            except (ChannelError, TimeoutError):
                return child.pid, []

        return dict(await asyncio.gather(*map(one, children)))

    def _merged(self, topic: str, answers: dict[int, list[Any]]) -> list[Any]:
        if topic == "process":
            return [supervisor_row(self._state(), self._readiness), *merge(topic, list(answers.values()))]
        if topic != "metrics":
            return merge(topic, list(answers.values()))
        # Who has gone since it answered is among those that are gone, with its last words.
        answers = {pid: rows for pid, rows in answers.items() if pid in self._crew.children}
        for pid, rows in answers.items():
            if rows:
                self.departed.note(pid, rows)
            else:
                answers[pid] = self.departed.last(pid)
        own = [row for row in exposition.rows(self._families()) if row is not None]
        return merge(topic, [*answers.values(), self.departed.rows(), own])

    # What the supervisor knows best

    def _configuration(self) -> Iterator[Any]:
        return configuration_rows(self._options, self._reader, self._history)

    def _findings(self) -> Iterator[Any]:
        return finding_rows(self._reader, self._history)

    def _reloads(self) -> Iterator[Any]:
        return iter(self._history.rows())

    def _families(self) -> Iterator[Family]:
        yield from (each for each in process_families(0.0) if each.name not in _NOT_OWN)
        yield from configuration_families(self._reader, self._history)
        crew = self._crew
        yield Family("gatewayd_workers", GAUGE, "Workers that serve.", [("", len(crew.ready))])
        yield Family(
            "gatewayd_worker_deaths_total",
            COUNTER,
            "Workers that died without being told to.",
            [("", crew.deaths)],
        )

    # Streams

    def listen(self, stream: str, arguments: Mapping[str, Any], put: Put) -> Callable[[], None]:
        """See :class:`gatewayd.admin.state.State`; raises ValueError, in words for the user."""
        if stream == "events":
            return self._events.listen(put, arguments.get("after"))
        tap = _Tap(arguments, put)
        self._taps.append(tap)
        for child in self._crew.ready:
            self._tap(child, tap)

        def leave() -> None:
            self._taps.remove(tap)
            for task in tap.tasks:
                task.cancel()

        return leave

    def _tap(self, child: Child, tap: _Tap) -> None:
        tap.tasks.append(self._follow(child, "tap", tap.wanted, partial(tap.take, child.slot + 1)))

    def _joined(self, child: Child) -> None:
        """A worker is ready: hear its events, and what is tapped."""
        self._follow(child, "events", {}, self._pass_on)
        for tap in self._taps:
            self._tap(child, tap)

    def _follow(
        self, child: Child, stream: str, arguments: Mapping[str, Any], put: Put
    ) -> asyncio.Task[None]:
        async def follow() -> None:
            asked = {"stream": stream, "arguments": dict(arguments)}
            with suppress(ChannelError):
                async for row in child.channel.rows("listen", asked):
                    put(row)

        task = self._loop.create_task(follow())
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)
        return task

    def _pass_on(self, event: dict[str, Any]) -> None:
        """An event of a worker, unless another has told the same."""
        now = time.monotonic()
        text = f"{event.get('kind')} {event.get('text')}"
        if any(at > now - _SAME_S and said == text for at, said in self._told):
            return
        self._told.append((now, text))
        facts = {name: value for name, value in event.items() if name not in ("id", "at", "kind", "text")}
        self._events.publish(str(event.get("kind")), str(event.get("text")), **facts)

    def close(self) -> None:
        """Listen to nobody any more."""
        for task in list(self._listening):
            task.cancel()
