"""The deadline wheel, with the clock turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.timing import GRANULARITY_S, DeadlineWheel


class Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandLoop:
    """The one thing a wheel asks of a loop, on a clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.reported: list[dict[str, Any]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context)

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def turn(self, seconds: float) -> None:
        """Let time pass; timers run in order, each at its own moment."""
        end = self.now + seconds
        while due := [timer for timer in self.waiting if timer.at <= end]:
            timer = min(due, key=lambda t: t.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.callback()
        self.now = end


@pytest.fixture
def loop() -> HandLoop:
    return HandLoop()


@pytest.fixture
def wheel(loop: HandLoop) -> DeadlineWheel:
    fake: Any = loop
    return DeadlineWheel(fake, clock=lambda: loop.now)


def test_no_timer_runs_while_nothing_is_armed(loop: HandLoop, wheel: DeadlineWheel) -> None:
    assert loop.waiting == []
    wheel.arm(0.1, lambda: None)
    assert len(loop.waiting) == 1
    loop.turn(1.0)
    assert loop.waiting == []
    assert wheel.armed == 0


def test_one_timer_serves_all(loop: HandLoop, wheel: DeadlineWheel) -> None:
    fired: list[int] = []
    for index in range(100):
        wheel.arm(0.01 * (index + 1), partial(fired.append, index))
    assert len(loop.waiting) == 1
    loop.turn(2.0)
    assert fired == list(range(100))


def test_an_earlier_deadline_moves_the_timer(loop: HandLoop, wheel: DeadlineWheel) -> None:
    fired: list[str] = []
    wheel.arm(5.0, lambda: fired.append("late"))
    wheel.arm(0.05, lambda: fired.append("early"))
    assert len(loop.waiting) == 1
    loop.turn(0.1)
    assert fired == ["early"]
    assert len(loop.waiting) == 1
    loop.turn(5.0)
    assert fired == ["early", "late"]


def test_a_cancelled_deadline_never_fires(loop: HandLoop, wheel: DeadlineWheel) -> None:
    deadline = wheel.arm(0.1, lambda: pytest.fail("fired after cancel"))
    deadline.cancel()
    assert deadline.callback is None
    loop.turn(1.0)
    assert wheel.armed == 0


def test_a_fired_deadline_forgets_its_callback(loop: HandLoop, wheel: DeadlineWheel) -> None:
    deadline = wheel.arm(0.1, lambda: None)
    loop.turn(1.0)
    assert deadline.callback is None
    deadline.cancel()


def test_a_delay_of_zero_fires_on_a_later_turn(loop: HandLoop, wheel: DeadlineWheel) -> None:
    fired: list[float] = []
    wheel.arm(0.0, lambda: fired.append(loop.now))
    assert fired == []
    loop.turn(GRANULARITY_S * 2)
    assert len(fired) == 1


def test_a_callback_may_arm_another(loop: HandLoop, wheel: DeadlineWheel) -> None:
    fired: list[float] = []

    def again() -> None:
        fired.append(loop.now)
        if len(fired) < 3:
            wheel.arm(0.1, again)

    wheel.arm(0.1, again)
    loop.turn(1.0)
    assert len(fired) == 3
    assert loop.waiting == []


def test_a_callback_may_arm_one_that_is_due_at_once(loop: HandLoop, wheel: DeadlineWheel) -> None:
    fired: list[str] = []

    def first() -> None:
        fired.append("first")
        wheel.arm(0.0, partial(fired.append, "second"))

    wheel.arm(0.1, first)
    loop.turn(0.2)
    assert fired == ["first", "second"]


def test_a_callback_may_cancel_its_neighbour(loop: HandLoop, wheel: DeadlineWheel) -> None:
    fired: list[str] = []
    neighbour = None

    def first() -> None:
        assert neighbour is not None
        neighbour.cancel()
        fired.append("first")

    wheel.arm(0.1, first)
    neighbour = wheel.arm(0.1, lambda: fired.append("neighbour"))
    loop.turn(1.0)
    assert fired == ["first"]


def test_a_callback_that_raises_does_not_stop_the_others(loop: HandLoop, wheel: DeadlineWheel) -> None:
    fired: list[str] = []

    def fail() -> None:
        raise RuntimeError("broken")

    wheel.arm(0.1, fail)
    wheel.arm(0.1, lambda: fired.append("same bucket"))
    wheel.arm(0.5, lambda: fired.append("later"))
    loop.turn(1.0)
    assert fired == ["same bucket", "later"]
    assert [str(context["exception"]) for context in loop.reported] == ["broken"]


def test_a_clock_that_stood_still_for_long_fires_everything_in_order(
    loop: HandLoop, wheel: DeadlineWheel
) -> None:
    fired: list[int] = []
    for index in (3, 1, 2):
        wheel.arm(float(index), partial(fired.append, index))
    loop.now += 60.0
    wheel.sweep()
    assert fired == [1, 2, 3]


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=60))
def test_never_early_and_at_most_one_bucket_late(deadlines: list[tuple[float, bool]]) -> None:
    loop = HandLoop()
    fake: Any = loop
    wheel = DeadlineWheel(fake, clock=lambda: loop.now)
    fired: dict[int, float] = {}
    due: dict[int, float] = {}

    def note(index: int) -> None:
        fired[index] = loop.now

    for index, (delay_s, cancelled) in enumerate(deadlines):
        loop.turn(0.003)
        deadline = wheel.arm(delay_s, partial(note, index))
        if cancelled:
            deadline.cancel()
        else:
            due[index] = loop.now + delay_s
    loop.turn(10.0)
    assert fired.keys() == due.keys()
    for index, at in fired.items():
        assert due[index] <= at + 1e-9
        assert at <= due[index] + GRANULARITY_S + 1e-6
    assert wheel.armed == 0
    assert loop.waiting == []


async def test_on_a_real_loop() -> None:
    loop = asyncio.get_running_loop()
    wheel = DeadlineWheel(loop)
    done = asyncio.Event()
    began = loop.time()
    wheel.arm(0.02, done.set)
    await asyncio.wait_for(done.wait(), 30.0)
    assert loop.time() - began >= 0.02
