"""The supervisor of several workers (``--workers N``). It serves no traffic.

It owns the listening sockets, watches the files, reads and compiles first, so that a mistake goes no further, and
then has all workers do the same with the same texts. Workers are copies of it: what it has compiled they share, and
one that dies is back at once with the configuration in force. It runs on a plain loop that holds nothing a copy would
have to share.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import selectors
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gatewayd.admin.status import DRAINING as DRAIN
from gatewayd.admin.status import STARTING, STOPPING, Readiness
from gatewayd.cells import Cells, columns_for
from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_OK, EXIT_RUNTIME
from gatewayd.listeners.doors import Doors, NotBound
from gatewayd.listeners.intake import raise_descriptor_limit
from gatewayd.observe import logs
from gatewayd.observe.events import Events
from gatewayd.observe.log_sink import LogSink
from gatewayd.runtime import memory, summary
from gatewayd.runtime.configuration import (
    ConfigurationReader,
    Refused,
    first_configuration,
)
from gatewayd.runtime.controls import ServiceControls
from gatewayd.runtime.crew import PULSE_S, Crew, Order
from gatewayd.runtime.forks import Threads, fork
from gatewayd.runtime.group_state import GroupState
from gatewayd.runtime.handover import received
from gatewayd.runtime.member import Share, run_member
from gatewayd.runtime.notify import Notifier, notifier_from
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import Outcome
from gatewayd.runtime.reloads import Reloads
from gatewayd.runtime.rollout import Rollout
from gatewayd.runtime.servers import Servers, open_all
from gatewayd.runtime.takeover import Takeover
from gatewayd.runtime.upgrade import Upgrades
from gatewayd.runtime.worker import DRAINING, LAST_S, LOADING, SERVING, STOPPED
from gatewayd.sources import Disk, Recorder
from gatewayd.upstream.late_loop import LateLoop
from gatewayd.upstream.registry import Registry

_log = logging.getLogger("gatewayd.supervisor")

#: How long workers that were told to stop at once may take.
_STOP_S: Final = 5.0
#: After a take-over: how often the configuration is tried again.
_TRY_AGAIN_S: Final = 2.0
#: A fork waits for threads to end; looked at this often.
_QUIET_S: Final = 0.01
#: Why readiness is held back when a slot is empty.
_WORKERS: Final = "workers"


def run_supervisor(options: RunOptions, sink: LogSink | None) -> int:
    """Serve with ``options.workers`` workers until told to stop; the exit code.

    In a worker, which is a fork of this process, it does not return.
    """
    if options.loop == "uvloop":
        with contextlib.suppress(ImportError):
            import uvloop  # noqa: F401  # once for all workers
    # With poll and not with epoll, whose list of descriptors copies of this process would share with it.
    loop = asyncio.SelectorEventLoop(selectors.PollSelector())
    notifier = notifier_from(os.environ)
    supervisor = Supervisor(loop, options, sink, notifier)
    life = loop.create_task(supervisor.run())
    life.add_done_callback(lambda _: loop.stop())
    while not life.done():
        loop.run_forever()
        supervisor.carry_out_orders()
    exit_code = life.result()
    notifier.close()
    loop.close()
    return exit_code


class Supervisor:
    """What a service with several workers is to the outside."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        sink: LogSink | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.loop = loop
        self.options = options
        self.notifier = notifier or Notifier()
        self.state = LOADING
        self.readiness = Readiness()
        self.events = Events()
        self._sink = sink
        self._threads = Threads()
        loop.set_default_executor(self._threads)
        # What workers share: the compiled configuration, and cells of memory to count in.
        self._late_loop, loop_to_come = LateLoop.make()
        self._cells = Cells(columns_for(options.workers))
        self._registry = Registry(loop_to_come, cells=self._cells)
        # None: started with it closed
        self._disk = Disk(getattr(sys.stdin, "buffer", None), patient=True)
        self._recorder = Recorder(self._disk)
        self._reader = ConfigurationReader(options, self._recorder)
        self._handover = received(os.environ)
        self._doors = Doors(options.workers, self._handover.inherited)
        self.crew = Crew(loop, options, self._doors, self._cells, self.events, loop.stop)
        self.crew.on_change = self._look_at_crew
        self._rollout = Rollout(self._doors, self._registry, self._recorder, self.crew)
        self._servers = Servers(options)
        self._reloads = Reloads(loop, options, self._reader, self.notifier, self.events)
        self.readiness.notes = self._reloads.history.notes
        self._group = GroupState(
            *(loop, options, self._reader, self._reloads.history, self.readiness, self.crew, self.events),
            lambda: self.state,
            self._handover.counted,
        )
        self._takeover = Takeover(
            loop,
            self._reader,
            self._disk,
            self._doors,
            self._servers,
            self.notifier,
            self.crew,
            self._group.departed,
            self._busy,
        )
        self._upgrades = Upgrades(
            loop, lambda: self.state, self._reloads.look_again, self._takeover.upgrade, self.events
        )
        self._gone = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> int:
        """Load, have the workers serve until stopped, clean up; the exit code."""
        exit_code = EXIT_OK
        try:
            await self._start()
        except Refused as refusal:
            for line in refusal.lines:
                summary.say(f"gatewayd: {line}", logging.ERROR)
            exit_code = refusal.exit_code
        else:
            await self._gone.wait()
            exit_code = self.crew.exit_code
        await self._clean_up()
        return exit_code

    # The beginning

    async def _start(self) -> None:
        """Open everything that can fail, and only then make workers; raises ``Refused``."""
        raise_descriptor_limit()
        if self._handover.children:
            await self._take_over()
        else:
            configuration = first_configuration(self._reader, self.options, self._registry.adopt)
            open_all(self._doors, self._servers, configuration.snapshot.listeners)
            await self._begin()
        self._rollout.forget_texts()
        memory.end_loading()
        if self.state == LOADING and not await self.crew.start() and self.state == LOADING:
            self.stop()
            raise Refused("no worker could be started (see above)", EXIT_RUNTIME)
        if self.state != LOADING:  # told to stop meanwhile
            return
        self.state = SERVING
        self.readiness.release(STARTING)
        self._look_at_crew()
        self._reloads.start(self._rollout, self._registry, on_renewed=lambda: self.crew.tell("renew"))
        self._doors.inherited.close_former()
        self._doors.inherited.report()
        self._say_what_is_served()
        self.notifier.watch(self.loop)
        self._handover.done()

    async def _begin(self) -> None:
        """Be there for signals and operators."""
        self._listen_to_signals()
        if self._sink is not None:
            self._sink.attach(self.loop)
        await self._servers.serve_status(self.loop, self.readiness)
        await self._servers.serve_numbers(self.loop, self._group)
        await self._servers.serve_admin(self.loop, self._group, ServiceControls(self, self))
        self._tick()

    async def _take_over(self) -> None:
        """The workers of the program before serve while we load, and for as long as we cannot."""
        errors = self._servers.open(self._doors)
        if errors:
            raise Refused("\n".join(errors), EXIT_CANNOT_BIND)
        for former in self._handover.children:
            self.crew.adopt(former)
        self.readiness.release(STARTING)
        await self._begin()
        self._reap()
        while self.state == LOADING:
            try:
                configuration = await asyncio.to_thread(
                    first_configuration, self._reader, self.options, self._registry.adopt
                )
                self._doors.open(configuration.snapshot.listeners)
            except (Refused, NotBound) as error:
                _log.error("the workers of the program before serve on: %s", str(error).replace("\n", "; "))
                await asyncio.sleep(_TRY_AGAIN_S)
            else:
                break

    def _say_what_is_served(self) -> None:
        configuration = self._reader.in_force
        assert configuration is not None
        listeners = configuration.snapshot.listeners
        served = [summary.Served(spec, self._doors.addresses(spec.bind)) for spec in listeners]
        ports = {name: self._servers.addresses(name) for name in ("status", "metrics", "admin")}
        workers = [child.pid for child in self.crew.ready]
        summary.say(summary.serving(configuration, served, ports, self.options, workers))

    # Workers

    def carry_out_orders(self) -> None:
        """Make the workers that were asked for; called while the loop stands still."""
        orders = self.crew.orders
        if not orders:
            return
        if self._busy():
            # What a thread has half done, a copy would have for good.
            self.loop.call_later(_QUIET_S, self.loop.stop)
            return
        memory.exempt()
        while orders:
            self._carry_out(orders.popleft())

    def _busy(self) -> bool:
        """Whether anything is half done."""
        return self._threads.at_work or self._reloads.busy

    def _carry_out(self, order: Order) -> None:
        share = self._share(order)
        own = [sock.fileno() for sockets in share.bound.values() for sock in sockets]
        try:
            pid = fork((order.theirs.fileno(), self._cells.fd, *own))
        except OSError as error:
            self.crew.failed(order, error)
            return
        if not pid:
            os._exit(run_member(share))
        self.crew.forked(order, pid)

    def _share(self, order: Order) -> Share:
        return Share(
            options=replace(self.options, drain_delay_s=0.0),
            reader=self._reader,
            registry=self._registry,
            late_loop=self._late_loop,
            cells=self._cells,
            column=order.column,
            found=self._rollout.found(),
            levels=logs.levels(),
            slot=order.slot,
            bound=self._doors.bound(order.slot),
            draining=self.readiness.held(DRAIN),
            accepting=self._rollout.accepting,
            channel=order.theirs,
            pulse=self.crew.pulse,
            beat=order.place,
        )

    def _look_at_crew(self) -> None:
        empty = self.crew.empty_slots
        if empty and self.state == SERVING:
            numbers = " and ".join(str(slot + 1) for slot in empty)
            self.readiness.hold(_WORKERS, f"worker {numbers} is not there")
        else:
            self.readiness.release(_WORKERS)

    def _tick(self) -> None:
        self._timers["tick"] = self.loop.call_later(PULSE_S, self._tick)
        self.crew.feel_pulses()
        if self.state == SERVING:
            self._reloads.tick()

    def _reap(self) -> None:
        """CHLD: somebody has ended. Only who is known here is waited for: others may have made processes too."""
        for pid in (*self.crew.children, *self._takeover.trials):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if ended and pid in self._takeover.trials:
                self._takeover.trials[pid].set_result(status)
            elif ended:
                self.crew.exited(pid, status)
        if self.crew.ending and not self.crew.children:
            self._gone.set()

    # What it is told, by signals and by its admin server (:mod:`gatewayd.runtime.controls`)

    def _listen_to_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGCHLD: self._reap,
            signal.SIGTERM: self.terminate,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.reopen,
            signal.SIGUSR2: self.upgrade,
            signal.SIGQUIT: self.dump,
        }
        for number, handler in handlers.items():
            self.loop.add_signal_handler(number, handler)

    def terminate(self) -> None:
        """TERM: drain; the second one ends at once."""
        # Those of the program before serve while this one still loads.
        if self.state != SERVING and not (self.state == LOADING and self.crew.ready):
            self.stop()
            return
        self.state = DRAINING
        self.readiness.hold(DRAIN, "draining")
        self._reloads.close()
        delay_s = self.options.drain_delay_s
        self.notifier.stopping(f"{len(self.crew.ready)} workers drain")
        self.notifier.extend_timeout(delay_s + self.options.shutdown_time_s + LAST_S)
        if delay_s:
            _log.info("draining begins in %g s; until then connections are taken", delay_s)
            self.crew.tell("drain", {"graceful": True, "stop_accepting": False})
        self._later("drain", delay_s, self._drain_and_end)

    def _drain_and_end(self) -> None:
        _log.info("workers drain, for at most %g s", self.options.shutdown_time_s)
        self._doors.close()
        self._end("terminate", self.options.shutdown_time_s + LAST_S)

    def stop(self) -> None:
        """INT: end at once, with whatever is under way cut off."""
        if self.state == STOPPED:
            return
        self.state = STOPPED
        self.readiness.hold(STOPPING, "stopping")
        self.notifier.stopping("stopping")
        self._reloads.close()
        self._doors.close()
        self._end("stop", _STOP_S)

    def _end(self, word: str, limit_s: float) -> None:
        self._cancel("drain")
        self.crew.end(word)
        self._later("kill", limit_s, self.crew.kill)
        if not self.crew.children:
            self._gone.set()

    def reload(self) -> None:
        """HUP: read the configuration again."""
        if self.state == SERVING and self._reloads.possible:
            self._reloads.ask()
        else:
            _log.warning("HUP: not while %s", self.state)

    def reloaded(self) -> asyncio.Future[Outcome | None]:
        """Reload; what it came to."""
        return self._reloads.ask()

    def upgrade(self) -> asyncio.Task[tuple[bool, str]]:
        """USR2: become the program that is on the disk now, on the same sockets."""
        return self._upgrades.ask()

    async def replace_workers(self) -> tuple[bool, str]:
        """Replace all workers, one after the other."""
        if self.state != SERVING:
            return False, f"not while {self.state}"
        if await self.crew.replace_all():
            return True, f"{self.options.workers} workers were replaced"
        return False, "a worker could not be replaced, and those after it were not (see the log)"

    def drain(self, *, graceful: bool = True, stop_accepting: bool = False) -> None:
        """Want no more traffic, and stay; see :meth:`gatewayd.runtime.worker.Worker.drain`."""
        self.readiness.hold(DRAIN, "draining")
        self.crew.tell("drain", {"graceful": graceful, "stop_accepting": stop_accepting})
        self._cancel("drain")
        if stop_accepting:
            self._later("drain", self.options.drain_time_s if graceful else 0.0, self._stop_accepting)

    def _stop_accepting(self) -> None:
        self._rollout.accepting = False
        self._doors.close()

    async def undrain(self) -> None:
        """Take traffic as before; raises ``NotBound`` if somebody has taken our addresses."""
        self._cancel("drain")
        closed = not self._rollout.accepting
        in_force = self._reader.in_force
        if closed and in_force is not None:
            self._doors.open(in_force.snapshot.listeners)
            self._rollout.accepting = True
        errors = await self.crew.undrain(pass_sockets=closed)
        for error in errors:
            _log.error("%s", error)
        self.readiness.release(DRAIN)

    async def count_connections(self) -> int:
        """Downstream connections of all workers."""
        return sum([row["connections"] async for row in self._group.rows("process", {})])

    def reopen(self) -> None:
        """USR1: logs go on in new files of the same names."""
        self.crew.tell_all("reopen")

    def set_levels(self, levels: Mapping[str, str]) -> None:
        """Put levels of the program's log in force, here and in all workers."""
        logs.set_levels(levels)
        self.crew.tell("levels", dict(levels))

    async def reset_counters(self) -> None:
        """Counters begin at 0."""
        await self.crew.ask_all("reset_counters")
        self._group.departed.reset()

    def dump(self) -> None:
        """QUIT: the state in words, to the log."""
        _log.warning("supervisor: state %s, ready %s", self.state, self.readiness.reason or "yes")
        for child in self.crew.children.values():
            _log.warning("%s %s", child.title, child.state)
        last = self._reloads.history.last
        if last is not None:
            _log.warning("%s", last.line)
        self.crew.tell_all("dump")

    def _later(self, name: str, delay_s: float, what: Callable[[], Any]) -> None:
        self._timers[name] = self.loop.call_later(delay_s, what)

    def _cancel(self, name: str) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()

    # The end

    async def _clean_up(self) -> None:
        self._reloads.close()
        self._servers.close()
        self._group.close()
        for timer in self._timers.values():
            timer.cancel()
        self.crew.close()
        self._doors.close()
        await self._reloads.wait_closed()
        self._cells.close()
        if self._sink is not None:
            self._sink.attach(None)
