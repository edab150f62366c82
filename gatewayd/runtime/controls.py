"""What one process can be told to do by its admin server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from gatewayd.admin.server import in_slices
from gatewayd.admin.status import HEALTH
from gatewayd.listeners.doors import NotBound
from gatewayd.observe import logs
from gatewayd.runtime.reload import REFUSED, Outcome
from gatewayd.runtime.worker import SERVING, Worker

_log = logging.getLogger("gatewayd.admin")

Done = dict[str, Any]


class Holder(Protocol):
    """Who holds the worker: it reads files and listens to signals."""

    def stop(self) -> None:
        """End at once."""

    def reloaded(self) -> Awaitable[Outcome | None]:
        """Reload; what it came to, None if it failed for a reason of our own."""

    def upgrade(self) -> Awaitable[tuple[bool, str]] | None:
        """Replace the program; None where that cannot be done."""


class WorkerControls:
    """Acts on ``worker``; on ``holder`` where the worker alone could not."""

    def __init__(self, worker: Worker, holder: Holder | None = None) -> None:
        self._worker = worker
        self._holder = holder

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Done:
        """See :class:`gatewayd.admin.state.Controls`."""
        method = getattr(self, f"_{action}", None)
        if method is None:
            return _refused(404, f"there is no action {action!r}")
        done: Done = await method(arguments)
        _log.info("%s: %s", action, done["message"])
        return done

    async def _drain(self, arguments: Mapping[str, Any]) -> Done:
        worker = self._worker
        if worker.state != SERVING:
            return _refused(409, f"not while {worker.state}")
        if arguments.get("inboundonly"):
            return _done("nothing to drain: a gateway has no inbound listeners")
        stop = bool(arguments.get("stop_accepting"))
        graceful = bool(arguments.get("graceful"))
        worker.drain(graceful=graceful, stop_accepting=stop)
        after = f" after {worker.options.drain_time_s:g} s" if graceful else ""
        what = f"draining; listeners are closed{after}" if stop else "draining; listeners stay open"
        worker.events.publish("drain", what)
        return _done(what, connections=worker.connections)

    async def _undrain(self, arguments: Mapping[str, Any]) -> Done:
        worker = self._worker
        if worker.state != SERVING:
            return _refused(409, f"not while {worker.state}")
        try:
            await worker.undrain()
        except NotBound as error:
            return _refused(409, f"the listeners cannot be opened again: {error}")
        worker.readiness.release(HEALTH)
        worker.events.publish("undrain", "traffic is welcome again")
        return _done("traffic is welcome again")

    async def _healthcheck(self, arguments: Mapping[str, Any]) -> Done:
        readiness = self._worker.readiness
        ok = bool(arguments.get("ok"))
        if ok:
            readiness.release(HEALTH)
        else:
            readiness.hold(HEALTH, "failed by the admin")
        text = "health checks pass" if ok else "health checks fail"
        self._worker.events.publish("health", text)
        return _done(text)

    async def _log_level(self, arguments: Mapping[str, Any]) -> Done:
        text = str(arguments.get("text", ""))
        if text:
            try:
                logs.set_levels(logs.parse_levels(text))
            except ValueError as error:
                return _refused(400, str(error))
            self._worker.events.publish("level", f"log levels: {text}")
        return _done(f"log levels: {text or 'unchanged'}", levels=logs.levels())

    async def _reset_counters(self, arguments: Mapping[str, Any]) -> Done:
        if self._worker.measures is not None:
            async for _ in in_slices(self._worker.measures.reset()):
                pass  # in slices: there may be thousands
        return _done("counters begin at 0")

    async def _reopen_logs(self, arguments: Mapping[str, Any]) -> Done:
        self._worker.reopen()
        return _done("logs were reopened")

    # What its holder does

    async def _quit(self, arguments: Mapping[str, Any]) -> Done:
        # After the answer has left.
        stop = self._holder.stop if self._holder is not None else self._worker.stop
        self._worker.loop.call_later(0.1, stop)
        return _done("ending")

    async def _reload(self, arguments: Mapping[str, Any]) -> Done:
        if self._holder is None or self._worker.state != SERVING:
            return _refused(409, f"not while {self._worker.state}")
        outcome = await self._holder.reloaded()
        if outcome is None:
            return _refused(500, "the reload failed; the program's log says how")
        about = {"result": outcome.result, "number": outcome.number, "kept": len(outcome.kept)}
        if outcome.result == REFUSED:
            return {**_refused(422, outcome.line), **about}
        return _done(outcome.line, **about)

    async def _upgrade(self, arguments: Mapping[str, Any]) -> Done:
        begun = self._holder.upgrade() if self._holder is not None else None
        if begun is None:
            return _refused(501, "this program cannot be replaced while it runs")
        ok, text = await begun
        return _done(text) if ok else _refused(500, text)


def _done(message: str, **more: Any) -> Done:
    return {"ok": True, "message": message, **more}


def _refused(status: int, message: str) -> Done:
    return {"ok": False, "status": status, "message": message}
