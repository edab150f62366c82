"""A worker: what serves a configuration in one process, alone or as one of several.

It reads no files, binds no sockets and hears no signals: whoever holds it does (:mod:`gatewayd.runtime.single`, or
:mod:`gatewayd.runtime.member` for one of several), and tells it what to do.

The states and what moves between them::

    LOADING --start--> SERVING --terminate, retire--> DRAINING --empty, or the time is up--> STOPPED
       \\________________\\___________________ stop, a second terminate ________/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from gatewayd.admin.server import in_slices
from gatewayd.admin.status import Readiness
from gatewayd.exit_codes import EXIT_DRAIN_TIMED_OUT, EXIT_OK
from gatewayd.listeners.doors import Listening, NotBound
from gatewayd.listeners.intake import Intake, raise_descriptor_limit
from gatewayd.listeners.listener import Listener
from gatewayd.observe import logs
from gatewayd.observe.access_log import NoAccessLog
from gatewayd.observe.batches import Batches
from gatewayd.observe.events import Events
from gatewayd.observe.log_sink import LogSink
from gatewayd.observe.sums import Sums
from gatewayd.observe.tap import Tap
from gatewayd.proxy.worker import TICK_S, Proxy
from gatewayd.runtime import memory, summary
from gatewayd.runtime.certificates import Reminder
from gatewayd.runtime.cgroup import Memory
from gatewayd.runtime.configuration import Configuration, ConfigurationReader
from gatewayd.runtime.deployment import WARM_UP_S, Deployment
from gatewayd.runtime.measures import Measures
from gatewayd.runtime.observing import Observing
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.overload import Overload
from gatewayd.runtime.watchers import Watchers
from gatewayd.upstream.registry import Registry

_log = logging.getLogger("gatewayd.runtime")

LOADING: Final = "LOADING"
SERVING: Final = "SERVING"
DRAINING: Final = "DRAINING"
STOPPED: Final = "STOPPED"

#: After the time to drain is over: what it takes at most to cut what is left and to write the logs.
LAST_S: Final = 10.0
#: Turns of the loop that connections which were cut get to say so.
_LAST_TURNS: Final = 10
#: How often a draining worker looks whether it is empty.
_DRAIN_STEP_S: Final = 0.02


class Worker:
    """Serves until it is told to stop. ``number`` is 0 for a worker that is alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        reader: ConfigurationReader,
        registry: Registry,
        listening: Listening,
        sink: LogSink | None = None,
        number: int = 0,
    ) -> None:
        self.loop = loop
        self.options = options
        self.reader = reader
        self.registry = registry
        self.number = number
        self.state = LOADING
        self.readiness = Readiness()
        self.access_log: NoAccessLog | Batches = NoAccessLog()
        self.deployment: Deployment | None = None
        self.measures: Measures | None = None
        #: what is worth telling whoever listens, and requests as they end; None where nothing is counted
        self.events = Events()
        self.tap: Tap | None = None
        #: set when nothing is served any more; then there is an exit code
        self.stopped = asyncio.Event()
        self.exit_code = EXIT_OK
        #: called at every tick, about once a second
        self.on_tick: Callable[[], Any] = lambda: None
        self._listening = listening
        self._observing: Observing | None = None
        self._overload: Overload | None = None
        self._sink = sink
        self._reminder: Reminder | None = None
        self._watchers: Watchers | None = None
        self._descriptor_limit = 0
        self._retiring = False
        self._drain_timer: asyncio.TimerHandle | None = None
        self._drain_limit = 0.0
        self._tunnel_limit = 0.0
        self._tick_timer: asyncio.TimerHandle | None = None

    # The beginning

    def prepare(self, configuration: Configuration) -> None:
        """Open what can fail before anything is bound; raises ``Refused``."""
        self._observing = Observing(self.loop, self.options, configuration)
        self.access_log = self._observing.access_log
        self._descriptor_limit = raise_descriptor_limit()

    async def start(self, configuration: Configuration, *, accepting: bool = True) -> None:
        """Serve ``configuration``, which is in force with the reader, after :meth:`prepare`; raises ``NotBound``.

        Without ``accepting`` on no socket, until :meth:`undrain`.
        """
        observing = self._observing
        assert observing is not None
        unresolved = await self.registry.warm(WARM_UP_S)
        if unresolved:
            _log.warning("no answer from DNS yet for %s", summary.shortened(unresolved))
        if self._sink is not None:
            self._sink.attach(self.loop)
        memory.end_loading()
        specs = configuration.snapshot.listeners
        intake = Intake(self.loop, min(spec.limits.max_connections for spec in specs), self._descriptor_limit)
        proxy = Proxy(self.loop, self.registry, self.access_log.append)
        proxy.spans = observing.take_spans
        deployment = self.deployment = Deployment(
            self.loop, proxy, self.registry, intake, self._listening, self.options.drain_time_s
        )
        if self.options.counts and isinstance(self.access_log, Batches):
            self.measures = Measures(self.options, self.access_log, deployment, self.registry, observing)
            self.tap = Tap(self.access_log)
        swapped = self.measures.make_room if self.measures is not None else lambda: None
        self._watchers = Watchers(
            self.loop, self.registry, configuration.certificates.store, self.events, swapped
        )
        deployment.accepting = accepting
        await deployment.begin(specs)
        if self.state != LOADING:  # told to stop meanwhile
            return
        self._reminder = Reminder(self.loop, configuration.certificates.store)
        self._overload = Overload(self.loop, proxy, intake, self.registry, Memory())
        self._overload.start()
        self.state = SERVING
        self.readiness.release("starting")
        self._tick(proxy)

    def _tick(self, proxy: Proxy) -> None:
        """Timeouts that need no precision, once a second."""
        proxy.tick()
        if self.deployment is not None:
            self.deployment.tick()
        if self.measures is not None:
            self.measures.tick(self.loop.time())
        if self._watchers is not None:
            self._watchers.look()
        self.on_tick()
        self._tick_timer = self.loop.call_later(TICK_S, self._tick, proxy)

    def configured(self) -> None:
        """Another configuration has come into force."""
        if self._observing is not None and self.reader.in_force is not None:
            self._observing.use(self.reader.in_force)

    # What it is asked

    @property
    def listeners(self) -> list[Listener]:
        """Those in force."""
        return self.deployment.listeners if self.deployment is not None else []

    @property
    def connections(self) -> int:
        """Downstream connections open now."""
        return self.deployment.connections if self.deployment is not None else 0

    def sums(self) -> Generator[None, None, Sums]:
        """What all traffic came to, added up with pauses; nothing where nothing is counted."""
        return (yield from self.measures.sums()) if self.measures is not None else Sums()

    async def count_connections(self) -> int:
        """The same, for whoever has to ask others for it."""
        return self.connections

    def set_levels(self, levels: Mapping[str, str]) -> None:
        """Put levels of the program's log in force, by component."""
        logs.set_levels(levels)

    async def reset_counters(self) -> None:
        """Counters begin at 0."""
        if self.measures is not None:
            async for _ in in_slices(self.measures.reset()):
                pass  # in slices: there may be thousands

    def reopen(self) -> None:
        """The logs go on in new files of the same names (USR1)."""
        try:
            self.access_log.reopen()
        except OSError as error:
            _log.error("the access log was not reopened, the old file stays in use: %s", error)

    def dump(self) -> None:
        """The state in words, to the log (QUIT)."""
        _log.warning("state %s, ready %s", self.state, self.readiness.reason or "yes")
        for listener in self.listeners:
            _log.warning("%r", listener)
        for owner, problem in self.reader.certificates.store.problems():
            _log.warning("%s: %s", owner, problem)
        for cluster in self.registry.clusters.values():
            _log.warning(
                "cluster %s: %d requests under way, %d in all", cluster.name, cluster.active, cluster.total
            )

    # Draining and serving on

    def drain(self, *, graceful: bool = True, stop_accepting: bool = False) -> None:
        """Want no more traffic, and stay (the admin's ``drain`` and ``drain_listeners``); :meth:`undrain` ends it.

        Every answer ends its connection. New ones are taken until the drain time is over, if ``graceful``; then, or
        at once, the sockets are closed, if ``stop_accepting``.
        """
        deployment = self.deployment
        if self.state != SERVING or deployment is None:
            return
        self.readiness.hold("draining", "draining")
        deployment.discourage(True)
        self._cancel_drain_timer()
        if stop_accepting and graceful:
            self._drain_timer = self.loop.call_later(self.options.drain_time_s, deployment.stop_accepting)
        elif stop_accepting:
            deployment.stop_accepting()

    async def undrain(self) -> None:
        """Take traffic as before; raises ``NotBound`` if somebody has taken our addresses."""
        deployment = self.deployment
        if self.state != SERVING or deployment is None:
            return
        self._cancel_drain_timer()
        if not deployment.accepting:
            await deployment.accept_again()
        deployment.discourage(False)
        self.readiness.release("draining")

    # Draining and ending

    def terminate(self) -> None:
        """Take nothing new, let what is under way finish, and stop when it has or the time is up (TERM).

        The second time: stop now. With ``--drain-delay`` new connections are taken until it is over.
        """
        if self._retiring and self.deployment is not None:
            self._retiring = False
            self._cancel_drain_timer()
            self._drain(Deployment.drain)
            return
        if self.state != SERVING:
            self.stop()
            return
        delay_s = self.options.drain_delay_s
        self._leave()
        if delay_s and self.deployment is not None:
            _log.info("draining begins in %g s; until then connections are taken", delay_s)
            self.deployment.discourage(True)
            self._drain_timer = self.loop.call_later(delay_s, self._drain, Deployment.drain)
        else:
            self._drain(Deployment.drain)

    def retire(self) -> None:
        """Another process serves on our sockets: leave what comes to it, and stop when the last connection has gone.

        Every connection is told so with its next answer; who asks nothing is let go when the drain time is over.
        """
        if self.state == SERVING:
            self._retiring = True
            self._leave()
            self._drain(Deployment.retire)
        elif self.state == LOADING:
            self.stop()

    def _leave(self) -> None:
        self.state = DRAINING
        self.readiness.hold("draining", "draining")
        self._cancel_drain_timer()

    def _drain(self, begin: Callable[[Deployment], None]) -> None:
        options = self.options
        now = self.loop.time()
        self._drain_limit = now + options.shutdown_time_s
        self._tunnel_limit = now + min(options.drain_time_s, options.shutdown_time_s)
        _log.info("draining %d connections, for at most %g s", self.connections, options.shutdown_time_s)
        if self.deployment is not None:
            begin(self.deployment)
        # Not at once: what was accepted a moment ago is no connection yet.
        self._drain_timer = self.loop.call_later(_DRAIN_STEP_S, self._check_drained)

    def _check_drained(self) -> None:
        self._drain_timer = None
        now = self.loop.time()
        if not self.connections:
            self.stop()
            return
        if now >= self._tunnel_limit:
            self._tunnel_limit = self._drain_limit
            if self.deployment is not None:
                self.deployment.drain()  # those that were let be while they asked nothing
                self.deployment.end_tunnels()
        if now >= self._drain_limit:
            _log.warning("the time to drain is over: %d connections are cut", self.connections)
            self.exit_code = EXIT_DRAIN_TIMED_OUT
            self.stop()
            return
        self._drain_timer = self.loop.call_later(_DRAIN_STEP_S, self._check_drained)

    def _cancel_drain_timer(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None

    def stop(self) -> None:
        """End now."""
        self.state = STOPPED
        if self.readiness.ready:
            self.readiness.hold("stopping", "stopping")
        self._cancel_drain_timer()
        self.stopped.set()

    async def close(self) -> None:
        """Cut what is left and write what there is to write."""
        if self._reminder is not None:
            self._reminder.close()
        if self._overload is not None:
            self._overload.close()
        if self.deployment is not None:
            self.deployment.close()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        await self.registry.close()
        # Transports tell their protocols in the next turns of the loop that they are gone; that logs them.
        for _ in range(_LAST_TURNS):
            if not self.connections:
                break
            await asyncio.sleep(0)
        if self._observing is not None:
            self._observing.close()
        if self._sink is not None:
            self._sink.attach(None)


__all__ = ["DRAINING", "LOADING", "SERVING", "STOPPED", "NotBound", "Worker"]
