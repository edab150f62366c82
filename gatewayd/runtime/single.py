"""One process without a supervisor (``--workers 1``): it loads, opens, serves, reloads, drains."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_OK
from gatewayd.listeners.doors import Doors, NotBound
from gatewayd.listeners.inherited import Inherited, from_systemd
from gatewayd.observe.log_sink import LogSink
from gatewayd.runtime import process, summary
from gatewayd.runtime.configuration import ConfigurationReader, Refused, first_configuration
from gatewayd.runtime.controls import WorkerControls
from gatewayd.runtime.history import History, tell_outcome
from gatewayd.runtime.notify import Notifier, notifier_from
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import Outcome, Reloader
from gatewayd.runtime.servers import Servers
from gatewayd.runtime.standing import Standing
from gatewayd.runtime.state import WorkerState
from gatewayd.runtime.worker import LOADING, SERVING, Worker
from gatewayd.snapshot import ListenerSpec
from gatewayd.upstream.registry import Registry

_log = logging.getLogger("gatewayd.runtime")

#: After the time to drain is over: what it takes at most to cut what is left and to write the logs.
LAST_S = 10.0


def run_single(options: RunOptions, sink: LogSink | None) -> int:
    """Serve until told to stop; the exit code."""
    loop = process.new_loop(options.loop)
    notifier = notifier_from(os.environ)
    try:
        return loop.run_until_complete(Single(loop, options, sink, notifier).run())
    finally:
        notifier.close()
        process.end_loop(loop)


class Single:
    """A worker, and all that somebody has to do for it."""

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
        self._reader = ConfigurationReader(options)
        self._doors = Doors(1, Inherited(given=from_systemd(os.environ)))
        self.worker = Worker(loop, options, self._reader, Registry(loop), self._doors, sink)
        self._servers = Servers(options)
        self._standing = Standing(self.notifier, self._reader, lambda: len(self.worker.listeners))
        self._reloader: Reloader | None = None
        self._history = History()
        #: those who wait for the reload that they asked for
        self._waiting: list[asyncio.Future[Outcome | None]] = []
        self.worker.readiness.notes = self._history.notes

    async def run(self) -> int:
        """Load, serve until stopped, clean up; the exit code."""
        exit_code = EXIT_OK
        try:
            await self._start()
        except Refused as refusal:
            for line in refusal.lines:
                summary.say(f"gatewayd: {line}")
            exit_code = refusal.exit_code
        else:
            await self.worker.stopped.wait()
            exit_code = self.worker.exit_code
        await self._clean_up()
        return exit_code

    async def _start(self) -> None:
        """Open everything that can fail, and only then accept; raises ``Refused``."""
        worker = self.worker
        configuration = first_configuration(self._reader, self.options, worker.registry.adopt)
        self._listen_to_signals()
        worker.prepare()
        self._open_sockets(configuration.snapshot.listeners)
        await self._servers.serve_status(self.loop, worker.readiness)
        await worker.start(configuration)
        state = WorkerState(worker, self._history)
        await self._servers.serve_numbers(self.loop, state)
        await self._servers.serve_admin(self.loop, state, WorkerControls(worker, self))
        if worker.state == LOADING:
            return
        assert worker.deployment is not None
        self._reloader = Reloader(
            self.loop, self.options, self._reader, worker.deployment, worker.registry, self._reloaded
        )
        self._reloader.start(watch=self.options.watch)
        worker.on_tick = self._tick
        self._doors.inherited.report()
        ports = {name: self._servers.addresses(name) for name in ("status", "metrics", "admin")}
        summary.say(summary.serving(configuration, worker.listeners, ports, self.options))
        self._standing.ready()
        self.notifier.watch(self.loop)

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

    def _reloaded(self, outcome: Outcome) -> None:
        self._history.add(outcome)
        tell_outcome(self.worker.events, outcome)
        self._answer_waiting(outcome)
        if self.worker.state == SERVING:
            self._standing.reloaded(outcome)

    def _tick(self) -> None:
        if self._reloader is not None and self.worker.state == SERVING:
            self._standing.look(self._reloader.busy)
        if self._reloader is None or not self._reloader.busy:
            self._answer_waiting(None)  # it came to nothing that could be told

    # Signals

    def _listen_to_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self.terminate,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.worker.reopen,
            signal.SIGUSR2: lambda: _log.warning("USR2: upgrade is not available yet"),
            signal.SIGQUIT: self.dump,
        }
        for number, handler in handlers.items():
            self.loop.add_signal_handler(number, handler)

    def terminate(self) -> None:
        """TERM: drain; the second one ends at once."""
        if self._reloader is not None:
            self._reloader.close()
        self.worker.terminate()
        options = self.options
        self.notifier.stopping(f"draining {self.worker.connections} connections")
        self.notifier.extend_timeout(options.drain_delay_s + options.shutdown_time_s + LAST_S)

    def stop(self) -> None:
        """INT: end at once, with whatever is under way cut off."""
        self.notifier.stopping("stopping")
        self.worker.stop()

    def reload(self) -> None:
        """HUP: read the configuration again."""
        if self.worker.state == SERVING and self._reloader is not None:
            self._standing.reload_begins()
            self._reloader.reload()
        else:
            _log.warning("HUP: not while %s", self.worker.state)

    def reloaded(self) -> asyncio.Future[Outcome | None]:
        """Reload; what it came to (:class:`gatewayd.runtime.controls.Holder`)."""
        waiting: asyncio.Future[Outcome | None] = self.loop.create_future()
        self.reload()
        self._waiting.append(waiting)
        return waiting

    def _answer_waiting(self, outcome: Outcome | None) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(outcome)

    def upgrade(self) -> None:
        """There is none yet (:class:`gatewayd.runtime.controls.Holder`)."""

    def dump(self) -> None:
        """QUIT: the state in words, to the log."""
        self.worker.dump()
        last = self._reloader.last if self._reloader is not None else None
        if last is not None:
            _log.warning("%s", last.line)

    # The end

    async def _clean_up(self) -> None:
        if self._reloader is not None:
            self._reloader.close()
        self._answer_waiting(None)
        self._servers.close()
        await self.worker.close()
        self._doors.close()
        if self._reloader is not None:
            await self._reloader.wait_closed()
