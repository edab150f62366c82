"""Metrics of the process itself."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator
from functools import cache

from gatewayd import __version__
from gatewayd.observe.exposition import COUNTER, GAUGE, MAX, MIN, SUM, Family, labels
from gatewayd.runtime.deployment import Deployment
from gatewayd.upstream.registry import Registry


def process_families(lag_s: float) -> Iterator[Family]:
    """``lag_s``: the longest delay of a tick in the last minute."""
    build = labels(version=__version__, python=platform.python_version())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    for name, kind, help, text, value, merge in (
        ("envoy_server_live", GAUGE, "1 while it runs.", "", 1.0, MIN),
        ("envoy_server_uptime", GAUGE, "Seconds since it was started.", "", int(time.time() - started_at()), MAX),
        ("envoy_server_concurrency", GAUGE, "Worker processes.", "", 1.0, SUM),
        ("gatewayd_build_info", GAUGE, "What runs.", build, 1.0, MAX),
        ("gatewayd_loop_lag_seconds", GAUGE, "The longest delay of a tick in the last minute.", "",
         round(lag_s, 6), MAX),
        ("process_cpu_seconds_total", COUNTER, "User and system time.", "",
         round(usage.ru_utime + usage.ru_stime, 6), SUM),
        ("process_resident_memory_bytes", GAUGE, "Resident memory.", "", resident_bytes(), SUM),
        ("process_open_fds", GAUGE, "Open descriptors.", "", open_descriptors(), SUM),
        ("process_max_fds", GAUGE, "How many there may be.", "",
         resource.getrlimit(resource.RLIMIT_NOFILE)[0], MAX),
        ("process_start_time_seconds", GAUGE, "Seconds since 1970.", "", started_at(), MIN),
    ):  # fmt: skip
        yield Family(name, kind, help, ((text, value),), merge)


def overload_families(deployment: Deployment, registry: Registry) -> Iterator[Family]:
    """What was refused for want of time or memory, and what workers could not do together."""
    overloaded, refused = deployment.overload
    for name, kind, help, value, merge in (
        ("gatewayd_overloaded", GAUGE, "Whether new requests get 503 for want of time or memory.",
         int(overloaded), MAX),
        ("gatewayd_overload_refused_total", COUNTER, "Requests that got 503 for it.", refused, SUM),
        ("gatewayd_unshared_counters_total", COUNTER, "Counters that the workers could not share.",
         registry.unshared, SUM),
    ):  # fmt: skip
        yield Family(name, kind, help, [("", value)], merge)


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_descriptors() -> int:
    """But for the one it takes to look."""
    return len(os.listdir("/proc/self/fd")) - 1


@cache
def started_at() -> float:
    """When this process began, seconds since 1970."""
    return round(time.time() - (time.monotonic() - _began_monotonic_s()), 3)


def _began_monotonic_s() -> float:
    """The same as the monotonic clock counts: ticks since boot, field 22 of its stat."""
    with open("/proc/self/stat", encoding="utf-8") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK") - (time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic())
