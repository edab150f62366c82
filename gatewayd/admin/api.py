"""``/api/v1``: our own view of everything, and what can be asked or told (product: never to edit configuration)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from gatewayd.admin.messages import (
    JSON,
    Answer,
    Rejected,
    Request,
    choice,
    json_answer,
    json_list,
    whole_number,
)
from gatewayd.admin.paths import Handler, Path
from gatewayd.admin.state import Controls, State
from gatewayd.admin.streams import Streams
from gatewayd.observe.tap import PARAMETERS as TAP_PARAMETERS
from gatewayd.observe.timeline import COLUMNS, SECONDS, quantiles

ROOT: Final = "/api/v1/"
_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: Seconds that the rates of the overview are of.
_RECENT_S: Final = 10
#: Certificates shown in the overview: those with the least time left.
_MAX_CERTS: Final = 20
#: Further back than the ring goes there is nothing.
_LONGEST: Final = SECONDS - 1


class Api:
    """The paths below ``/api/v1``."""

    def __init__(self, state: State, controls: Controls) -> None:
        self._state = state
        self._controls = controls
        self.streams = Streams(state)

    def paths(self) -> tuple[Path, ...]:
        """The rows of the table."""
        return (
            Path(f"{ROOT}overview", "how it goes, in one answer", self._overview),
            self._listing("listeners", "listeners with their chains and connections"),
            self._listing(
                "routes",
                "rules in the order in which they are tried, with hits",
                {"host": "Only this host's"},
            ),
            self._listing("clusters", "clusters with their endpoints"),
            Path(f"{ROOT}endpoints", "the endpoints of all clusters, one row each", self._endpoints),
            self._listing("certs", "certificates in use, and owners that have none"),
            self._listing("findings", "what is wrong with the configuration, as `validate -o json` says it"),
            self._listing("reloads", "reloads, the newest first"),
            Path(
                f"{ROOT}timeseries",
                "the last ten minutes, second by second",
                self._timeseries,
                parameters={
                    "seconds": f"How many seconds back, at most {_LONGEST}",
                    "kind": "Of what; One of (all, cluster, route)",
                    "name": "Only the cluster or rule of this name",
                },
            ),
            Path(f"{ROOT}events", "what happens, as a stream", self._events, parameters={"after": "An id"}),
            Path(
                f"{ROOT}tap",
                "requests as they end, as a stream",
                lambda request: self.streams.answer("tap", request.query),
                parameters=TAP_PARAMETERS,
            ),
            Path(f"{ROOT}explain", "where a request would go, and why", self._explain, posted=True),
            Path(
                f"{ROOT}validate",
                "findings for the YAML that is posted, with the options that are in force",
                self._validate,
                posted=True,
                parameters={"name": "What to call the text in messages"},
            ),
            *(
                Path(f"{ROOT}{name}", help, self._acting(name, arguments), changes=True)
                for name, arguments, help in (
                    ("reload", {}, "read the configuration again; answers when it is over"),
                    ("drain", {"graceful": True}, "no new traffic wanted; undrain takes it back"),
                    ("undrain", {}, "traffic is welcome again"),
                    ("upgrade", {}, "replace the program without closing a port"),
                    ("replace_workers", {}, "replace all workers, one after the other"),
                )
            ),
        )

    # --- lists

    def _listing(self, topic: str, help: str, parameters: dict[str, str] | None = None) -> Path:
        def answer(request: Request) -> Answer:
            rows = self._state.rows(topic, dict(request.query))
            return Answer(200, content_type=JSON, pieces=json_list(rows, name=topic))

        return Path(f"{ROOT}{topic}", help, answer, parameters=parameters or {})

    def _endpoints(self, request: Request) -> Answer:
        async def rows() -> AsyncIterator[dict[str, Any]]:
            async for cluster in self._state.rows("clusters", {}):
                for endpoint in cluster["endpoints"]:
                    yield {"cluster": cluster["name"], **endpoint}

        return Answer(200, content_type=JSON, pieces=json_list(rows(), name="endpoints"))

    # --- the overview

    async def _overview(self, request: Request) -> Answer:
        processes = [row async for row in self._state.rows("process", {})]
        configuration = [row async for row in self._state.rows("configuration", {})]
        certificates = [row async for row in self._state.rows("certs", {})]
        wanted = {"kinds": ["all"], "seconds": _RECENT_S, "last": int(time.time()) - 1}
        recent = [row async for row in self._state.rows("timeseries", wanted)]
        certificates = [row for row in certificates if row["level"] != "ok" or row["problem"]]
        certificates.sort(key=lambda row: row["not_after"])
        first = processes[0] if processes else {}  # speaks for all
        return json_answer(
            {
                "version": first.get("version", ""),
                "now": round(time.time(), 3),
                "started_at": min((row["started_at"] for row in processes), default=0),
                "state": first.get("state", ""),
                "ready": first.get("ready", False),
                "reasons": first.get("reasons", []),
                "draining": first.get("draining", False),
                "connections": sum(row["connections"] for row in processes),
                "requests_active": sum(row["requests_active"] for row in processes),
                "workers": [row for row in processes if row["role"] == "worker"],
                "supervisor": first if first.get("role") == "supervisor" else None,
                "traffic": _recent(recent[0]) if recent else {},
                "configuration": configuration[0] if configuration else {},
                "certificates": certificates[:_MAX_CERTS],
            }
        )

    # --- time series

    async def _timeseries(self, request: Request) -> Answer:
        seconds = whole_number(request, "seconds", _LONGEST, 1, _LONGEST)
        kind = choice(request, "kind", ("all", "cluster", "route"), "all")
        last = int(time.time()) - 1
        arguments: dict[str, Any] = {"kinds": [kind], "seconds": seconds, "last": last}
        if "name" in request.query:
            arguments["name"] = request.query["name"]
        pieces = json_list(self._shown_series(arguments), name="series")
        return Answer(200, content_type=JSON, pieces=pieces)

    async def _shown_series(self, arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async for row in self._state.rows("timeseries", arguments):
            yield shown_series(row)

    # --- streams

    def _events(self, request: Request) -> Answer:
        after = request.headers.get("last-event-id", request.query.get("after", ""))
        if after and not (after.isascii() and after.isdigit() and len(after) < 16):
            raise Rejected(400, f"after={after}: expected the id of an event")
        return self.streams.answer("events", {"after": int(after)} if after else {})

    # --- questions

    async def _explain(self, request: Request) -> Answer:
        try:
            asked = msgspec.json.decode(request.body, type=_Asked)
        except msgspec.MsgspecError as error:
            raise Rejected(
                400,
                f'{error}: expected JSON such as {{"method": "GET", "url": "http://a.test/x", "headers": []}}',
            ) from None
        return await self._one("explain", msgspec.to_builtins(asked))

    async def _validate(self, request: Request) -> Answer:
        if not request.body.strip():
            raise Rejected(400, "expected YAML or JSON documents as the body")
        try:
            text = request.body.decode()
        except UnicodeDecodeError as error:
            raise Rejected(400, f"the body is not UTF-8: byte {error.start}") from None
        return await self._one("validate", {"text": text, "name": request.query.get("name", "body.yaml")})

    async def _one(self, topic: str, arguments: dict[str, Any]) -> Answer:
        async for row in self._state.rows(topic, arguments):
            if "error" in row:
                raise Rejected(int(row.get("status", 400)), str(row["error"]))
            return json_answer(row)
        raise Rejected(503, "nothing is served yet")

    # --- what changes something

    def _acting(self, action: str, arguments: dict[str, Any]) -> Handler:
        async def handle(request: Request) -> Answer:
            done = await self._controls.act(action, arguments)
            return json_answer(done, 200 if done["ok"] else int(done.get("status", 500)))

        return handle


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A request to explain."""

    url: str
    method: str = "GET"
    #: pairs, or an object
    headers: list[tuple[str, str]] | dict[str, str] = msgspec.field(default_factory=list)
    sni: str | None = None


def _recent(row: dict[str, Any]) -> dict[str, Any]:
    """Rates over the last seconds."""
    seconds = max(1, len(row["requests"]))
    found = dict(zip(_QUANTILES, quantiles(row["latencies"], list(_QUANTILES.values())), strict=True))
    return {
        "seconds": seconds,
        "requests_per_second": round(sum(row["requests"]) / seconds, 2),
        "errors_per_second": round(sum(row["errors"]) / seconds, 2),
        "bytes_per_second": round((sum(row["bytes_received"]) + sum(row["bytes_sent"])) / seconds),
        **{f"{name}_ms": value for name, value in found.items()},
    }


def shown_series(row: dict[str, Any]) -> dict[str, Any]:
    """A series with its latencies as quantiles, second by second and of all seconds together."""
    wanted = list(_QUANTILES.values())
    columns: dict[str, list[float | None]] = {f"{name}_ms": [] for name in _QUANTILES}
    for second in row["latencies"]:
        for name, value in zip(columns, quantiles([second], wanted), strict=True):
            columns[name].append(value)
    total: dict[str, Any] = {name: sum(row[name]) for name in COLUMNS if name != "connections"}
    total |= dict(zip(columns, quantiles(row["latencies"], wanted), strict=True))
    shown = {name: row[name] for name in ("kind", "name", "start", "step", *COLUMNS)}
    return {**shown, **columns, "total": total}
