"""Durations are Go's."""

import pytest

from gatewayd.resources.durations import parse_duration
from gatewayd.resources.model import LENIENCIES, Seconds, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5s", 1.5),
        ("100ms", 0.1),
        ("1h", 3600.0),
        ("1m30s", 90.0),
        ("0s", 0.0),
        (".5s", 0.5),
        ("2.s", 2.0),
        ("15us", 0.000015),
        ("1h2m3.5s", 3723.5),
        ("-3s", -3.0),
        ("+3s", 3.0),
    ],
)
def test_units_add_up(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "3", "3 s", "s", "3d", "1.5.5s", "3S", "1s2", "--3s", "١s", "9" * 60 + "h", "x" * 99]
)
def test_anything_else_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration: expected a number|ten thousand years"):
        parse_duration(text)


def test_a_bare_number_is_seconds_and_counted() -> None:
    before = LENIENCIES.count
    assert seconds_of(10) == 10.0
    assert isinstance(seconds_of(1.5), Seconds)
    assert seconds_of("3s") == 3.0
    assert LENIENCIES.count == before + 2


@pytest.mark.parametrize("value", [True, -1, float("nan"), float("inf"), [], {}, None])
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds_of(value)
