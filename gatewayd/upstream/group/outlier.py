"""Passive health that several workers watch over together (semantics 9.8 to 9.12).

Failures in a row are counted over the group. A success anywhere ends the row: each worker counts in its cell how many
rows it has ended, the sum of those is the number of the present row, and a worker's failures count only if they
belong to it.

Who is ejected is decided by one worker at a time, under a lock that nobody waits for, and stands in the words of the
endpoint's block. Each decision is counted in the cluster's block; a worker looks at that number before each pick, so
that an ejection is in force everywhere with the next request.
"""

from __future__ import annotations

from collections.abc import Callable
from random import getrandbits
from typing import Any, Final

from gatewayd.cells import Block, Cells, unshared
from gatewayd.upstream.group.identity import (
    DECISIONS,
    EJECTED_AT,
    EJECTIONS,
    ERRORS,
    GATEWAY_ERRORS,
    LOCAL_FAILURES,
    LOOKED_AT,
    TIMES,
)
from gatewayd.upstream.outlier import Detector, HostHealth, OutlierPolicy, Streak

# A cell of a streak, from the right: how many rows its worker has ended (modulo 2**20, begun anywhere), how often it
# saw a failure since, and to which row those belong.
_ENDS_BITS: Final = 20
_ENDS: Final = (1 << _ENDS_BITS) - 1
_COUNT_BITS: Final = 23
_COUNT: Final = (1 << _COUNT_BITS) - 1
_ROW_SHIFT: Final = _ENDS_BITS + _COUNT_BITS

_NS: Final = 1_000_000_000
#: An interval counts as over that much early: two workers never look in the same moment.
_EARLY_S: Final = 0.001


class GroupStreak(Streak):
    """How often something failed in a row, whichever worker saw it."""

    __slots__ = ("cells", "column")

    cells: memoryview[int]
    column: int

    def __init__(self) -> None:
        """Nothing is counted before :meth:`use`."""

    def use(self, cells: memoryview[int], column: int) -> None:
        """Count in ``cells``. Beginning anywhere keeps what a predecessor counted from being taken for ours."""
        self.cells = cells
        self.column = column
        cells[column] = getrandbits(_ENDS_BITS)

    @property
    def count(self) -> int:  # type: ignore[override]  # a slot of the base
        """Of the group."""
        return self._together(self._row())

    def failed(self) -> int:
        """See the base."""
        cells, column = self.cells, self.column
        own, row = cells[column], self._row()
        counted = own >> _ENDS_BITS & _COUNT if own >> _ROW_SHIFT == row else 0
        cells[column] = row << _ROW_SHIFT | min(counted + 1, _COUNT) << _ENDS_BITS | own & _ENDS
        return self._together(row)

    def end(self) -> None:
        """See the base."""
        self.cells[self.column] = (self.cells[self.column] + 1) & _ENDS

    def _row(self) -> int:
        return sum([cell & _ENDS for cell in self.cells]) & _ENDS

    def _together(self, row: int) -> int:
        return sum([cell >> _ENDS_BITS & _COUNT for cell in self.cells if cell >> _ROW_SHIFT == row])


class GroupHealth(HostHealth):
    """What the group knows of one endpoint; ``ejected`` and the numbers beside it are copies of the words."""

    __slots__ = ("_words",)

    errors: GroupStreak
    gateway: GroupStreak
    local: GroupStreak

    def __init__(self) -> None:
        super().__init__(GroupStreak)
        self.use(unshared())

    def use(self, block: Block) -> None:
        """Count in ``block``, and know what is known there."""
        self._words = block.words
        for streak, row in (
            (self.errors, ERRORS),
            (self.gateway, GATEWAY_ERRORS),
            (self.local, LOCAL_FAILURES),
        ):
            streak.use(block.row(row), block.column)
        self.load()

    def answered(self) -> None:
        """See the base."""
        self.errors.end()
        self.gateway.end()

    def load(self) -> bool:
        """Look at the words; whether it is now ejected and was not, or the other way round."""
        words, before = self._words, self.ejected
        ejected_at = words[EJECTED_AT]
        self.ejected = ejected_at != 0
        self.ejected_at = ejected_at / _NS
        self.times = words[TIMES]
        self.ejections = words[EJECTIONS]
        return self.ejected is not before

    def store(self) -> None:
        """Tell the group; only under the lock of the cluster's block. What ejects it is written last."""
        words = self._words
        words[TIMES] = self.times
        words[EJECTIONS] = self.ejections
        words[EJECTED_AT] = max(1, int(self.ejected_at * _NS)) if self.ejected else 0

    def is_due(self, now: float, interval_s: float) -> bool:
        """Whether no worker looked at it for an interval; the caller does, then."""
        if now - self._words[LOOKED_AT] / _NS < interval_s - _EARLY_S:
            return False
        self._words[LOOKED_AT] = int(now * _NS)
        return True


class GroupDetector(Detector[GroupHealth]):
    """The outlier detection of one cluster, in one of the workers that share it."""

    __slots__ = ("_block", "_cells", "_seen", "_words")

    def __init__(self, policy: OutlierPolicy, changed: Callable[[], None], cells: Cells) -> None:
        super().__init__(policy, changed)
        self._cells = cells
        self.attach(unshared())

    def attach(self, block: Block) -> None:
        """Decide with the others under the lock of ``block``, the cluster's."""
        self._block = block
        self._words = block.words
        #: the last decision that is in force here
        self._seen = block.words[DECISIONS]

    def use(self, hosts: list[GroupHealth]) -> None:
        """See the base."""
        self._hosts = hosts
        self._load()

    # --- what others decided

    def watched(self, pick: Callable[..., Any], anew: Callable[..., Any]) -> Callable[..., Any]:
        """``pick``, but ``anew`` if there was a decision since the balancer was made. HOT."""

        def watched(*request_hash: int) -> Any:
            if self._words[DECISIONS] != self._seen:
                self.refresh()
                return anew(*request_hash)
            return pick(*request_hash)

        return watched

    def refresh(self) -> None:
        """Do as others decided, if they did."""
        if self._words[DECISIONS] != self._seen and self._load():
            self.changed()

    def _load(self) -> bool:
        """Know all that is decided; whether anybody is ejected now who was not, or the other way round."""
        self._seen = self._words[DECISIONS]
        changed = [host for host in self._hosts if host.load()]
        self.ejected = sum(host.ejected for host in self._hosts)
        return bool(changed)

    def _decided(self) -> None:
        """The words of some hosts were changed, under the lock."""
        self._words[DECISIONS] = self._seen = self._seen + 1

    # --- what this worker decides

    def _eject(self, host: GroupHealth, now: float) -> bool:
        with self._cells.deciding(self._block) as may:
            if not may:
                return False  # somebody decides in this moment: the next failure asks again
            changed = self._load()
            if self._may_eject(host):
                self._put_out(host, now)
                host.store()
                self._decided()
                changed = True
        if changed:
            self.changed()
        return True

    def sweep(self, now: float) -> None:
        """See the base; an interval counts once for each host, whichever worker looks."""
        self.refresh()
        if now < self._next_sweep:
            return
        with self._cells.deciding(self._block) as may:
            if not may:
                return
            self._next_sweep = now + self.policy.interval_s
            changed = self._load()
            for host in self._hosts:
                if (host.ejected or host.times) and host.is_due(now, self.policy.interval_s):
                    changed |= self._look_again(host, now)
                    host.store()
            if changed:
                self._decided()
        if changed:
            self.changed()
