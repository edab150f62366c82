"""Letting go of many objects without keeping anybody waiting."""

from __future__ import annotations

from typing import Any


def release(pieces: list[Any]) -> None:
    """Empty ``pieces`` one by one: thousands of objects freed at a stroke would keep every other thread waiting."""
    while pieces:
        pieces.pop()
