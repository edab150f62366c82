"""The map between processes: nothing is lost, nothing is torn, and no death leaves anything behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cells import scenarios
from tests.support.forked import play_apart


@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.every_addition_counts,
        scenarios.no_read_is_torn,
        scenarios.killed_anywhere,
        scenarios.a_stopped_process_is_not_waited_for,
        scenarios.a_process_without_a_column_shares_nothing,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_between_processes(scenario: Callable[[], None]) -> None:
    play_apart(scenario)
