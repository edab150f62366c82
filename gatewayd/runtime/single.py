"""One process without a supervisor (``--workers 1``): it loads, opens, serves, reloads, drains."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_OK
from gatewayd.listeners.doors import Doors, NotBound
from gatewayd.listeners.inherited import Inherited, from_systemd
from gatewayd.listeners.sockets import disown_files
from gatewayd.observe.log_sink import LogSink
from gatewayd.runtime import process, summary
from gatewayd.runtime.configuration import ConfigurationReader, Refused, first_configuration
from gatewayd.runtime.handover import READY, Handover, Leaving, take
from gatewayd.runtime.notify import Notifier, notifier_from
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import Outcome, Reloader
from gatewayd.runtime.servers import Servers
from gatewayd.runtime.standing import Standing
from gatewayd.runtime.upgrade import (
    LIMIT_S,
    NotUpgraded,
    end,
    read_all,
    refuse_what_would_be_lost,
    spawn,
)
from gatewayd.runtime.worker import LAST_S, LOADING, SERVING, Worker
from gatewayd.snapshot import ListenerSpec
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
        self._disk = Disk(getattr(sys.stdin, "buffer", None))
        self._reader = ConfigurationReader(options, self._disk)
        self._handover = take(os.environ) or Handover(Inherited(given=from_systemd(os.environ)))
        self._doors = Doors(1, self._handover.inherited)
        self.worker = Worker(loop, options, self._reader, Registry(loop), self._doors, sink)
        self._servers = Servers(options)
        self._standing = Standing(self.notifier, self._reader, lambda: len(self.worker.listeners))
        self._reloader: Reloader | None = None
        self._upgrading: asyncio.Task[None] | None = None

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
        self._open_sockets(configuration.snapshot.listeners)
        await self._servers.serve_status(self.loop, worker.readiness)
        await worker.start(configuration)
        if worker.measures is not None:
            await self._servers.serve_metrics(self.loop, worker.measures.scrape)
        if worker.state == LOADING:
            return
        assert worker.deployment is not None
        self._reloader = Reloader(
            self.loop, self.options, self._reader, worker.deployment, worker.registry, self._reloaded
        )
        self._reloader.start(watch=self.options.watch)
        worker.on_tick = self._tick
        self._doors.inherited.close_former()
        self._doors.inherited.report()
        status, metrics = self._servers.addresses("status"), self._servers.addresses("metrics")
        summary.say(summary.serving(configuration, worker.listeners, status, self.options, metrics))
        self._standing.ready()
        self.notifier.watch(self.loop)
        self._handover.done()

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
        if self.worker.measures is not None:
            self.worker.measures.reloaded(outcome)
        self.worker.configured()
        if self.worker.state == SERVING:
            self._standing.reloaded(outcome)

    def _tick(self) -> None:
        if self._reloader is not None and self.worker.state == SERVING:
            self._standing.look(self._reloader.busy)

    # Signals

    def _listen_to_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self.terminate,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.worker.reopen,
            signal.SIGUSR2: self.on_upgrade,
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

    def dump(self) -> None:
        """QUIT: the state in words, to the log."""
        self.worker.dump()
        last = self._reloader.last if self._reloader is not None else None
        if last is not None:
            _log.warning("%s", last.line)

    # Upgrade

    def on_upgrade(self) -> None:
        """USR2: let another process of the program that is on the disk now take our place."""
        self._upgrading = self._upgrading or self.loop.create_task(self._try_upgrade())

    async def _try_upgrade(self) -> None:
        try:
            _log.info("%s", await self.upgrade())
        except NotUpgraded as error:
            _log.error("not upgraded, this program serves on: %s", error)
        finally:
            self._upgrading = None

    async def upgrade(self) -> str:
        """Start a successor on our sockets, and drain when it serves; what happened. Raises ``NotUpgraded``."""
        if os.getpid() == 1:
            raise NotUpgraded(
                "process 1 of a container cannot be another process; with --workers 2 or more it is a supervisor, "
                "which can be replaced"
            )
        if self.worker.state != SERVING:
            raise NotUpgraded(f"not while {self.worker.state}")
        refuse_what_would_be_lost(self._reader.in_force)
        ours, theirs = os.pipe()
        leaving = Leaving(
            self._doors.own_sockets(),
            self._servers.own_sockets(self._doors),
            self._doors.inherited.given,
            ready_fd=theirs,
        )
        pid = await self._successor(leaving, ours, theirs)
        disown_files()
        self.notifier.main_pid(pid)
        if self._reloader is not None:
            self._reloader.close()
        self._servers.close()
        self.worker.retire()
        return f"process {pid} serves in our place"

    async def _successor(self, leaving: Leaving, ours: int, theirs: int) -> int:
        """A process that serves what is left to it."""
        environment, fds = leaving.write()
        try:
            pid = spawn({**environment, **self.notifier.environment()}, fds, stdin=self._disk.stdin_text)
        finally:
            os.close(fds[0])
            os.close(theirs)
        try:
            async with asyncio.timeout(LIMIT_S):
                said = await read_all(self.loop, ours, READY)
        except TimeoutError:
            said = b""
        if said != READY:
            end(pid)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            raise NotUpgraded(f"the new one ended: {process.ending(status)}")
        return pid

    # The end

    async def _clean_up(self) -> None:
        if self._reloader is not None:
            self._reloader.close()
        self._servers.close()
        await self.worker.close()
        self._doors.close()
        if self._reloader is not None:
            await self._reloader.wait_closed()
