"""When new requests are refused, and when no connections are taken (hardening 9.13), with the clock turned by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.runtime import overload as module
from gatewayd.runtime.overload import IN_TIME, LATE_S, MEMORY_PULSES, PULSE_S, Overload

LIMIT = 1000 << 20


class World:
    """An overload's loop, and everything it acts on."""

    def __init__(self, patch: pytest.MonkeyPatch, *, limit_bytes: int = LIMIT) -> None:
        self.now = 100.0
        self.due: Callable[[], None] | None = None
        self.due_at = 0.0
        self.done: list[str] = []
        self.proxy = SimpleNamespace(refusing=False, refused=0, refuse=self._refuse)
        self.intake = SimpleNamespace(held=False, hold=self._hold, shed_idle=lambda: self.done.append("shed"))
        registry = SimpleNamespace(drop_idle=lambda: self.done.append("drop"))
        self.memory = SimpleNamespace(
            limit_bytes=limit_bytes, used_bytes=lambda: int(limit_bytes * self.share)
        )
        self.share = 0.5
        self.given_back = 0
        patch.setattr(module.memory, "give_back", self._give_back)
        loop: Any = SimpleNamespace(time=lambda: self.now, call_later=self._call_later)
        parts: Any = (self.proxy, self.intake, registry, self.memory)
        self.overload = Overload(loop, *parts)
        self.overload.start()

    def _refuse(self, refusing: bool) -> None:
        self.proxy.refusing = refusing

    def _hold(self, held: bool) -> None:
        self.intake.held = held

    def _give_back(self) -> None:
        self.given_back += 1

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        self.due, self.due_at = call, self.now + delay_s
        return SimpleNamespace(cancel=lambda: setattr(self, "due", None))

    def pulse(self, *late_s: float) -> None:
        """The next pulses come, each so late."""
        for late in late_s:
            assert self.due is not None
            self.now = self.due_at + late
            self.due()

    def uses(self, share: float) -> tuple[bool, bool]:
        """With so much of the memory in use: whether requests are refused, and connections not taken."""
        self.share = share
        self.pulse(*[0.0] * MEMORY_PULSES)
        return self.proxy.refusing, self.intake.held


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_memory_has_two_thresholds_and_relief_is_a_little_below_them(world: World) -> None:
    for share, refused, held in [
        (0.89, False, False),
        (0.90, True, False),
        (0.94, True, False),
        (0.95, True, True),
        (0.94, True, True),
        (0.92, True, False),
        (0.89, True, False),
        (0.87, False, False),
        (0.89, False, False),
        (0.99, True, True),
        (0.10, False, False),
    ]:
        assert world.uses(share) == (refused, held), share


def test_without_a_limit_memory_is_not_even_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, limit_bytes=0)
    world.memory.used_bytes = lambda: pytest.fail("asked")
    assert world.uses(1.0) == (False, False)


def test_a_loop_that_is_late_once_refuses_nobody(world: World) -> None:
    world.pulse(30.0, 0.0, LATE_S, 0.1, LATE_S)
    assert not world.proxy.refusing


def test_one_that_stays_late_does_until_it_is_in_time_for_a_while(world: World) -> None:
    world.pulse(LATE_S, LATE_S)
    assert world.proxy.refusing
    assert not world.intake.held, "connections that wait cost nothing"
    world.pulse(*[0.0] * (IN_TIME - 1), 0.6, *[0.0] * (IN_TIME - 1))
    assert world.proxy.refusing
    world.pulse(0.0)
    assert not world.proxy.refusing


def test_idle_connections_are_closed_all_the_while(world: World) -> None:
    world.uses(0.8)
    assert world.done == []
    world.uses(0.93)
    before = len(world.done)
    world.pulse(0.0)
    assert world.done[before:] == ["shed", "drop"]


def test_free_memory_is_given_back_now_and_then(world: World) -> None:
    world.uses(0.93)
    assert world.given_back == 1
    world.pulse(*[0.0] * int(9.0 / PULSE_S))
    assert world.given_back == 1
    world.pulse(*[0.0] * int(2.0 / PULSE_S))
    assert world.given_back == 2


def test_it_says_when_it_begins_and_what_it_came_to(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.uses(0.93)
    world.proxy.refused += 7
    assert world.overload.reasons == ["93% of 1000 MiB of memory are in use"]
    world.uses(0.5)
    world.pulse(LATE_S, LATE_S)
    assert caplog.messages == [
        "overload: 93% of 1000 MiB of memory are in use: new requests get 503",
        "overload: over after 1 s; 7 requests got 503",
        "overload: the event loop comes half a second late: new requests get 503",
    ]


def test_closed_it_watches_no_more(world: World) -> None:
    world.overload.close()
    assert world.due is None
