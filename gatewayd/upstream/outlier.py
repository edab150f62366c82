"""Passive health: endpoints that fail too often in a row are left out for a while (semantics 9.8 to 9.12). Pure.

The detector counts; it knows no socket, no clock and no balancer. Times are monotonic seconds that the caller
passes in. Who is ejected is ``HostHealth.ejected``; :attr:`Detector.changed` is called when that changes for any,
and the cluster then makes its balancer anew.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

_SERVER_ERRORS: Final = range(500, 1000)
_GATEWAY_ERRORS: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """``outlierDetection``; a count of 0 switches its check off (9.9)."""

    consecutive_5xx: int = 5
    consecutive_gateway: int = 0
    #: counted only when ``split``, which keeps local failures out of the two above (9.11)
    consecutive_local: int = 5
    split: bool = False
    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_s: float = 300.0
    max_ejection_percent: int = 10
    #: statuses that count instead of all 5xx; empty: all 5xx (9.11)
    error_codes: frozenset[int] = frozenset()


class Streak:
    """How often something failed in a row."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def failed(self) -> int:
        """Once more; the count with this one."""
        self.count += 1
        return self.count

    def end(self) -> None:
        """The next failure is the first."""
        self.count = 0


class HostHealth:
    """What is known of one endpoint."""

    __slots__ = ("ejected", "ejected_at", "ejections", "errors", "gateway", "local", "times")

    def __init__(self, streak: Callable[[], Streak] = Streak) -> None:
        #: answers that count as errors, those of them that are gateway errors, and attempts without an answer
        self.errors = streak()
        self.gateway = streak()
        self.local = streak()
        self.ejected = False
        self.ejected_at = 0.0
        #: multiplies the base time; grows with every ejection, shrinks with every quiet interval
        self.times = 0
        #: ever, for statistics
        self.ejections = 0

    def answered(self) -> None:
        """An answer that counts as none of the errors."""
        self.errors.count = self.gateway.count = 0

    def __repr__(self) -> str:
        state = "ejected" if self.ejected else "in use"
        return f"HostHealth({state}, 5xx {self.errors.count}, ejections {self.ejections})"


H = TypeVar("H", bound=HostHealth)


class Detector(Generic[H]):
    """The outlier detection of one cluster."""

    __slots__ = ("_errors", "_hosts", "_next_sweep", "changed", "ejected", "policy")

    def __init__(self, policy: OutlierPolicy, changed: Callable[[], None]) -> None:
        self.policy = policy
        #: statuses that count
        self._errors: Container[int] = policy.error_codes or _SERVER_ERRORS
        self.changed = changed
        self._hosts: list[H] = []
        #: how many are out now
        self.ejected = 0
        self._next_sweep = 0.0

    def use(self, hosts: list[H]) -> None:
        """The cluster has these endpoints from now on; what is known of those that stay stays."""
        self._hosts = hosts
        self.ejected = sum(host.ejected for host in hosts)

    def response(self, host: H, status: int, now: float) -> None:
        """The endpoint answered with ``status``."""
        if self.policy.split:
            host.local.end()  # it could be reached
        if status in self._errors:
            self._failed(host, status, now)
        else:
            host.answered()

    def local_failure(self, host: H, now: float, *, status: int = 503) -> None:
        """Nothing came of an attempt: no connection, a reset, a timeout (``status`` 504)."""
        policy = self.policy
        if policy.split:
            self._count(host, host.local, policy.consecutive_local, now)
        else:
            self.response(host, status, now)

    def connected(self, host: H) -> None:
        """A connection could be opened; ends a row of local failures where they are counted apart."""
        if self.policy.split:
            host.local.end()

    def _failed(self, host: H, status: int, now: float) -> None:
        policy = self.policy
        if status in _GATEWAY_ERRORS:
            self._count(host, host.gateway, policy.consecutive_gateway, now)
        else:
            host.gateway.end()
        self._count(host, host.errors, policy.consecutive_5xx, now)

    def _count(self, host: H, streak: Streak, limit: int, now: float) -> None:
        """One more failure; ``limit`` of them in a row are a reason to eject (9.9: 0 never is)."""
        if limit and streak.failed() >= limit and self._eject(host, now):
            streak.end()

    def _eject(self, host: H, now: float) -> bool:
        """Eject ``host`` if the policy allows it; whether that is decided, one way or the other."""
        if self._may_eject(host):
            self._put_out(host, now)
            self.changed()
        return True

    def _may_eject(self, host: H) -> bool:
        if host.ejected or not self._hosts:
            return False
        # 9.10: strictly
        return 100.0 * (self.ejected + 1) / len(self._hosts) <= self.policy.max_ejection_percent

    def _put_out(self, host: H, now: float) -> None:
        policy = self.policy
        host.ejected = True
        host.ejected_at = now
        host.ejections += 1
        if host.times * policy.base_ejection_s < policy.max_ejection_s + policy.base_ejection_s:
            host.times += 1
        self.ejected += 1

    def sweep(self, now: float) -> None:
        """Called about once a second; looks at the hosts once per interval."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self.policy.interval_s
        if [host for host in self._hosts if self._look_again(host, now)]:
            self.changed()

    def _look_again(self, host: H, now: float) -> bool:
        """What an interval does to ``host``; whether it may be used again."""
        policy = self.policy
        limit_s = max(policy.max_ejection_s, policy.base_ejection_s)
        if not host.ejected:
            if host.times:
                host.times -= 1
            return False
        if now - host.ejected_at < min(policy.base_ejection_s * host.times, limit_s):
            return False
        host.ejected = False
        for streak in (host.errors, host.gateway, host.local):
            streak.end()
        self.ejected -= 1
        return True
