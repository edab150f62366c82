"""docs/admin.md is true: it knows every path. (Its lines are run by tests/examples.)"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gatewayd.admin.api import Api
from gatewayd.admin.controls import ControlPaths
from gatewayd.admin.envoy import EnvoyPaths
from gatewayd.observe.tap import PARAMETERS

PAGE = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()


def test_every_path_and_no_other_stands_in_its_tables() -> None:
    nothing: Any = None
    paths = (
        *EnvoyPaths(nothing).paths(),
        *ControlPaths(nothing).paths(),
        *Api(nothing, nothing).paths(),
    )
    there = {(path.method, path.name) for path in paths}
    told: set[tuple[str, str]] = set()
    for cell in re.findall(r"^\| (`(?:GET|POST) .*?) \|", PAGE, re.MULTILINE):
        method = ""
        for word in re.findall(r"`(.+?)`", cell):
            method, _, name = word.rpartition(" ") if " " in word else (method, "", word)
            told.add((method, name if name.startswith("/") else f"/api/v1/{name}"))
    assert told - {("GET", "/"), ("GET", "/help")} == there


def test_every_parameter_of_the_tap_is_named() -> None:
    (row,) = re.findall(r"^\| `GET tap` \|(.*)\|$", PAGE, re.MULTILINE)
    assert set(PARAMETERS) <= set(re.findall(r"[a-z_]+", row))
