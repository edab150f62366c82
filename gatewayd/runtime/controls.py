"""What a service can be told to do by its admin server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from gatewayd.admin.status import HEALTH, Readiness
from gatewayd.listeners.doors import NotBound
from gatewayd.observe import logs
from gatewayd.observe.events import Events
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import REFUSED, Outcome
from gatewayd.runtime.worker import SERVING

_log = logging.getLogger("gatewayd.admin")

Done = dict[str, Any]


class Subject(Protocol):
    """What is told: a worker that is alone, or a supervisor with all of its workers."""

    loop: asyncio.AbstractEventLoop
    options: RunOptions
    state: str
    readiness: Readiness
    events: Events

    async def count_connections(self) -> int:
        """Downstream connections open now."""

    def drain(self, *, graceful: bool, stop_accepting: bool) -> None:
        """Want no more traffic, and stay."""

    async def undrain(self) -> None:
        """Take traffic as before; raises ``NotBound``."""

    def reopen(self) -> None:
        """The logs go on in new files of the same names."""

    def set_levels(self, levels: Mapping[str, str]) -> None:
        """Put levels of the program's log in force, by component."""

    async def reset_counters(self) -> None:
        """Counters begin at 0."""


class Holder(Protocol):
    """Who reads files and listens to signals."""

    def stop(self) -> None:
        """End at once."""

    def reloaded(self) -> Awaitable[Outcome | None]:
        """Reload; what it came to, None if it failed for a reason of our own."""

    def upgrade(self) -> Awaitable[tuple[bool, str]]:
        """Replace the program; whether that goes well, and what happens."""

    def replace_workers(self) -> Awaitable[tuple[bool, str]] | None:
        """Replace all workers; None where there is one that nobody can replace."""


class ServiceControls:
    """Acts on ``subject``; on ``holder`` where the subject alone could not."""

    def __init__(self, subject: Subject, holder: Holder) -> None:
        self._subject = subject
        self._holder = holder

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Done:
        """See :class:`gatewayd.admin.state.Controls`."""
        method = getattr(self, f"_{action}", None)
        if method is None:
            return refused(404, f"there is no action {action!r}")
        outcome: Done = await method(arguments)
        _log.info("%s: %s", action, outcome["message"])
        return outcome

    async def _drain(self, arguments: Mapping[str, Any]) -> Done:
        subject = self._subject
        if subject.state != SERVING:
            return refused(409, f"not while {subject.state}")
        if arguments.get("inboundonly"):
            return done("nothing to drain: a gateway has no inbound listeners")
        stop = bool(arguments.get("stop_accepting"))
        graceful = bool(arguments.get("graceful"))
        subject.drain(graceful=graceful, stop_accepting=stop)
        after = f" after {subject.options.drain_time_s:g} s" if graceful else ""
        what = f"draining; listeners are closed{after}" if stop else "draining; listeners stay open"
        subject.events.publish("drain", what)
        return done(what, connections=await subject.count_connections())

    async def _undrain(self, arguments: Mapping[str, Any]) -> Done:
        subject = self._subject
        if subject.state != SERVING:
            return refused(409, f"not while {subject.state}")
        try:
            await subject.undrain()
        except NotBound as error:
            return refused(409, f"the listeners cannot be opened again: {error}")
        subject.readiness.release(HEALTH)
        subject.events.publish("undrain", "traffic is welcome again")
        return done("traffic is welcome again")

    async def _healthcheck(self, arguments: Mapping[str, Any]) -> Done:
        readiness = self._subject.readiness
        ok = bool(arguments.get("ok"))
        if ok:
            readiness.release(HEALTH)
        else:
            readiness.hold(HEALTH, "failed by the admin")
        text = "health checks pass" if ok else "health checks fail"
        self._subject.events.publish("health", text)
        return done(text)

    async def _log_level(self, arguments: Mapping[str, Any]) -> Done:
        text = str(arguments.get("text", ""))
        if text:
            try:
                self._subject.set_levels(logs.parse_levels(text))
            except ValueError as error:
                return refused(400, str(error))
            self._subject.events.publish("level", f"log levels: {text}")
        return done(f"log levels: {text or 'unchanged'}", levels=logs.levels())

    async def _reset_counters(self, arguments: Mapping[str, Any]) -> Done:
        await self._subject.reset_counters()
        return done("counters begin at 0")

    async def _reopen_logs(self, arguments: Mapping[str, Any]) -> Done:
        self._subject.reopen()
        return done("logs were reopened")

    # What its holder does

    async def _quit(self, arguments: Mapping[str, Any]) -> Done:
        # After the answer has left.
        self._subject.loop.call_later(0.1, self._holder.stop)
        return done("ending")

    async def _reload(self, arguments: Mapping[str, Any]) -> Done:
        if self._subject.state != SERVING:
            return refused(409, f"not while {self._subject.state}")
        outcome = await self._holder.reloaded()
        if outcome is None:
            return refused(500, "the reload failed; the program's log says how")
        about = {"result": outcome.result, "number": outcome.number, "kept": len(outcome.kept)}
        if outcome.result == REFUSED:
            return {**refused(422, outcome.line), **about}
        return done(outcome.line, **about)

    async def _upgrade(self, arguments: Mapping[str, Any]) -> Done:
        ok, text = await self._holder.upgrade()
        return done(text) if ok else refused(500, text)

    async def _replace_workers(self, arguments: Mapping[str, Any]) -> Done:
        replacing = self._holder.replace_workers()
        if replacing is None:
            return refused(501, "there is one worker, and nobody to replace it; upgrade replaces the program")
        ok, text = await replacing
        return done(text) if ok else refused(500, text)


def done(message: str, **more: Any) -> Done:
    """An action that went well."""
    return {"ok": True, "message": message, **more}


def refused(status: int, message: str) -> Done:
    """One that did not; ``status`` is HTTP's."""
    return {"ok": False, "status": status, "message": message}
