"""The field ``grpc-timeout`` (semantics 6.6.3; PROTOCOL-HTTP2 of the gRPC project)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.policies.grpc_timeout import limited_s, read_ms, written

VALUES = [
    *((b"1H", 3_600_000), (b"2M", 120_000), (b"5S", 5000), (b"60m", 60), (b"80000u", 80), (b"1u", 1)),
    *((b"99999999n", 100), (b"1000001n", 2), (b"0S", 0), (b"99999999H", 359_999_996_400_000), (b"007m", 7)),
    *((b"", 0), (b"x", 0), (b"1", 0), (b"S", 0), (b"-1S", 0), (b"-0S", 0), (b"+5m", 5), (b"1.5S", 0)),
    *((b"123456789m", 0), (b"5s", 0), (b"5mm", 0), (b"5S\n", 0), (b"\xb2S", 0), (None, 0)),
]


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_6_6_3_what_a_client_may_say(value: bytes | None, expected: int) -> None:
    assert read_ms(value) == expected


TIMES = [
    *((1, b"1m"), (99_999_999, b"99999999m"), (100_000_000, b"100000S"), (99_999_999_999, b"99999999S")),
    *((100_000_000_000, b"1666666M"), (360_000_000_000_000_000, b"99999999H")),
]


@pytest.mark.parametrize(("timeout_ms", "expected"), TIMES)
def test_6_6_3_what_a_server_is_told(timeout_ms: int, expected: bytes) -> None:
    assert written(timeout_ms) == expected


@given(st.integers(1, 10**14))
def test_what_is_written_can_be_read_and_is_not_longer(timeout_ms: int) -> None:
    assert 0.98 * timeout_ms <= read_ms(written(timeout_ms)) <= timeout_ms


def test_6_6_3_the_shorter_of_both_holds() -> None:
    rows = [
        (b"5S", 2.0, 2.0),
        (b"1S", 2.0, 1.0),
        (b"1S", 0.0, 1.0),
        (None, 2.0, 2.0),
        (b"x", 2.0, 2.0),
        (b"x", 0.0, 0.0),
    ]
    for asked, limit_s, expected in rows:
        assert limited_s(asked, limit_s) == expected
