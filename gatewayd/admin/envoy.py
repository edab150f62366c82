"""Envoy's admin paths in Envoy's forms, so that habits and scripts keep working."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gatewayd.admin import stats
from gatewayd.admin.config_dump import config_dump
from gatewayd.admin.dump.clusters import UNLIMITED, locality_message
from gatewayd.admin.dump.values import Message, address
from gatewayd.admin.messages import JSON, Answer, Rejected, Request, choice, encode, json_answer
from gatewayd.admin.metrics import exposition
from gatewayd.admin.paths import Path, pattern
from gatewayd.admin.state import State
from gatewayd.observe.exposition import CONTENT_TYPE
from gatewayd.regexes import Regex

_FORMAT: Final = {"format": "File format to use; One of (text, json)"}
_FILTER: Final = {"filter": "Regular expression (Google re2) for filtering by name"}
#: Worker states as Envoy calls them.
_STATES: Final = {"LOADING": "INITIALIZING", "SERVING": "LIVE", "DRAINING": "DRAINING", "STOPPED": "DRAINING"}


class EnvoyPaths:
    """What can be looked at."""

    def __init__(self, state: State) -> None:
        self._state = state

    def paths(self) -> tuple[Path, ...]:
        """The rows of the table."""
        state = self._state
        return (
            Path("/server_info", "print server version/status information", self._server_info),
            Path("/ready", "print server state, return 200 if LIVE, otherwise return 503", self._ready),
            Path(
                "/stats",
                "print server stats",
                lambda request: stats.answer(state, request),
                parameters=stats.PARAMETERS,
            ),
            Path(
                "/stats/prometheus",
                "print server stats in prometheus format",
                self._prometheus,
                parameters={"usedonly": "Accepted; there are no stats that were never used", **_FILTER},
            ),
            Path("/clusters", "upstream cluster status", self._clusters, parameters={**_FORMAT, **_FILTER}),
            Path("/listeners", "print listener info", self._listeners, parameters=_FORMAT),
            Path("/certs", "print certs on machine", self._certs),
            Path(
                "/config_dump",
                "dump the configuration in force in Envoy's words",
                lambda request: config_dump(state, request),
                parameters={
                    "resource": "The resource to dump, such as dynamic_listeners",
                    "mask": "The fields to show, as a FieldMask; with resource, of each element",
                    "name_regex": "Only what is called so (Google re2, the whole name)",
                    "include_eds": "Endpoints too, as they are known now",
                },
            ),
            Path("/runtime", "print runtime values (there are none)", self._runtime),
            Path("/memory", "print current allocation/heap usage", self._memory),
            Path("/hot_restart_version", "print the hot restart compatibility version", self._hot_restart),
        )

    async def _processes(self) -> list[dict[str, Any]]:
        return [row async for row in self._state.rows("process", {})]

    async def _one(self, topic: str) -> dict[str, Any]:
        async for row in self._state.rows(topic, {}):
            return dict(row)
        return {}

    async def _server_info(self, request: Request) -> Answer:
        processes = await self._processes()
        own = await self._one("configuration")
        first = processes[0] if processes else {}
        workers = sum(row["role"] == "worker" for row in processes)
        uptime = f"{int(time.time() - first.get('started_at', time.time()))}s"
        return json_answer(
            {
                "version": f"gatewayd/{first.get('version', '')}",
                "state": server_state(processes),
                "uptime_current_epoch": uptime,
                "uptime_all_epochs": uptime,
                "hot_restart_version": "disabled",
                "command_line_options": {"concurrency": workers, **own.get("options", {})},
                "node": own.get("node", {}),
            }
        )

    async def _ready(self, request: Request) -> Answer:
        found = server_state(await self._processes())
        return Answer(200 if found == "LIVE" else 503, found + "\n")

    def _prometheus(self, request: Request) -> Answer:
        wanted = pattern(request, "filter")
        return Answer(200, content_type=CONTENT_TYPE, pieces=exposition(self._state, wanted))

    def _clusters(self, request: Request) -> Answer:
        wanted = pattern(request, "filter")
        if choice(request, "format", ("text", "json"), "text") == "json":
            return Answer(200, content_type=JSON, pieces=self._clusters_json(wanted))
        return Answer(200, pieces=self._clusters_text(wanted))

    async def _cluster_rows(self, wanted: Regex | None) -> AsyncIterator[dict[str, Any]]:
        async for row in self._state.rows("clusters", {}):
            if wanted is None or wanted.matches(row["name"].encode()):
                yield row

    async def _clusters_text(self, wanted: Regex | None) -> AsyncIterator[bytes]:
        async for row in self._cluster_rows(wanted):
            yield "".join(f"{line}\n" for line in cluster_lines(row)).encode()

    async def _clusters_json(self, wanted: Regex | None) -> AsyncIterator[bytes]:
        mark = b'{"cluster_statuses": [\n'
        async for row in self._cluster_rows(wanted):
            yield mark + encode(cluster_status(row))
            mark = b",\n"
        yield b"\n]}\n" if mark == b",\n" else b"{}\n"

    async def _listeners(self, request: Request) -> Answer:
        rows = [row async for row in self._state.rows("listeners", {})]
        if choice(request, "format", ("text", "json"), "text") == "json":
            return json_answer({"listener_statuses": [_listener_status(row) for row in rows]})
        return Answer(200, "".join(f"{row['name']}::{place}\n" for row in rows for place in row["addresses"]))

    async def _certs(self, request: Request) -> Answer:
        rows = [row async for row in self._state.rows("certs", {})]
        return json_answer({"certificates": [_certificate(row) for row in rows if row["serial"]]})

    def _runtime(self, request: Request) -> Answer:
        return json_answer({"entries": {}, "layers": []})

    async def _memory(self, request: Request) -> Answer:
        resident = sum(row["resident_bytes"] for row in await self._processes())
        heap = await self._heap()
        return json_answer(
            {name: str(size) for name, size in {**heap, "total_physical_bytes": resident}.items()}
        )

    async def _heap(self) -> dict[str, int]:
        names = ("allocated", "heap_size", "pageheap_unmapped", "pageheap_free", "total_thread_cache")
        found = dict.fromkeys(names, 0)
        for row in await self._processes():
            for name in names:
                found[name] += row.get("heap", {}).get(name, 0)
        return found

    def _hot_restart(self, request: Request) -> Answer:
        return Answer(200, "disabled")


def server_state(processes: list[dict[str, Any]]) -> str:
    """LIVE while the first, who speaks for all, serves and was not told to fail or to drain.

    Also after an upgrade, while a supervisor loads and the workers of the program before it serve: it is ready.
    """
    if not processes:
        return "INITIALIZING"
    first = processes[0]
    if first["draining"] or first["health"] != "ok":
        return "DRAINING"
    return "LIVE" if first["ready"] else _STATES.get(first["state"], "INITIALIZING")


# --- clusters


def _thresholds(row: Mapping[str, Any]) -> list[tuple[str, int]]:
    limits = row["limits"]
    return [
        (name, limits.get(own) or UNLIMITED)
        for name, own in (
            ("max_connections", "max_connections"),
            ("max_pending_requests", "max_pending"),
            ("max_requests", "max_requests"),
            ("max_retries", "max_retries"),
        )
    ]


_HOST_STATS: Final = (
    # Envoy's name, what we have, whether it is a gauge
    ("cx_active", "connections", True),
    ("cx_connect_fail", "failed", False),
    ("cx_total", "opened", False),
    ("rq_active", "active", True),
    ("rq_error", "errors", False),
    ("rq_pending_active", "waiting", True),
    ("rq_success", "successes", False),
    ("rq_timeout", "timeouts", False),
    ("rq_total", "total", False),
)


def _stat(endpoint: Mapping[str, Any], name: str) -> int:
    if name == "successes":
        return max(0, int(endpoint["total"]) - int(endpoint["active"]) - int(endpoint["errors"]))
    return int(endpoint[name])


def cluster_lines(row: Mapping[str, Any]) -> list[str]:
    """A cluster as ``/clusters`` has it in text."""
    name = row["name"]
    lines = [f"{name}::observability_name::{name}"]
    lines += [f"{name}::default_priority::{limit}::{value}" for limit, value in _thresholds(row)]
    lines.append(f"{name}::added_via_api::true")
    for endpoint in row["endpoints"]:
        before = f"{name}::{endpoint['address']}"
        lines += [f"{before}::{stat}::{_stat(endpoint, own)}" for stat, own, _ in _HOST_STATS]
        place = locality_message(endpoint["locality"])
        lines += [
            f"{before}::hostname::",
            f"{before}::health_flags::{_health_flags(endpoint)}",
            f"{before}::weight::{endpoint['weight']}",
            f"{before}::region::{place.get('region', '')}",
            f"{before}::zone::{place.get('zone', '')}",
            f"{before}::sub_zone::{place.get('sub_zone', '')}",
            f"{before}::canary::false",
            f"{before}::priority::{endpoint['priority']}",
            f"{before}::success_rate::-1",
            f"{before}::local_origin_success_rate::-1",
        ]
    return lines


def _health_flags(endpoint: Mapping[str, Any]) -> str:
    flags = []
    if endpoint["ejected"]:
        flags.append("/failed_outlier_check")
    if not endpoint["ready"]:
        flags.append("/failed_eds_health")
    return "".join(flags) or "healthy"


def cluster_status(row: Mapping[str, Any]) -> Message:
    """A cluster as ``/clusters?format=json`` has it."""
    made: Message = {"name": row["name"], "added_via_api": True}
    if row["endpoints"]:
        made["host_statuses"] = [_host_status(endpoint) for endpoint in row["endpoints"]]
    made["circuit_breakers"] = {"thresholds": [dict(_thresholds(row))]}
    made["observability_name"] = row["name"]
    return made


def _host_status(endpoint: Mapping[str, Any]) -> Message:
    stats_: list[Message] = []
    for name, own, gauge in sorted(_HOST_STATS, key=lambda each: (each[2], each[0])):
        stat: Message = {"type": "GAUGE"} if gauge else {}
        value = _stat(endpoint, own)
        stats_.append({**stat, **({"value": str(value)} if value else {}), "name": name})
    health: Message = {"eds_health_status": "HEALTHY" if endpoint["ready"] else "UNHEALTHY"}
    if endpoint["ejected"]:
        health["failed_outlier_check"] = True
    made: Message = {
        "address": address(endpoint["host"], endpoint["port"]),
        "stats": stats_,
        "health_status": health,
        "weight": endpoint["weight"],
    }
    if endpoint["locality"]:
        made["locality"] = locality_message(endpoint["locality"])
    if endpoint["priority"]:
        made["priority"] = endpoint["priority"]
    return made


# --- listeners and certificates


def _listener_status(row: Mapping[str, Any]) -> Message:
    places = [address(host, port) for host, port in row["bound"]]
    made: Message = {"name": row["name"]}
    if places:
        made["local_address"] = places[0]
    if len(places) > 1:
        made["additional_local_addresses"] = places[1:]
    return made


_ALTERNATIVE: Final = {"DNS": "dns", "IP": "ip_address", "URI": "uri"}


def _certificate(row: Mapping[str, Any]) -> Message:
    names = [name.partition(":") for name in row["names"]]
    details: Message = {
        "path": row["source"],
        "serial_number": row["serial"].lower(),
        "subject_alt_names": [
            {_ALTERNATIVE[kind]: value} for kind, _, value in names if kind in _ALTERNATIVE
        ],
        # of whole seconds, as Envoy counts
        "days_until_expiration": str(max(0, int((row["not_after"] - int(time.time())) // 86400))),
        "valid_from": _moment(row["not_before"]),
        "expiration_time": _moment(row["not_after"]),
    }
    return {"cert_chain": [details]}


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def rejected(row: Mapping[str, Any]) -> Rejected:
    """What a row that is an error comes to."""
    return Rejected(int(row.get("status", 400)), str(row["error"]))
