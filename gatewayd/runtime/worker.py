"""A worker: from options to an exit code. It loads, opens, serves, drains.

The states and what moves between them::

    LOADING --opened--> SERVING --TERM--> DRAINING --empty, or the time is up--> STOPPED
       \\________________\\_______ INT, a second TERM ______________/
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
from collections.abc import Callable, Sequence
from socket import socket
from typing import Any, Final

from gatewayd.admin.metrics import MetricsServer
from gatewayd.admin.status import Readiness, StatusServer
from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_DRAIN_TIMED_OUT, EXIT_OK
from gatewayd.listeners.intake import Intake, raise_descriptor_limit
from gatewayd.listeners.listener import Listener
from gatewayd.listeners.sockets import BindError, by_address, close_sockets, open_sockets, printable
from gatewayd.observe import logs
from gatewayd.observe.access_log import NoAccessLog
from gatewayd.observe.batches import Batches
from gatewayd.proxy.worker import TICK_S, Proxy
from gatewayd.runtime import memory, summary
from gatewayd.runtime.certificates import Reminder
from gatewayd.runtime.cgroup import Memory
from gatewayd.runtime.configuration import ConfigurationReader, Refused, first_configuration
from gatewayd.runtime.deployment import WARM_UP_S, Deployment
from gatewayd.runtime.measures import Measures
from gatewayd.runtime.notify import Notifier, notifier_from
from gatewayd.runtime.observing import Observing
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.overload import Overload
from gatewayd.runtime.reload import Outcome, Reloader
from gatewayd.snapshot import ListenerSpec
from gatewayd.upstream.registry import Registry

_log = logging.getLogger("gatewayd.runtime")

LOADING: Final = "LOADING"
SERVING: Final = "SERVING"
DRAINING: Final = "DRAINING"
STOPPED: Final = "STOPPED"

_STATUS_ADVICE: Final = "--status ADDRESS chooses another address, --status off none"
_METRICS_ADVICE: Final = "--metrics ADDRESS chooses another address, --metrics off none"
#: Turns of the loop that connections which were cut get to say so.
_LAST_TURNS: Final = 10
#: After the time to drain is over: what it takes at most to cut what is left and to write the logs.
_LAST_S: Final = 10.0
#: How often a draining worker looks whether it is empty.
_DRAIN_STEP_S: Final = 0.02


def run_worker(options: RunOptions) -> int:
    """Serve until told to stop; the exit code. Messages go to stderr."""
    sink = logs.set_up(options.log_level, form=options.log_format)
    with contextlib.suppress(Exception):  # no stderr
        faulthandler.enable()  # where it stood: systemd's watchdog ends a loop that hangs by SIGABRT
    # While loading. The default of all is to die; process 1 of a container would not even notice a TERM.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not by an exception: it could come up in anything, half-made objects included. Nothing is open yet.
        signal.signal(number, lambda *_: os._exit(EXIT_OK))
    memory.tune_allocator()
    memory.begin_loading()
    loop = _new_loop(options.loop)
    notifier = notifier_from(os.environ)
    try:
        return loop.run_until_complete(Worker(loop, options, sink, notifier).run())
    finally:
        notifier.close()
        with contextlib.suppress(Exception):
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        if sink is not None:
            # Not without a handler: logging's last resort writes to stderr itself, and waits.
            logging.getLogger().handlers[:] = [logging.NullHandler()]
            sink.close()


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "uvloop":
        try:
            import uvloop
        except ImportError:
            _log.warning("uvloop is not installed: serving on plain asyncio, which costs a multiple")
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


class Worker:
    """One process that serves one configuration."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        sink: Any = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.loop = loop
        self.options = options
        self.notifier = notifier or Notifier()
        self.state = LOADING
        self.readiness = Readiness()
        self.access_log: NoAccessLog | Batches = NoAccessLog()
        self.registry = Registry(loop)
        self._reader = ConfigurationReader(options)
        self._proxy: Proxy | None = None
        self._deployment: Deployment | None = None
        self._reloader: Reloader | None = None
        self._reminder: Reminder | None = None
        self._overload: Overload | None = None
        self._sink = sink
        self._status = StatusServer(self.readiness)
        self._observing: Observing | None = None
        self._measures: Measures | None = None
        self._metrics: MetricsServer | None = None
        self._stopped = asyncio.Event()
        self._exit_code = EXIT_OK
        self._drain_timer: asyncio.TimerHandle | None = None
        self._drain_limit = 0.0
        self._tunnel_limit = 0.0
        self._tick_timer: asyncio.TimerHandle | None = None
        #: systemd was told that a reload is under way
        self._reloading = False

    async def run(self) -> int:
        """Load, serve until stopped, clean up; the exit code."""
        try:
            await self._start()
        except Refused as refusal:
            for line in refusal.lines:
                summary.say(f"gatewayd: {line}", logging.ERROR)
            self._exit_code = refusal.exit_code
        else:
            await self._stopped.wait()
        await self._clean_up()
        return self._exit_code

    async def _start(self) -> None:
        """Open everything that can fail, and only then accept; raises ``Refused``."""
        configuration = first_configuration(self._reader, self.options, self.registry.adopt)
        self._listen_to_signals()
        specs = configuration.snapshot.listeners
        observing = self._observing = Observing(self.loop, self.options, configuration)
        self.access_log = observing.access_log
        descriptor_limit = raise_descriptor_limit()
        opened, status, metrics = self._open_sockets(specs)
        await self._status.serve(self.loop, status)
        unresolved = await self.registry.warm(WARM_UP_S)
        if unresolved:
            _log.warning("no answer from DNS yet for %s", summary.shortened(unresolved))
        if self._sink is not None:
            self._sink.attach(self.loop)
        memory.end_loading()
        limits = [spec.limits.max_connections for spec in specs]
        intake = Intake(self.loop, min(limits), descriptor_limit)
        proxy = self._proxy = Proxy(self.loop, self.registry, self.access_log.append)
        proxy.spans = observing.take_spans
        deployment = Deployment(self.loop, proxy, self.registry, intake, self.options.drain_time_s)
        self._deployment = deployment
        await self._serve_metrics(deployment, metrics)
        for spec, sockets in zip(specs, opened, strict=True):
            await deployment.add(spec, by_address(spec.bind, sockets))
        if self.state != LOADING:  # told to stop meanwhile
            return
        self._reminder = Reminder(self.loop, configuration.certificates.store)
        self._reloader = Reloader(
            self.loop, self.options, self._reader, deployment, self.registry, self._reloaded
        )
        self._reloader.start(watch=self.options.watch)
        self._overload = Overload(self.loop, proxy, intake, self.registry, Memory())
        self._overload.start()
        self.state = SERVING
        self.readiness.reason = ""
        self._tick()
        addresses = [printable(*address) for address in self._status.addresses]
        served = [printable(*address) for address in self._metrics.addresses] if self._metrics else []
        summary.say(summary.serving(configuration, self.listeners, addresses, self.options, served))
        self.notifier.ready(summary.standing(configuration, self.listeners))
        self.notifier.watch(self.loop)

    async def _serve_metrics(self, deployment: Deployment, sockets: Sequence[socket]) -> None:
        """Count from now on, and say so to whoever asks, if metrics are wanted."""
        log = self.access_log
        if self.options.metrics is None or not isinstance(log, Batches) or self._observing is None:
            return
        measures = Measures(self.options, log, deployment, self.registry, self._reader, self._observing)
        self._measures = measures
        self._metrics = MetricsServer(measures.scrape)
        await self._metrics.serve(self.loop, sockets)

    def _open_sockets(
        self, specs: Sequence[ListenerSpec]
    ) -> tuple[list[list[socket]], list[socket], list[socket]]:
        """The sockets of all listeners, of the status port and of the metrics, or all errors at once."""
        opened: list[list[socket]] = []
        status: list[socket] = []
        metrics: list[socket] = []
        errors: list[str] = []
        for spec in specs:
            try:
                opened.append(open_sockets(spec.bind, spec.port))
            except BindError as error:
                errors.append(str(error))
        if self.options.status is not None:
            try:
                status = open_sockets([self.options.status], advice=_STATUS_ADVICE)
            except BindError as error:
                errors.append(f"status port: {error}")
        if self.options.metrics is not None:
            try:
                metrics = open_sockets([self.options.metrics], advice=_METRICS_ADVICE)
            except BindError as error:
                errors.append(f"metrics port: {error}")
        if errors:
            close_sockets([sock for sockets in (*opened, status, metrics) for sock in sockets])
            raise Refused("\n".join(errors), EXIT_CANNOT_BIND)
        return opened, status, metrics

    def _tick(self) -> None:
        """Timeouts that need no precision, once a second."""
        if self._proxy is not None:
            self._proxy.tick()
        if self._deployment is not None:
            self._deployment.tick()
        if self._measures is not None:
            self._measures.tick(self.loop.time())
        if self._reloading and self._reloader is not None and not self._reloader.busy:
            self._reloading = False
            self._say_ready()
        self._tick_timer = self.loop.call_later(TICK_S, self._tick)

    def _reloaded(self, outcome: Outcome) -> None:
        """A reload came to an end, whoever asked for it."""
        if self._measures is not None:
            self._measures.reloaded(outcome)
        if self._observing is not None and self._reader.in_force is not None:
            self._observing.use(self._reader.in_force)
        self._reloading = False
        self._say_ready(outcome.line)

    def _say_ready(self, more: str = "") -> None:
        """To systemd: no reload is under way, and this is what is served."""
        in_force = self._reader.in_force
        if in_force is not None and self.state == SERVING:
            text = summary.standing(in_force, self.listeners)
            self.notifier.ready(f"{text}; {more}" if more else text)

    # Signals

    def _listen_to_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self.on_term,
            signal.SIGINT: self.on_int,
            signal.SIGHUP: self.on_reload,
            signal.SIGUSR1: self.on_reopen,
            signal.SIGUSR2: lambda: _log.warning("USR2: upgrade is not available yet"),
            signal.SIGQUIT: self.on_dump,
        }
        for number, handler in handlers.items():
            self.loop.add_signal_handler(number, handler)

    def on_term(self) -> None:
        """TERM: drain; the second one ends at once."""
        if self.state == SERVING:
            self.drain()
        else:
            self.stop()

    def on_int(self) -> None:
        """INT: end at once, with whatever is under way cut off."""
        self.stop()

    def on_reload(self) -> None:
        """HUP: read the configuration again."""
        if self.state == SERVING and self._reloader is not None:
            self._reloading = True
            self.notifier.reloading()
            self._reloader.reload()
        else:
            _log.warning("HUP: not while %s", self.state)

    def on_reopen(self) -> None:
        """USR1: the access log goes on in a new file of the same name."""
        try:
            self.access_log.reopen()
        except OSError as error:
            _log.error("the access log was not reopened, the old file stays in use: %s", error)

    def on_dump(self) -> None:
        """QUIT: the state in words, to the log."""
        _log.warning("state %s, ready %s", self.state, self.readiness.reason or "yes")
        for listener in self.listeners:
            _log.warning("%r", listener)
        last = self._reloader.last if self._reloader is not None else None
        if last is not None:
            _log.warning("%s", last.line)
        for owner, problem in self._reader.certificates.store.problems():
            _log.warning("%s: %s", owner, problem)
        for cluster in self.registry.clusters.values():
            _log.warning(
                "cluster %s: %d requests under way, %d in all", cluster.name, cluster.active, cluster.total
            )

    # Draining

    @property
    def listeners(self) -> list[Listener]:
        """Those in force."""
        return self._deployment.listeners if self._deployment is not None else []

    @property
    def connections(self) -> int:
        """Downstream connections open now."""
        return self._deployment.connections if self._deployment is not None else 0

    def drain(self) -> None:
        """Take nothing new, let what is under way finish, and stop when it has or the time is up."""
        self.state = DRAINING
        self.readiness.reason = "draining"
        options = self.options
        now = self.loop.time()
        self._drain_limit = now + options.shutdown_time_s
        self._tunnel_limit = now + min(options.drain_time_s, options.shutdown_time_s)
        _log.info("draining %d connections, for at most %g s", self.connections, options.shutdown_time_s)
        self.notifier.stopping(f"draining {self.connections} connections")
        self.notifier.extend_timeout(options.shutdown_time_s + _LAST_S)
        if self._reloader is not None:
            self._reloader.close()
        if self._deployment is not None:
            self._deployment.drain()
        self._check_drained()

    def _check_drained(self) -> None:
        self._drain_timer = None
        now = self.loop.time()
        if not self.connections:
            self.stop()
            return
        if now >= self._tunnel_limit:
            self._tunnel_limit = self._drain_limit
            if self._deployment is not None:
                self._deployment.end_tunnels()
        if now >= self._drain_limit:
            _log.warning("the time to drain is over: %d connections are cut", self.connections)
            self._exit_code = EXIT_DRAIN_TIMED_OUT
            self.stop()
            return
        self._drain_timer = self.loop.call_later(_DRAIN_STEP_S, self._check_drained)

    def stop(self) -> None:
        """End now."""
        self.state = STOPPED
        if not self.readiness.reason:
            self.readiness.reason = "stopping"
            self.notifier.stopping("stopping")
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._stopped.set()

    async def _clean_up(self) -> None:
        if self._reloader is not None:
            self._reloader.close()
        if self._reminder is not None:
            self._reminder.close()
        if self._overload is not None:
            self._overload.close()
        if self._deployment is not None:
            self._deployment.close()
        self._status.close()
        if self._metrics is not None:
            self._metrics.close()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        await self.registry.close()
        # Transports tell their protocols in the next turns of the loop that they are gone; that logs them.
        for _ in range(_LAST_TURNS):
            if not self.connections:
                break
            await asyncio.sleep(0)
        if self._reloader is not None:
            await self._reloader.wait_closed()
        if self._observing is not None:
            self._observing.close()
        if self._sink is not None:
            self._sink.attach(None)
