"""Envoy's admin paths that change something. Each wants POST and the header of the guard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gatewayd.admin.messages import Answer, Rejected, Request, only
from gatewayd.admin.paths import Handler, Path
from gatewayd.admin.state import Controls

_USAGE: Final = """\
usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
levels: debug info warning error
"""


class ControlPaths:
    """What can be told."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def paths(self) -> tuple[Path, ...]:
        """The rows of the table."""
        return (
            Path(
                "/logging",
                "query/change logging levels",
                self._logging,
                changes=True,
                parameters={
                    "level": "desired level, for all components",
                    "paths": "levels of several, <name>:<level>,<name>:<level>",
                    "<name>": "the level of one component",
                },
                any_parameter=True,
            ),
            Path(
                "/drain_listeners",
                "drain listeners",
                self._drain_listeners,
                changes=True,
                parameters={
                    "graceful": "Discourage new connections for the drain time before listeners are closed",
                    "skip_exit": "Drain the connections but never stop the listeners",
                    "inboundonly": "Drains all inbound listeners (a gateway has none)",
                },
            ),
            Path("/healthcheck/fail", "cause the server to fail health checks", self._health(ok=False), True),
            Path("/healthcheck/ok", "cause the server to pass health checks", self._health(ok=True), True),
            Path("/quitquitquit", "exit the server, at once", self._plain("quit"), changes=True),
            Path(
                "/reset_counters", "reset all counters to zero", self._plain("reset_counters"), changes=True
            ),
            Path("/reopen_logs", "reopen access logs", self._plain("reopen_logs"), changes=True),
        )

    async def _act(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        done = await self._controls.act(action, arguments)
        if not done["ok"]:
            raise Rejected(int(done.get("status", 500)), done["message"])
        return done

    def _plain(self, action: str, arguments: Mapping[str, Any] | None = None) -> Handler:
        async def handle(request: Request) -> Answer:
            await self._act(action, arguments or {})
            return Answer(200, "OK\n")

        return handle

    def _health(self, *, ok: bool) -> Handler:
        return self._plain("healthcheck", {"ok": ok})

    async def _drain_listeners(self, request: Request) -> Answer:
        await self._act(
            "drain",
            {
                "graceful": request.flag("graceful"),
                "inboundonly": request.flag("inboundonly"),
                "stop_accepting": not request.flag("skip_exit"),
            },
        )
        return Answer(200, "OK\n")

    async def _logging(self, request: Request) -> Answer:
        text = _levels(request)
        done = await self._controls.act("log_level", {"text": text})
        if not done["ok"]:
            raise Rejected(400, f"error: {done['message']}\n\n{_USAGE}")
        lines = [f"  {name}: {level}" for name, level in sorted(done["levels"].items())]
        return Answer(200, "\n".join(["active loggers:", *lines, ""]))


def _levels(request: Request) -> str:
    """What the query asks for, in the form of ``--log-level``: ``debug`` or ``listeners=debug,dns=info``."""
    if len(request.query) > 1:
        raise Rejected(400, f"error: invalid number of parameters\n\n{_USAGE}")
    for name, value in request.query.items():
        if name == "level":
            return value
        if name == "paths":
            return value.replace(":", "=")
        return f"{name}={value}"
    only(request, ())
    return ""
