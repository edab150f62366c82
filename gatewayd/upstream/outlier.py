"""Passive health: endpoints that fail too often in a row are left out for a while (semantics 9.8 to 9.12). Pure.

The detector counts; it knows no socket, no clock and no balancer. Times are monotonic seconds that the caller
passes in. Who is ejected is ``HostHealth.ejected``; :attr:`Detector.changed` is called when that changes for any,
and the cluster then makes its balancer anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

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


class HostHealth:
    """What is known of one endpoint."""

    __slots__ = (
        "ejected",
        "ejected_at",
        "ejections",
        "failures_5xx",
        "failures_gateway",
        "failures_local",
        "times",
    )

    def __init__(self) -> None:
        self.failures_5xx = 0
        self.failures_gateway = 0
        self.failures_local = 0
        self.ejected = False
        self.ejected_at = 0.0
        #: multiplies the base time; grows with every ejection, shrinks with every quiet interval
        self.times = 0
        #: ever, for statistics
        self.ejections = 0

    def __repr__(self) -> str:
        state = "ejected" if self.ejected else "in use"
        return f"HostHealth({state}, 5xx {self.failures_5xx}, ejections {self.ejections})"


class Detector:
    """The outlier detection of one cluster."""

    __slots__ = ("_hosts", "_next_sweep", "changed", "ejected", "policy")

    def __init__(self, policy: OutlierPolicy, changed: Callable[[], None]) -> None:
        self.policy = policy
        self.changed = changed
        self._hosts: list[HostHealth] = []
        #: how many are out now
        self.ejected = 0
        self._next_sweep = 0.0

    def use(self, hosts: list[HostHealth]) -> None:
        """The cluster has these endpoints from now on; what is known of those that stay stays."""
        self._hosts = hosts
        self.ejected = sum(host.ejected for host in hosts)

    def response(self, host: HostHealth, status: int, now: float) -> None:
        """The endpoint answered with ``status``."""
        policy = self.policy
        if policy.split:
            host.failures_local = 0  # it could be reached
        self._external(host, status, now)

    def local_failure(self, host: HostHealth, now: float, *, status: int = 503) -> None:
        """Nothing came of an attempt: no connection, a reset, a timeout (``status`` 504)."""
        policy = self.policy
        if not policy.split:
            self._external(host, status, now)
            return
        host.failures_local += 1
        if policy.consecutive_local and host.failures_local == policy.consecutive_local:
            host.failures_local = 0
            self._eject(host, now)

    def connected(self, host: HostHealth) -> None:
        """A connection could be opened; ends a row of local failures where they are counted apart."""
        if self.policy.split:
            host.failures_local = 0

    def _external(self, host: HostHealth, status: int, now: float) -> None:
        policy = self.policy
        codes = policy.error_codes
        if not (status in codes if codes else status >= 500):
            host.failures_5xx = host.failures_gateway = 0
            return
        if status in _GATEWAY_ERRORS:
            host.failures_gateway += 1
            if policy.consecutive_gateway and host.failures_gateway == policy.consecutive_gateway:
                host.failures_gateway = 0
                self._eject(host, now)
        else:
            host.failures_gateway = 0
        host.failures_5xx += 1
        if policy.consecutive_5xx and host.failures_5xx == policy.consecutive_5xx:
            host.failures_5xx = 0
            self._eject(host, now)

    def _eject(self, host: HostHealth, now: float) -> None:
        policy = self.policy
        if host.ejected or not self._hosts:
            return
        if 100.0 * (self.ejected + 1) / len(self._hosts) > policy.max_ejection_percent:
            return  # 9.10: strictly
        host.ejected = True
        host.ejected_at = now
        host.ejections += 1
        if host.times * policy.base_ejection_s < policy.max_ejection_s + policy.base_ejection_s:
            host.times += 1
        self.ejected += 1
        self.changed()

    def sweep(self, now: float) -> None:
        """Called about once a second; looks at the hosts once per interval."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self.policy.interval_s
        policy = self.policy
        limit_s = max(policy.max_ejection_s, policy.base_ejection_s)
        back = False
        for host in self._hosts:
            if not host.ejected:
                if host.times:
                    host.times -= 1
            elif now - host.ejected_at >= min(policy.base_ejection_s * host.times, limit_s):
                host.ejected = False
                host.failures_5xx = host.failures_gateway = host.failures_local = 0
                self.ejected -= 1
                back = True
        if back:
            self.changed()
