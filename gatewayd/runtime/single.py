"""One process without a supervisor (``--workers 1``): it loads, opens, serves, reloads, drains."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

from gatewayd.exit_codes import EXIT_OK
from gatewayd.listeners.doors import Doors
from gatewayd.observe.log_sink import LogSink
from gatewayd.runtime import process, summary
from gatewayd.runtime.configuration import ConfigurationReader, Refused, first_configuration
from gatewayd.runtime.controls import ServiceControls
from gatewayd.runtime.handover import received
from gatewayd.runtime.notify import Notifier, notifier_from
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import Outcome
from gatewayd.runtime.reloads import Reloads
from gatewayd.runtime.servers import Servers, open_all
from gatewayd.runtime.state import WorkerState
from gatewayd.runtime.successor import Successor
from gatewayd.runtime.upgrade import Upgrades
from gatewayd.runtime.worker import LAST_S, LOADING, SERVING, Worker
from gatewayd.sources import Disk
from gatewayd.upstream.registry import Registry

_log = logging.getLogger("gatewayd.runtime")


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
        # None: started with it closed
        self._disk = Disk(getattr(sys.stdin, "buffer", None), patient=True)
        self._reader = ConfigurationReader(options, self._disk)
        self._handover = received(os.environ)
        self._doors = Doors(1, self._handover.inherited)
        self.worker = Worker(loop, options, self._reader, Registry(loop), self._doors, sink)
        self._servers = Servers(options)
        events = self.worker.events
        self._reloads = Reloads(loop, options, self._reader, self.notifier, events)
        self.worker.readiness.notes = self._reloads.history.notes
        self._successor = Successor(
            loop, self._reader, self._disk, self._doors, self._servers, self.notifier, self._leave
        )
        self._upgrades = Upgrades(
            loop, lambda: self.worker.state, self._reloads.look_again, self._successor.upgrade, events
        )

    async def run(self) -> int:
        """Load, serve until stopped, clean up; the exit code."""
        exit_code = EXIT_OK
        try:
            await self._start()
        except Refused as refusal:
            for line in refusal.lines:
                summary.say(f"gatewayd: {line}", logging.ERROR)
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
        worker.prepare(configuration)
        open_all(self._doors, self._servers, configuration.snapshot.listeners)
        await self._servers.serve_status(self.loop, worker.readiness)
        await worker.start(configuration)
        state = WorkerState(worker, self._reloads.history)
        await self._servers.serve_numbers(self.loop, state)
        await self._servers.serve_admin(self.loop, state, ServiceControls(worker, self))
        if worker.state == LOADING:
            return
        assert worker.deployment is not None
        self._reloads.start(worker.deployment, worker.registry, worker.configured)
        worker.on_tick = self._reloads.tick
        self._doors.inherited.close_former()
        self._doors.inherited.report()
        ports = {name: self._servers.addresses(name) for name in ("status", "metrics", "admin")}
        summary.say(summary.serving(configuration, worker.listeners, ports, self.options))
        self.notifier.watch(self.loop)
        self._handover.done()

    # What it is told, by signals and by its admin server (:class:`gatewayd.runtime.controls.Holder`)

    def _listen_to_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: self.terminate,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.worker.reopen,
            signal.SIGUSR2: self.upgrade,
            signal.SIGQUIT: self.dump,
        }
        for number, handler in handlers.items():
            self.loop.add_signal_handler(number, handler)

    def terminate(self) -> None:
        """TERM: drain; the second one ends at once."""
        self._reloads.close()
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
        if self.worker.state == SERVING and self._reloads.possible:
            self._reloads.ask()
        else:
            _log.warning("HUP: not while %s", self.worker.state)

    def reloaded(self) -> asyncio.Future[Outcome | None]:
        """Reload; what it came to."""
        return self._reloads.ask()

    def upgrade(self) -> asyncio.Task[tuple[bool, str]]:
        """USR2: let another process of the program that is on the disk now take our place."""
        return self._upgrades.ask()

    def replace_workers(self) -> None:
        """There is one, and nobody to replace it."""

    def _leave(self) -> None:
        """Another process serves."""
        self._reloads.close()
        self._servers.close()
        self.worker.retire()

    def dump(self) -> None:
        """QUIT: the state in words, to the log."""
        self.worker.dump()
        last = self._reloads.history.last
        if last is not None:
            _log.warning("%s", last.line)

    # The end

    async def _clean_up(self) -> None:
        self._reloads.close()
        self._servers.close()
        await self.worker.close()
        self._doors.close()
        await self._reloads.wait_closed()
