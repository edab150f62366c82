"""What the container or unit may use: memory and processors, by the control groups of this process (v2 and v1).

A group is limited by itself and by every group above it, so the least of them counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_SELF: Final = Path("/proc/self/cgroup")
#: Pages of files, which are in use only as long as nobody needs the memory; shared memory is not among them.
_CACHES: Final = frozenset({"active_file", "inactive_file"})
#: Version 1 says "none" by a number near the end of its range.
_NO_LIMIT: Final = 1 << 60


class Memory:
    """The memory of the tightest group that has a limit. ``limit_bytes`` is 0 where there is none."""

    def __init__(self, root: Path = _ROOT, own: Path = _SELF) -> None:
        self.limit_bytes = 0
        self._used: Path | None = None
        self._stat: Path | None = None
        for folder, version in _folders(root, own, "memory"):
            names = ("memory.max", "memory.current") if version == 2 else (
                "memory.limit_in_bytes", "memory.usage_in_bytes"
            )  # fmt: skip
            limit = _number(folder / names[0])
            if 0 < limit < (self.limit_bytes or _NO_LIMIT):
                self.limit_bytes = limit
                self._used = folder / names[1]
                self._stat = folder / "memory.stat"

    def used_bytes(self) -> int:
        """What the group uses and the kernel could not take back before it kills: without cached files."""
        if self._used is None or self._stat is None:
            return 0
        # Version 1 says the group's own and, by "total_", that of the groups below it as well.
        cached: dict[str, int] = {}
        for line in _text(self._stat).splitlines():
            name, _, value = line.partition(" ")
            kind = name.removeprefix("total_")
            if kind in _CACHES and value.isdecimal():
                cached[kind] = max(int(value), cached.get(kind, 0))
        return max(0, _number(self._used) - sum(cached.values()))


def processors(root: Path = _ROOT, own: Path = _SELF) -> int:
    """How many processors this process may use at a time, at least one."""
    allowed = float(len(os.sched_getaffinity(0)))
    for folder, version in _folders(root, own, "cpu"):
        if version == 2:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
        else:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            allowed = min(allowed, int(quota) / int(period))
    return max(1, math.ceil(allowed))


def _folders(root: Path, own: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of this process's group and of those above it, with the version of the interface."""
    for line in _text(own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            base, version = root, 2
        elif controller in controllers.split(","):
            base, version = root / controller, 1
        else:
            continue
        folder = base / path.lstrip("/")
        # A container often sees its own group as the root, under the path it has outside.
        while True:
            if folder.is_dir():
                yield folder, version
            if folder == base or base not in folder.parents:
                break
            folder = folder.parent


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdecimal() else 0
