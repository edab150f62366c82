"""A worker that is one of several: what it is told over the channel, and what it does when nobody tells it any more.

It begins as a copy of its supervisor, which has read and compiled the configuration: there is nothing to load. Later
configurations come as the texts that the supervisor has read and found good; what they come to is worked out here,
as in a process that is alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.admin.streams import Backlog
from gatewayd.cells import Cells
from gatewayd.exit_codes import EXIT_RUNTIME
from gatewayd.listeners.doors import Bound, NotBound
from gatewayd.listeners.passed import Passed
from gatewayd.observe import logs
from gatewayd.runtime import process
from gatewayd.runtime.channel import Channel, ChannelError
from gatewayd.runtime.configuration import ConfigurationReader, Refused
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.pulse import Pulse
from gatewayd.runtime.reload import put_in_force, read
from gatewayd.runtime.state import WorkerState
from gatewayd.runtime.wire import from_wire
from gatewayd.runtime.worker import LAST_S, SERVING, Worker
from gatewayd.sources import Handed, News
from gatewayd.upstream.late_loop import LateLoop
from gatewayd.upstream.registry import Draft, Registry

_log = logging.getLogger("gatewayd.runtime")

_FLUSH_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """What a supervisor gives to a copy of itself."""

    options: RunOptions
    reader: ConfigurationReader
    registry: Registry
    #: what ``registry`` and all in it wait for
    late_loop: LateLoop
    #: which files there are
    found: News
    #: of the program's log, by component
    levels: dict[str, str]
    slot: int
    bound: Bound
    #: the service wants no traffic now, and whether its sockets are open all the same
    draining: bool
    accepting: bool
    channel: socket.socket
    pulse: Pulse
    #: where this one's pulse is felt
    beat: int
    #: what it shares with the others, and its column there, if there was one left
    cells: Cells
    column: int | None


def run_member(share: Share) -> int:
    """Serve until told to stop; the exit code. In a process that was just forked."""
    sink = logs.set_up(share.options.log_level, form=share.options.log_format)
    logs.set_levels(share.levels)
    loop = process.new_loop(share.options.loop)
    share.late_loop.bind(loop)
    share.cells.attach(share.column)
    try:
        return loop.run_until_complete(Member(loop, share, sink).run())
    finally:
        process.end_loop(loop)
        process.end_logs(sink)


class Member:
    """A worker on a channel. In its supervisor's words its number is ``slot + 1``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, share: Share, sink: Any) -> None:
        self.loop = loop
        self._share = share
        self._passed = Passed(share.slot, share.bound)
        self.worker = Worker(
            loop, share.options, share.reader, share.registry, self._passed, sink, share.slot + 1
        )
        self._texts = Handed()
        self._texts.take(share.found)
        share.reader.read_from(self._texts)
        self._rows = WorkerState(self.worker)
        #: one change at a time
        self._changing = asyncio.Lock()
        self.channel = Channel(
            loop,
            share.channel,
            {
                "sockets": self._sockets,
                "state": self._state,
                "listen": self._listen,
                "levels": self._levels,
                "reset_counters": self._reset_counters,
                "configure": self._configure,
                "renew": self._renew,
                "stand_in": self._stand_in,
                "step_back": self._step_back,
                "drain": self._drain,
                "undrain": self._undrain,
                **{name: self._plain(do) for name, do in self._words().items()},
            },
            self._orphaned,
        )

    def _words(self) -> dict[str, Callable[[], None]]:
        worker = self.worker
        return {
            "retire": worker.retire,
            "terminate": worker.terminate,
            "stop": worker.stop,
            "reopen": worker.reopen,
            "dump": worker.dump,
        }

    def _plain(self, do: Callable[[], None]) -> Callable[[dict[str, Any], list[int]], Any]:
        return lambda arguments, fds: do()

    async def run(self) -> int:
        """Serve until stopped; the exit code."""
        worker = self.worker
        self._listen_to_signals()
        configuration = worker.reader.in_force
        assert configuration is not None
        try:
            async with self._changing:
                worker.prepare(configuration)
                await worker.start(configuration, accepting=self._share.accepting)
                if self._share.draining:
                    worker.drain()
        except (Refused, NotBound) as error:
            _log.error("%s", error)
            return EXIT_RUNTIME
        worker.on_tick = self._tick
        self._tick()
        self.channel.tell("ready")
        await worker.stopped.wait()
        await worker.close()
        # Last of all: nothing is counted any more.
        self.channel.tell("farewell", {"metrics": [row async for row in self._rows.rows("metrics", {})]})
        await self.channel.flushed(_FLUSH_S)
        self.channel.close()
        await self.channel.wait_closed()
        return worker.exit_code

    def _tick(self) -> None:
        self._share.pulse.beat(self._share.beat, time.monotonic())

    # Signals. What means the whole service is the supervisor's to hear, also where all processes are sent it.

    def _listen_to_signals(self) -> None:
        self.loop.add_signal_handler(signal.SIGTERM, lambda: self.channel.tell("replace_me"))
        self.loop.add_signal_handler(signal.SIGQUIT, self.worker.dump)
        signal.signal(signal.SIGALRM, self._deadline)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        process.hear_signals()

    def _deadline(self, *_: object) -> None:
        """The supervisor has died. If the loop turns, the channel has said so; if it hangs, there shall be an end."""
        if os.getppid() == self._share.pulse.owner:
            return
        options = self._share.options
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, options.shutdown_time_s + LAST_S)

    def _orphaned(self) -> None:
        """The supervisor is gone, and with it the sockets: end what is under way and go (hardening 9.9)."""
        if self.worker.state == SERVING:
            _log.error("the supervisor is gone: worker %d drains and ends", self.worker.number)
            self.worker.terminate()

    # What it is asked

    async def _state(self, arguments: dict[str, Any], fds: list[int]) -> AsyncIterator[Any]:
        async for row in self._rows.rows(arguments["topic"], arguments["arguments"]):
            yield row

    async def _listen(self, arguments: dict[str, Any], fds: list[int]) -> AsyncIterator[Any]:
        """Rows of a stream; what a slow listener has no room for is counted."""
        backlog = Backlog()
        leave = self._rows.listen(arguments["stream"], arguments["arguments"], backlog.put)
        try:
            while True:
                for row in await backlog.get():
                    yield row
        finally:
            leave()

    # What it is told

    def _levels(self, arguments: dict[str, Any], fds: list[int]) -> None:
        logs.set_levels(arguments)

    async def _reset_counters(self, arguments: dict[str, Any], fds: list[int]) -> None:
        await self.worker.reset_counters()

    async def _configure(self, arguments: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Put a configuration in force that the supervisor found good."""
        changed = self._texts.take(from_wire(arguments["news"]))
        async with self._changing:
            worker = self.worker
            before = worker.reader.in_force
            assert before is not None
            assert worker.deployment is not None
            draft = Draft(worker.registry)
            after = await asyncio.to_thread(read, worker.reader, draft, changed)
            if after.snapshot is not before.snapshot:
                await worker.deployment.swap(after.snapshot, draft)
            await asyncio.to_thread(put_in_force, worker.reader, after)
            worker.configured()
            return {"listeners": len(after.snapshot.listeners)}

    async def _renew(self, arguments: dict[str, Any], fds: list[int]) -> None:
        """Credentials on the disk are new."""
        async with self._changing:
            await asyncio.to_thread(self.worker.reader.certificates.renew)

    async def _stand_in(self, arguments: dict[str, Any], fds: list[int]) -> None:
        """Accept for all slots whose sockets there are."""
        async with self._changing:
            if self.worker.deployment is not None:
                await self.worker.deployment.use_sockets()

    async def _step_back(self, arguments: dict[str, Any], fds: list[int]) -> None:
        """Not any more."""
        async with self._changing:
            dropped = self._passed.drop(arguments["slot"])
            if self.worker.deployment is not None:
                await self.worker.deployment.use_sockets()
            for sock in dropped:
                sock.close()

    async def _drain(self, arguments: dict[str, Any], fds: list[int]) -> None:
        async with self._changing:
            self.worker.drain(graceful=arguments["graceful"], stop_accepting=arguments["stop_accepting"])

    async def _undrain(self, arguments: dict[str, Any], fds: list[int]) -> None:
        async with self._changing:
            try:
                await self.worker.undrain()
            except NotBound as error:
                raise ChannelError(str(error)) from None

    def _sockets(self, arguments: dict[str, Any], fds: list[int]) -> None:
        """Listening sockets, for what is told next: slot and address of each, and whether there is a descriptor."""
        passed = iter(fds)
        for slot, host, port, is_there in arguments["sockets"]:
            sock = socket.socket(fileno=next(passed)) if is_there else None
            if sock is not None:
                sock.setblocking(False)
            self._passed.take(slot, (host, port), sock)
