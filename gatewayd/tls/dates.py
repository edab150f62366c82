"""Dates of certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

DAY_S: Final = 86_400.0


def when(moment: datetime) -> str:
    """A date in a message: ``2026-11-20 19:22 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
