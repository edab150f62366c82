"""Topic ``process``: one row."""

from __future__ import annotations

import os
import resource
from typing import Any, Final

from gatewayd import __version__
from gatewayd.admin.status import DRAINING, HEALTH, Readiness
from gatewayd.runtime.measures.process import open_descriptors, resident_bytes, started_at

WORKER: Final = "worker"
SUPERVISOR: Final = "supervisor"


def process_row(worker: Any) -> dict[str, Any]:
    """How a worker is (:class:`gatewayd.runtime.worker.Worker`)."""
    return {
        **_row(WORKER, worker.number, worker.state, worker.readiness),
        "connections": worker.connections,
        "requests_active": sum(cluster.active for cluster in worker.registry.clusters.values()),
        "loop_lag_seconds": round(worker.measures.lag_s, 6) if worker.measures is not None else 0.0,
    }


def supervisor_row(state: str, readiness: Readiness) -> dict[str, Any]:
    """How the supervisor of several workers is: what it says is said for the whole service."""
    return _row(SUPERVISOR, 0, state, readiness)


def _row(role: str, number: int, state: str, readiness: Readiness) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "role": role,
        "worker": number,
        "pid": os.getpid(),
        "version": __version__,
        "state": state,
        "started_at": started_at(),
        "ready": readiness.ready,
        "reasons": readiness.reasons,
        "health": "failed" if readiness.held(HEALTH) else "ok",
        "draining": readiness.held(DRAINING),
        "connections": 0,
        "requests_active": 0,
        "resident_bytes": resident_bytes(),
        "heap": _heap(),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "open_fds": open_descriptors(),
        "loop_lag_seconds": 0.0,
    }


def _heap() -> dict[str, int]:
    """The private memory of the process in the words of Envoy's ``/memory``."""
    sizes = {}
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmData", "RssAnon"):
                sizes[name] = int(rest.split()[0]) * 1024
    data, used = sizes.get("VmData", 0), sizes.get("RssAnon", 0)
    return {"allocated": used, "heap_size": data, "pageheap_unmapped": max(0, data - used)}
