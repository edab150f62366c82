"""When there is too much to do, or too little memory, some is refused so that the rest is served (hardening 9.13).

At 90 % of the memory limit, or when the loop keeps coming half a second late, new requests get 503 and idle
connections are closed; at 95 % no more connections are accepted. What is under way goes on, and so do the ports for
health, metrics and administration. A loop that is late once, for a pause of the whole machine, refuses nobody.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from gatewayd.listeners.intake import Intake
from gatewayd.proxy.worker import Proxy
from gatewayd.runtime import memory
from gatewayd.upstream.registry import Registry

#: How often the loop's lateness is looked at, and memory.
PULSE_S: Final = 0.25
MEMORY_PULSES: Final = 4
#: A pulse this late is late; so many in a row are too much; so many in time are relief.
LATE_S: Final = 0.5
TOO_LATE: Final = 2
IN_TIME: Final = 4
#: Shares of the memory limit, and how much below them is relief.
REFUSE_SHARE: Final = 0.90
HOLD_SHARE: Final = 0.95
RELIEF: Final = 0.02
#: How often unused memory is given back meanwhile.
_GIVE_BACK_S: Final = 10.0

_log = logging.getLogger("gatewayd.runtime")


class MemoryGauge(Protocol):
    """See :class:`gatewayd.runtime.cgroup.Memory`."""

    #: 0: there is no limit
    limit_bytes: int

    def used_bytes(self) -> int:
        """What is in use."""


class Overload:
    """Watches one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        proxy: Proxy,
        intake: Intake,
        registry: Registry,
        gauge: MemoryGauge,
    ) -> None:
        self._loop = loop
        self._proxy = proxy
        self._intake = intake
        self._registry = registry
        self._gauge = gauge
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self._pulses = 0
        self._late = 0
        self._in_time = IN_TIME
        self._share = 0.0
        self._lags = False
        self._full = False
        self._began = 0.0
        self._refused_before = 0
        self._given_back_at = 0.0

    def start(self) -> None:
        """Watch from now on."""
        self._expected = self._loop.time() + PULSE_S
        self._timer = self._loop.call_later(PULSE_S, self._pulse)

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def reasons(self) -> list[str]:
        """Why new requests are refused, in words; none: they are not."""
        why = []
        if self._full:
            why.append(f"{self._share:.0%} of {self._gauge.limit_bytes >> 20} MiB of memory are in use")
        if self._lags:
            why.append("the event loop comes half a second late")
        return why

    def _pulse(self) -> None:
        now = self._loop.time()
        self._look_at_lateness(now - self._expected)
        if self._gauge.limit_bytes and not self._pulses % MEMORY_PULSES:
            self._look_at_memory(self._gauge.used_bytes() / self._gauge.limit_bytes)
        self._pulses += 1
        self._act(now)
        self._expected = now + PULSE_S
        self._timer = self._loop.call_later(PULSE_S, self._pulse)

    def _look_at_lateness(self, late_s: float) -> None:
        if late_s >= LATE_S:
            self._late += 1
            self._in_time = 0
        else:
            self._late = 0
            self._in_time += 1
        if self._late >= TOO_LATE:
            self._lags = True
        elif self._in_time >= IN_TIME:
            self._lags = False

    def _look_at_memory(self, share: float) -> None:
        self._share = share
        self._full = share >= (REFUSE_SHARE - RELIEF if self._full else REFUSE_SHARE)
        hold = share >= (HOLD_SHARE - RELIEF if self._intake.held else HOLD_SHARE)
        if hold != self._intake.held:
            self._intake.hold(hold)

    def _act(self, now: float) -> None:
        refuse = self._full or self._lags
        if refuse != self._proxy.refusing:
            self._proxy.refuse(refuse)
            if refuse:
                self._began, self._refused_before = now, self._proxy.refused
                _log.warning("overload: %s: new requests get 503", " and ".join(self.reasons))
            else:
                refused = self._proxy.refused - self._refused_before
                _log.warning("overload: over after %.0f s; %d requests got 503", now - self._began, refused)
        if refuse:
            self._intake.shed_idle()
            self._registry.drop_idle()
        if self._full and now - self._given_back_at >= _GIVE_BACK_S:
            self._given_back_at = now
            memory.give_back()
