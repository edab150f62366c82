"""Where the examples are: beside the package in a checkout, inside it when installed from a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_PLACES: Final = (_HERE / "examples", _HERE.parent.parent / "examples")


def example_folder(name: str, places: tuple[Path, ...] = _PLACES) -> Path | None:
    """The folder of example ``name``, or None if this installation came without it."""
    for place in places:
        folder = place / name
        if any(folder.glob("*.yaml")):
            return folder
    return None
