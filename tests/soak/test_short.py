"""The short form of the fault test: half a minute in which everything happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.driver import CLIENTS, run

PLAN = {
    "reload": 12,
    "mistake": 3,
    "half-written": 2,
    "certificate": 3,
    "upstream killed": 2,
    "worker killed": 3,
    "worker replaced": 3,
    "all replaced": 1,
    "drain and undrain": 2,
    "upgrade": 2,
}


@pytest.mark.parametrize("workers", [2, 1])
async def test_nothing_is_lost_whatever_happens(tmp_path: Path, workers: int) -> None:
    result = await run(tmp_path, PLAN, seed=20, workers=workers)
    answered = result.world.answered
    assert result.world.lost_count == 0, f"{result.report}\n\n{result.said}"
    assert "Traceback" not in result.said, result.said
    assert all(answered[client.kind] > 50 for client in CLIENTS), result.report  # type: ignore[attr-defined]
