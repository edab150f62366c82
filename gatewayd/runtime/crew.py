"""The workers of a supervisor: started, replaced one by one, started again when they die, told what changes.

Each has a slot, and in it the sockets that are the slot's (:mod:`gatewayd.listeners.doors`). Whoever comes next in a
slot finds there what waited for the one before. While a slot stands empty for longer than a moment, another worker
accepts on its sockets as well.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from gatewayd.cells import Cells
from gatewayd.exit_codes import EXIT_DRAIN_TIMED_OUT, EXIT_OK
from gatewayd.listeners.doors import Doors
from gatewayd.listeners.sockets import Address
from gatewayd.observe.events import Events
from gatewayd.runtime import process
from gatewayd.runtime.backoff import Backoff
from gatewayd.runtime.channel import MAX_FDS, Channel, ChannelClosed, ChannelError, make_pair
from gatewayd.runtime.handover import Former
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.pulse import Pulse
from gatewayd.runtime.worker import LAST_S

_log = logging.getLogger("gatewayd.supervisor")

STARTING: Final = "STARTING"
READY: Final = "READY"
LEAVING: Final = "LEAVING"  # told to go, or gone

#: A worker that is not ready after so long has failed.
START_S: Final = 60.0
#: How long a slot may be empty before another worker accepts for it.
STAND_IN_S: Final = 0.5
#: How long workers may take to put a configuration in force.
CONFIGURE_S: Final = 60.0
#: How often pulses are felt.
PULSE_S: Final = 1.0
_FLUSH_S: Final = 1.0
#: From the signal that has a hanging worker say where it is, to the one that ends it.
_LAST_WORDS_S: Final = 1.0


@dataclass(eq=False, slots=True)
class Child:
    """A worker, as its supervisor sees it."""

    pid: int
    slot: int
    #: of its pulse; -1 for one of the program before ours, which does not beat here
    place: int
    channel: Channel
    state: str = STARTING
    #: set when it is not STARTING any more
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    #: slots it accepts for beside its own
    stands_in: set[int] = field(default_factory=set)
    #: when it is ended, if it is still there (monotonic)
    gone_by: float = math.inf
    #: where it counts what all workers share; None: nowhere
    column: int | None = None

    @property
    def title(self) -> str:
        """``worker 2 (process 4711)``."""
        return f"worker {self.slot + 1} (process {self.pid})"

    def become(self, state: str) -> None:
        """It is ``state`` now."""
        self.state = state
        if state != STARTING:
            self.settled.set()


@dataclass(eq=False, slots=True)
class Order:
    """A worker that is to be forked, which only whoever runs the loop can do: see :meth:`Crew.forked`."""

    slot: int
    place: int
    column: int | None
    ours: socket.socket
    theirs: socket.socket
    child: asyncio.Future[Child | None]


class Crew:
    """All workers. ``wake()`` is called when there is an order to be carried out."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        doors: Doors,
        cells: Cells,
        events: Events,
        wake: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._doors = doors
        self._cells = cells
        self._events = events
        self._hang_s = options.hang_time_s
        self._leave_s = options.shutdown_time_s + LAST_S
        self._wake = wake
        self.pulse = Pulse()
        self.orders: deque[Order] = deque()
        #: by process id, those that leave included
        self.children: dict[int, Child] = {}
        #: who serves a slot, or will in a moment
        self.current: list[Child | None] = [None] * doors.slots
        #: told when anything about who serves has changed
        self.on_change: Callable[[], Any] = lambda: None
        #: told of a worker that is ready, of the last numbers of one that ends, and of one that is gone
        self.on_ready: Callable[[Child], Any] = lambda child: None
        self.on_farewell: Callable[[int, list[Any]], Any] = lambda pid, rows: None
        self.on_exit: Callable[[int], Any] = lambda pid: None
        #: no worker is started any more
        self.ending = False
        #: what the process exits with: whether somebody was cut off
        self.exit_code = EXIT_OK
        #: workers that died, although nobody had told them to go
        self.deaths = 0
        self._backoff = [Backoff() for _ in self.current]
        self._locks = [asyncio.Lock() for _ in self.current]
        self._tasks: set[asyncio.Task[Any]] = set()
        self._felt = 0.0
        #: there is something that a worker can be made of
        self._started = False

    @property
    def ready(self) -> list[Child]:
        """Those that serve, in the order of their slots."""
        return [child for child in self.current if child is not None and child.state == READY]

    @property
    def counting(self) -> list[Child]:
        """Those that serve or leave, those of the program before included."""
        return [child for child in self.children.values() if child.state != STARTING]

    @property
    def empty_slots(self) -> list[int]:
        """Slots that nobody serves, and nobody stands in for."""
        served = {child.slot for child in self.ready}.union(*(child.stands_in for child in self.ready))
        return [slot for slot in range(len(self.current)) if slot not in served]

    # Starting

    async def start(self) -> bool:
        """Start all; whether anybody serves. Then those slots that could not be filled are tried again."""
        self._started = True
        filled = await asyncio.gather(*(self.fill(slot) for slot in range(len(self.current))))
        if not self.ready:
            return False
        for slot, is_filled in enumerate(filled):
            if not is_filled:
                self._spawn(self._start_again(slot))
        return True

    async def fill(self, slot: int) -> bool:
        """Have a new worker serve ``slot``, and let go who served it so far; whether that went well."""
        async with self._locks[slot]:
            return await self._fill(slot)

    async def _fill(self, slot: int) -> bool:
        child = await self._launch(slot)
        if child is None:
            return False
        former, self.current[slot] = self.current[slot], child
        for other in self.ready:
            if slot in other.stands_in:
                other.stands_in.discard(slot)
                other.channel.tell("step_back", {"slot": slot})
        if former is not None and former.state != LEAVING:
            self._send_away(former, "retire")
        self.on_change()
        return True

    async def _launch(self, slot: int) -> Child | None:
        """Make a worker; None if it does not become ready."""
        if self.ending:
            return None
        ours, theirs = make_pair()
        place = self.pulse.reserve(time.monotonic())
        order = Order(slot, place, self._cells.reserve(), ours, theirs, self._loop.create_future())
        self.orders.append(order)
        self._wake()
        child = await order.child
        if child is None:
            return None
        try:
            async with asyncio.timeout(START_S):
                await child.settled.wait()
        except TimeoutError:
            _log.error("%s is not ready after %g s, and is ended", child.title, START_S)
            self._kill(child, signal.SIGKILL)
        return child if child.state == READY else None

    def forked(self, order: Order, pid: int) -> None:
        """``order`` was carried out."""
        order.theirs.close()
        order.child.set_result(self._know(pid, order.slot, order.place, order.ours, order.column))

    def adopt(self, former: Former) -> None:
        """``former`` serves its slot until there is one of ours. It knows no configuration of ours."""
        child = self._know(former.pid, former.slot, -1, former.channel)
        if former.serves and former.slot < len(self.current):
            child.become(READY)
            self.current[former.slot] = child
        else:
            self._send_away(child, "retire")

    def _know(
        self, pid: int, slot: int, place: int, channel: socket.socket, column: int | None = None
    ) -> Child:
        def ready(arguments: dict[str, Any], fds: list[int]) -> None:
            if child.state == STARTING:
                child.become(READY)
                self._events.publish("worker", f"{child.title} serves", worker=slot + 1, pid=pid)
                self.on_ready(child)

        def farewell(arguments: dict[str, Any], fds: list[int]) -> None:
            self.on_farewell(pid, arguments["metrics"])

        def replace_me(arguments: dict[str, Any], fds: list[int]) -> None:
            _log.info("%s asks to be replaced", child.title)
            self._spawn(self.replace(child))

        words = {"ready": ready, "replace_me": replace_me, "farewell": farewell}
        own = Channel(self._loop, channel, words)
        child = self.children[pid] = Child(pid, slot, place, own, column=column)
        return child

    def failed(self, order: Order, error: OSError) -> None:
        """``order`` could not be carried out."""
        _log.error("worker %d cannot be started: %s", order.slot + 1, error)
        order.theirs.close()
        order.ours.close()
        self.pulse.release(order.place)
        self._cells.forget(order.column)
        order.child.set_result(None)

    # Replacing

    async def replace(self, child: Child) -> bool:
        """Have a new worker in the slot of ``child``; whether that went well, or was not needed any more."""
        await child.settled.wait()
        async with self._locks[child.slot]:
            if self.current[child.slot] is not child or await self._fill(child.slot):
                return True
        if not self.ending:
            _log.error("%s could not be replaced, and goes on", child.title)
        return False

    async def replace_all(self) -> bool:
        """A new worker in one slot after the other, whoever is there now or about to be; whether that went well.

        The first failure is the end of it.
        """
        for slot in range(len(self.current)):
            if not await self.fill(slot):
                if not self.ending:
                    _log.error("worker %d could not be replaced", slot + 1)
                return False
        return True

    def _send_away(self, child: Child, word: str) -> None:
        child.become(LEAVING)
        child.gone_by = time.monotonic() + self._leave_s
        child.channel.tell(word)

    # Dying

    def exited(self, pid: int, status: int) -> None:
        """Process ``pid`` is gone; ``status`` is that of waitpid."""
        child = self.children.pop(pid, None)
        if child is None:
            return
        child.channel.hear_out()
        child.channel.close()
        self.on_exit(pid)
        self._cells.forget(child.column)
        if child.place >= 0:
            self.pulse.release(child.place)
        code = os.waitstatus_to_exitcode(status)
        if child.state == LEAVING and code in (EXIT_OK, EXIT_DRAIN_TIMED_OUT):
            _log.info("%s has ended%s", child.title, "" if code == EXIT_OK else ", with connections cut")
            if self.ending:
                self.exit_code = self.exit_code or code
        else:
            self.deaths += 1
            text = f"{child.title} has died: {process.ending(status)}"
            _log.error("%s", text)
            self._events.publish("worker", text, worker=child.slot + 1, pid=pid)
            child.become(LEAVING)
            if self.current[child.slot] is child and self._started:
                self._spawn(self._start_again(child.slot))
        self.on_change()

    async def _start_again(self, slot: int) -> None:
        """After a death: until there is a worker in ``slot`` again."""
        while not self.ending:
            delay_s = self._backoff[slot].died(time.monotonic())
            if delay_s:
                _log.error("worker %d keeps dying: it is started again in %g s", slot + 1, delay_s)
            stand_in = self._spawn(self._stand_in(slot, 0.0 if delay_s else STAND_IN_S))
            await asyncio.sleep(delay_s)
            async with self._locks[slot]:
                there = self.current[slot]  # somebody else may have filled it
                filled = (there is not None and there.state == READY) or await self._fill(slot)
            stand_in.cancel()
            if filled:
                return

    async def _stand_in(self, slot: int, after_s: float) -> None:
        """Have a worker that lives accept for ``slot``."""
        await asyncio.sleep(after_s)
        candidates = [child for child in self.ready if child.slot != slot]
        if slot not in self.empty_slots or not candidates:
            return
        child = min(candidates, key=lambda each: len(each.stands_in))
        self._pass_sockets(child, slot)
        with suppress(ChannelError):
            await child.channel.ask("stand_in")
            child.stands_in.add(slot)
            _log.warning("%s accepts for worker %d as well", child.title, slot + 1)
            self.on_change()

    def feel_pulses(self) -> None:
        """End workers that hang; about every ``PULSE_S``."""
        now = time.monotonic()
        late = self._felt and now - self._felt > 2 * PULSE_S
        self._felt = now
        for child in self.children.values():
            if child.state == LEAVING and now > child.gone_by:
                _log.error("%s does not end by itself, and is ended", child.title)
                self._kill(child, signal.SIGKILL)
            elif child.state != READY or child.place < 0:
                continue
            elif late:
                # We hung ourselves, or the whole machine did: nobody's fault.
                self.pulse.beat(child.place, now)
            elif now - self.pulse.last(child.place) > self._hang_s:
                _log.error("%s hangs: no pulse for %g s; it is ended", child.title, self._hang_s)
                self._kill(child, signal.SIGABRT)
                self._loop.call_later(_LAST_WORDS_S, self._kill, child, signal.SIGKILL)

    def _kill(self, child: Child, number: signal.Signals) -> None:
        if self.children.get(child.pid) is child:
            os.kill(child.pid, number)

    # Telling

    def tell(self, word: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Say something to every worker that serves, or is about to."""
        for child in self._serving():
            child.channel.tell(word, arguments)

    def tell_all(self, word: str) -> None:
        """Say something to every worker, those that leave included."""
        for child in self.children.values():
            child.channel.tell(word)

    async def configure(self, news: Mapping[str, Any], new: Collection[Address]) -> None:
        """Have all workers put a configuration in force, with sockets for the addresses ``new``.

        One that cannot is replaced: the next one begins with the configuration.
        """

        async def one(child: Child) -> None:
            for slot in {child.slot, *child.stands_in}:
                self._pass_sockets(child, slot, new)
            try:
                await child.channel.ask("configure", {"news": news}, timeout_s=CONFIGURE_S)
            except ChannelClosed:
                pass  # it has died, and is started again
            except ChannelError as error:
                _log.error("%s did not take the configuration, and is replaced: %s", child.title, error)
                self._spawn(self.replace(child))

        await asyncio.gather(*map(one, self._serving()))

    async def undrain(self, *, pass_sockets: bool) -> list[str]:
        """Have all workers take traffic again; what went wrong. ``pass_sockets``: theirs were closed."""
        if pass_sockets:
            for child in self._serving():
                for slot in {child.slot, *child.stands_in}:
                    self._pass_sockets(child, slot)
        return await self.ask_all("undrain")

    async def ask_all(self, name: str) -> list[str]:
        """Ask something of every worker that serves; what went wrong."""

        async def one(child: Child) -> str:
            try:
                await child.channel.ask(name)
            except ChannelError as error:
                return f"{child.title}: {name}: {error}"
            return ""

        return [error for error in await asyncio.gather(*map(one, self._serving())) if error]

    def _serving(self) -> list[Child]:
        """Our own that serve, or are about to."""
        return [child for child in self.children.values() if child.state != LEAVING and child.place >= 0]

    def _pass_sockets(self, child: Child, slot: int, only: Collection[Address] | None = None) -> None:
        bound = self._doors.bound(slot)
        listed: list[tuple[Any, ...]] = []
        fds: list[int] = []
        for address, sockets in bound.items():
            if only is not None and address not in only:
                continue
            for sock in sockets or (None,):
                listed.append((slot, *address, sock is not None))
                fds += [sock.fileno()] if sock is not None else []
        for at in range(0, len(listed), MAX_FDS):
            part = listed[at : at + MAX_FDS]
            used = sum(is_there for *_, is_there in part)
            child.channel.tell("sockets", {"sockets": part}, fds[:used])
            fds = fds[used:]

    # Ending

    async def flushed(self) -> None:
        """Wait until all that was told is on its way."""
        await asyncio.gather(*(child.channel.flushed(_FLUSH_S) for child in self.children.values()))

    def left(self) -> list[tuple[int, int, bool, int]]:
        """What a program that takes over has to know: process, slot, whether it serves, descriptor of the channel."""
        return [
            (child.pid, child.slot, child.state == READY, child.channel.fileno())
            for child in self.children.values()
        ]

    def end(self, word: str) -> None:
        """Tell all to go: ``terminate`` or ``stop``. No other is started."""
        self.ending = True
        for child in self.children.values():
            self._send_away(child, word)

    def kill(self) -> None:
        """End who is still there."""
        for child in list(self.children.values()):
            self._kill(child, signal.SIGKILL)

    def close(self) -> None:
        """Nothing is done any more."""
        for task in self._tasks:
            task.cancel()
        for child in self.children.values():
            child.channel.close()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("something about a worker failed", exc_info=error)
