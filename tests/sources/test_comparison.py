"""Where two texts differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.sources import comparison
from gatewayd.sources.comparison import common_ends

TEXTS = st.text(alphabet="ab", max_size=12)


@pytest.mark.parametrize("step", [1, 2, 4, 1 << 16])
@given(TEXTS, TEXTS, TEXTS)
def test_both_ends_are_as_long_as_they_can_be(step: int, one: str, two: str, three: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(comparison, "_STEP", step)
        for old, new in ((one + two, one + three), (one + two, three + two), (one, one), (one, one + two)):
            prefix, suffix = common_ends(old, new)
            most = min(len(old), len(new))
            assert old[:prefix] == new[:prefix]
            assert prefix == most or old[prefix] != new[prefix]
            assert old[len(old) - suffix :] == new[len(new) - suffix :]
            assert prefix + suffix == most or old[-suffix - 1] != new[-suffix - 1]
