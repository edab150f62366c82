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
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from gatewayd.admin.status import Readiness
from gatewayd.cells import Cells, columns_for
from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_OK, EXIT_RUNTIME
from gatewayd.listeners.doors import Doors, NotBound
from gatewayd.listeners.inherited import Inherited, from_systemd
from gatewayd.observe import logs
from gatewayd.observe.log_sink import LogSink
from gatewayd.runtime import memory, process, summary
from gatewayd.runtime.configuration import (
    Configuration,
    ConfigurationReader,
    Refused,
    first_configuration,
)
from gatewayd.runtime.crew import PULSE_S, Crew, Order
from gatewayd.runtime.forks import fork
from gatewayd.runtime.handover import Handover, Leaving, take
from gatewayd.runtime.member import Share, run_member
from gatewayd.runtime.notify import Notifier, notifier_from
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import Outcome, Reloader
from gatewayd.runtime.rollout import Rollout
from gatewayd.runtime.servers import Servers
from gatewayd.runtime.standing import Standing
from gatewayd.runtime.upgrade import (
    LIMIT_S,
    NotUpgraded,
    become,
    end,
    last_lines,
    read_all,
    refuse_what_would_be_lost,
    spawn,
    trial_environment,
)
from gatewayd.runtime.worker import DRAINING, LAST_S, LOADING, SERVING, STOPPED
from gatewayd.snapshot import ListenerSpec
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


class Threads(ThreadPoolExecutor):
    """The threads of a process that forks: it does so only while none of them is at work."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="gatewayd")
        self._work: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See the base."""
        future = super().submit(fn, *args, **kwargs)
        self._work = [each for each in self._work if not each.done()] + [future]
        return future

    @property
    def at_work(self) -> bool:
        """Whether anything is being done."""
        return not all(each.done() for each in self._work)


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
        self._sink = sink
        self._threads = Threads()
        loop.set_default_executor(self._threads)
        self._late_loop, loop_to_come = LateLoop.make()
        self._cells = Cells(columns_for(options.workers))
        self._registry = Registry(loop_to_come, cells=self._cells)
        # None: started with it closed
        self._disk = Disk(getattr(sys.stdin, "buffer", None))
        self._recorder = Recorder(self._disk)
        self._reader = ConfigurationReader(options, self._recorder)
        self._handover = take(os.environ) or Handover(Inherited(given=from_systemd(os.environ)))
        self._doors = Doors(options.workers, self._handover.inherited)
        self.crew = Crew(loop, options, self._doors, self._cells, loop.stop)
        self.crew.on_change = self._look_at_crew
        self._rollout = Rollout(self._doors, self._registry, self._recorder, self.crew)
        self._servers = Servers(options)
        self._standing = Standing(self.notifier, self._reader, self._listeners)
        self._reloader: Reloader | None = None
        self._gone = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._upgrading: asyncio.Task[None] | None = None
        #: programs on trial, by process
        self._trials: dict[int, asyncio.Future[int]] = {}

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

    async def _start(self) -> None:
        """Open everything that can fail, and only then make workers; raises ``Refused``."""
        if self._handover.children:
            configuration = await self._take_over()
        else:
            configuration = first_configuration(self._reader, self.options, self._registry.adopt)
            self._open_sockets(configuration.snapshot.listeners)
            await self._begin()
        self._rollout.forget_texts()
        memory.end_loading()
        if not await self.crew.start() and self.state == LOADING and not self.crew.ready:
            self.stop()
            raise Refused("no worker could be started (see above)", EXIT_RUNTIME)
        if self.state != LOADING:  # told to stop meanwhile
            return
        self.state = SERVING
        self.readiness.release("starting")
        self._reloader = Reloader(
            self.loop,
            self.options,
            self._reader,
            self._rollout,
            self._registry,
            self._reloaded,
            lambda: self.crew.tell("renew"),
        )
        self._reloader.start(watch=self.options.watch)
        self._doors.inherited.close_former()
        self._doors.inherited.report()
        served = [
            summary.Served(spec, self._doors.addresses(spec.bind))
            for spec in configuration.snapshot.listeners
        ]
        status, metrics = self._servers.addresses("status"), self._servers.addresses("metrics")
        workers = [child.pid for child in self.crew.ready]
        summary.say(summary.serving(configuration, served, status, self.options, metrics, workers))
        self._standing.ready()
        self.notifier.watch(self.loop)
        self._handover.done()

    async def _begin(self) -> None:
        """Be there for signals and operators."""
        self._listen_to_signals()
        if self._sink is not None:
            self._sink.attach(self.loop)
        await self._servers.serve_status(self.loop, self.readiness)
        self._feel_pulses()

    async def _take_over(self) -> Configuration:
        """The workers of the program before serve while we load, and for as long as we cannot."""
        errors = self._servers.open(self._doors)
        if errors:
            raise Refused("\n".join(errors), EXIT_CANNOT_BIND)
        for former in self._handover.children:
            self.crew.adopt(former)
        self.readiness.release("starting")
        await self._begin()
        self._reap()
        while True:
            try:
                configuration = await asyncio.to_thread(
                    first_configuration, self._reader, self.options, self._registry.adopt
                )
                self._doors.open(configuration.snapshot.listeners)
            except (Refused, NotBound) as error:
                _log.error("the workers of the program before serve on: %s", str(error).replace("\n", "; "))
                await asyncio.sleep(_TRY_AGAIN_S)
            else:
                return configuration

    def _open_sockets(self, specs: tuple[ListenerSpec, ...]) -> None:
        """Those of all listeners and of our own ports, or all errors at once."""
        errors: list[str] = []
        try:
            self._doors.open(specs)
        except NotBound as error:
            errors.append(str(error))
        errors += self._servers.open(self._doors)
        if errors:
            raise Refused("\n".join(errors), EXIT_CANNOT_BIND)

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
        return self._threads.at_work or (self._reloader is not None and self._reloader.busy)

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
            found=self._rollout.found(),
            levels=logs.levels(),
            slot=order.slot,
            bound=self._doors.bound(order.slot),
            channel=order.theirs,
            pulse=self.crew.pulse,
            beat=order.place,
            cells=self._cells,
            column=order.column,
        )

    def _look_at_crew(self) -> None:
        empty = self.crew.empty_slots
        if empty and self.state == SERVING:
            numbers = " and ".join(str(slot + 1) for slot in empty)
            self.readiness.hold("workers", f"worker {numbers} is not there")
        else:
            self.readiness.release("workers")

    def _feel_pulses(self) -> None:
        self._timers["pulse"] = self.loop.call_later(PULSE_S, self._feel_pulses)
        self.crew.feel_pulses()
        if self._reloader is not None and self.state == SERVING:
            self._standing.look(self._reloader.busy)

    def _reap(self) -> None:
        """CHLD: somebody has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            if pid in self._trials:
                self._trials.pop(pid).set_result(status)
            else:
                self.crew.exited(pid, status)
        if self.crew.ending and not self.crew.children:
            self._gone.set()

    # Reload

    def _listeners(self) -> int:
        in_force = self._reader.in_force
        return len(in_force.snapshot.listeners) if in_force is not None else 0

    def _reloaded(self, outcome: Outcome) -> None:
        if self.state == SERVING:
            self._standing.reloaded(outcome)

    # Signals

    def _listen_to_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGCHLD: self._reap,
            signal.SIGTERM: self.terminate,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.reopen,
            signal.SIGUSR2: self.on_upgrade,
            signal.SIGQUIT: self.dump,
        }
        for number, handler in handlers.items():
            self.loop.add_signal_handler(number, handler)

    def terminate(self) -> None:
        """TERM: drain; the second one ends at once."""
        if self.state != SERVING:
            self.stop()
            return
        self.state = DRAINING
        self.readiness.hold("draining", "draining")
        assert self._reloader is not None
        self._reloader.close()
        delay_s = self.options.drain_delay_s
        self.notifier.stopping(f"{len(self.crew.ready)} workers drain")
        self.notifier.extend_timeout(delay_s + self.options.shutdown_time_s + LAST_S)
        if delay_s:
            _log.info("draining begins in %g s; until then connections are taken", delay_s)
            self.crew.tell("drain", {"graceful": True, "stop_accepting": False})
        self._timers["drain"] = self.loop.call_later(delay_s, self._drain)

    def _drain(self) -> None:
        _log.info("workers drain, for at most %g s", self.options.shutdown_time_s)
        self._doors.close()
        self._end("terminate", self.options.shutdown_time_s + LAST_S)

    def stop(self) -> None:
        """INT: end at once, with whatever is under way cut off."""
        if self.state == STOPPED:
            return
        self.state = STOPPED
        self.readiness.hold("stopping", "stopping")
        self.notifier.stopping("stopping")
        self._doors.close()
        self._end("stop", _STOP_S)

    def _end(self, word: str, limit_s: float) -> None:
        for timer in ("drain", "kill"):
            if timer in self._timers:
                self._timers.pop(timer).cancel()
        self.crew.end(word)
        self._timers["kill"] = self.loop.call_later(limit_s, self.crew.kill)
        if not self.crew.children:
            self._gone.set()

    def reload(self) -> None:
        """HUP: read the configuration again."""
        if self.state == SERVING and self._reloader is not None:
            self._standing.reload_begins()
            self._reloader.reload()
        else:
            _log.warning("HUP: not while %s", self.state)

    def reopen(self) -> None:
        """USR1: logs go on in new files of the same names."""
        self.crew.tell_all("reopen")

    def dump(self) -> None:
        """QUIT: the state in words, to the log."""
        _log.warning("supervisor: state %s, ready %s", self.state, self.readiness.reason or "yes")
        for child in self.crew.children.values():
            _log.warning("%s %s", child.title, child.state)
        last = self._reloader.last if self._reloader is not None else None
        if last is not None:
            _log.warning("%s", last.line)
        self.crew.tell_all("dump")

    # Upgrade

    def on_upgrade(self) -> None:
        """USR2: become the program that is on the disk now, on the same sockets."""
        self._upgrading = self._upgrading or self.loop.create_task(self._try_upgrade())

    async def _try_upgrade(self) -> None:
        try:
            await self.upgrade()
        except NotUpgraded as error:
            _log.error("not upgraded, this program serves on: %s", error)
        finally:
            self._upgrading = None

    async def upgrade(self) -> None:
        """Try the new program, and become it. Returns only by raising ``NotUpgraded``."""
        if self.state != SERVING:
            raise NotUpgraded(f"not while {self.state}")
        refuse_what_would_be_lost(self._reader.in_force)
        await self._try_new_program()
        _log.info("the new program takes over")
        await self.crew.flushed()
        while self._busy():  # noqa: ASYNC110, threads and workers decide
            await asyncio.sleep(_QUIET_S)
        # From here on nothing else runs in this process.
        leaving = Leaving(
            self._doors.own_sockets(),
            self._servers.own_sockets(self._doors),
            self._doors.inherited.given,
            self.crew.left(),
        )
        environment, fds = leaving.write()
        try:
            become({**environment, **self.notifier.environment()}, fds, stdin=self._disk.stdin_text)
        finally:
            os.close(fds[0])

    async def _try_new_program(self) -> None:
        ours, theirs = os.pipe()
        try:
            pid = spawn(trial_environment(), stdin=self._disk.stdin_text, output_fd=theirs)
        finally:
            os.close(theirs)
        ended = self._trials[pid] = self.loop.create_future()
        try:
            async with asyncio.timeout(LIMIT_S):
                said, status = await asyncio.gather(read_all(self.loop, ours), ended)
        except TimeoutError:
            end(pid)
            raise NotUpgraded(f"the new one has not loaded in {LIMIT_S:g} s") from None
        if status:
            raise NotUpgraded(f"the new one ended in a trial: {process.ending(status)}\n{last_lines(said)}")

    # The end

    async def _clean_up(self) -> None:
        if self._reloader is not None:
            self._reloader.close()
        self._servers.close()
        for timer in self._timers.values():
            timer.cancel()
        self.crew.close()
        self._doors.close()
        if self._reloader is not None:
            await self._reloader.wait_closed()
        if self._sink is not None:
            self._sink.attach(None)
