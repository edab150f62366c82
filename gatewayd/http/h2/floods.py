"""What a peer may do without asking for anything: counted, each kind by itself (hardening section 3).

A count goes up with each frame and down with time, so that what is ordinary never adds up. Kinds that answer DATA, as
WINDOW_UPDATE and PING do, go down with each DATA frame sent, too: a fast download is no flood.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from gatewayd.http.limits import HttpLimits

# Kinds
RESETS, PINGS, SETTINGS, PRIORITIES, WINDOW_UPDATES, UNKNOWN, CLOSED_STREAMS, GOAWAYS = range(8)
NAMES: Final = (
    "resets", "PING frames", "SETTINGS frames", "PRIORITY frames", "WINDOW_UPDATE frames", "unknown frames",
    "frames on closed streams", "GOAWAY frames",
)  # fmt: skip
_ANSWER_DATA: Final = frozenset({PINGS, WINDOW_UPDATES})
#: As Envoy allows: so many for each DATA frame.
_PER_DATA_FRAME: Final = 10


class Floods:
    """The counts of one connection."""

    __slots__ = ("_allowed", "_counts", "_data_frames", "_limits", "_since")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._counts = [0.0] * len(NAMES)
        #: when each count went down last; looked at when it is full only, so a burst may be twice what is allowed
        self._since = [monotonic()] * len(NAMES)
        self._data_frames = [0] * len(NAMES)
        self._allowed = [limits.h2_resets] + [limits.h2_control_frames] * (len(NAMES) - 1)

    def is_flood(self, kind: int, data_frames: int) -> bool:
        """Count one of ``kind``; whether it is one too many. ``data_frames``: sent so far."""
        counts = self._counts
        counts[kind] += 1
        return counts[kind] > self._allowed[kind] and self._is_too_many(kind, data_frames)

    def _is_too_many(self, kind: int, data_frames: int) -> bool:
        """Let the count go down, and look again."""
        now = monotonic()
        since, self._since[kind] = self._since[kind], now
        rate = self._limits.h2_resets_per_s if kind == RESETS else self._limits.h2_control_frames_per_s
        left = self._counts[kind] - (now - since) * rate
        if kind in _ANSWER_DATA:
            left -= (data_frames - self._data_frames[kind]) * _PER_DATA_FRAME
            self._data_frames[kind] = data_frames
        self._counts[kind] = max(0.0, left)
        return left > self._allowed[kind]
