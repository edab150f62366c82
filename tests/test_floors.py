"""The import floors: a file imports from lower floors and from its own package, never upward or sideways.

The map below is the one of docs/architecture.md. Imports are read from the source, so one inside a function
counts as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gatewayd"

#: package or module directly below gatewayd -> floor
FLOORS = {
    "__main__": 11,
    "cli": 10,
    "runtime": 9,
    "compiler": 8,
    "admin": 8,
    "demo": 8,
    "explain": 8,
    "snapshot": 7,
    "listeners": 6,
    "proxy": 5,
    "routing": 4,
    "upstream": 3,
    "policies": 3,
    "sources": 3,
    "http": 2,
    "tls": 2,
    "observe": 2,
    "resources": 2,
    "cells": 1,
    "errors": 1,
    "exit_codes": 1,
    "grpc_status": 1,
    "findings": 1,
    "regexes": 1,
    "release": 1,
    "timing": 1,
    "__init__": 0,
}

#: About 300 is what a module should have.
MOST_LINES = 500

#: Neighbours on one floor that may know each other, each with its reason.
NEIGHBOURS = {
    # StreamInfo holds the request's head, and operators read its fields.
    ("observe", "http"),
}

#: Never imported by what runs for users: they come with the extras `test` and `bench` only.
TEST_ONLY = {
    "pytest",
    "pytest_asyncio",
    "hypothesis",
    "httptools",
    "h11",
    "websockets",
    "tests",
    "benchmarks",
}

#: Imported per request or by whatever is: these may not pull in what only reads configuration.
HOT_PACKAGES = {"http", "observe", "routing", "proxy", "upstream", "policies", "listeners"}
CONFIGURATION = {"resources", "sources", "compiler"}


def room(path: Path) -> str:
    """The package or module directly below gatewayd that ``path`` belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import in a file; relative ones made absolute."""
    here = ("gatewayd", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            name = ".".join((*base, *((node.module,) if node.module else ())))
            if name == "gatewayd":
                # `from gatewayd import errors` names a room, `from gatewayd import __version__` does not
                for alias in node.names:
                    known = f"gatewayd.{alias.name}"
                    yield node.lineno, known if alias.name in FLOORS else "gatewayd.__init__"
            else:
                yield node.lineno, name


def violations(path: Path) -> list[str]:
    """What ``path`` imports against the floors, one line each."""
    own = room(path)
    floor = FLOORS[own]
    found = []
    for line, name in imported(path):
        top, _, rest = name.partition(".")
        where = f"{path.relative_to(ROOT)}:{line}: {name}"
        if top in TEST_ONLY:
            found.append(f"{where}: test-only code")
        if top != "gatewayd":
            continue
        other = rest.partition(".")[0] or "__init__"
        if other == own:
            continue
        if other not in FLOORS:
            found.append(f"{where}: {other!r} has no floor in the map")
        elif FLOORS[other] > floor:
            found.append(f"{where}: upward, from floor {floor} to {FLOORS[other]}")
        elif FLOORS[other] == floor > 1 and (own, other) not in NEIGHBOURS:
            found.append(f"{where}: sideways on floor {floor}")
        elif own in HOT_PACKAGES and other in CONFIGURATION:
            found.append(f"{where}: what runs per request knows nothing of configuration")
    return found


@pytest.mark.parametrize("package", sorted({room(path) for path in sources()}))
def test_a_package_has_a_floor_and_keeps_to_it(package: str) -> None:
    assert package in FLOORS, f"give {package!r} a floor in the map, here and in docs/architecture.md"
    found = [line for path in sources() if room(path) == package for line in violations(path)]
    assert not found, "\n" + "\n".join(found)


def test_every_room_of_the_map_is_there_or_planned() -> None:
    """A name in the map that is a typing error would allow nothing and hide that."""
    known = {room(path) for path in sources()} | {"tls"}
    assert set(FLOORS) <= known


def test_no_file_needs_a_package_that_is_not_installed_with_gatewayd() -> None:
    allowed = {"gatewayd", "uvloop", "yaml", "msgspec", "click", "re2", "aiodns", "pycares"}
    allowed |= {"cryptography", "OpenSSL", "watchfiles", "xxhash"}
    extras = {"opentelemetry": "gatewayd/observe/span_sinks.py"}
    found = {
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources()
        for line, name in imported(path)
        if name.partition(".")[0] not in allowed | set(sys.stdlib_module_names)
        and extras.get(name.partition(".")[0]) != str(path.relative_to(ROOT))
    }
    assert not found


def test_no_module_is_longer_than_one_can_keep_in_mind() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not found, f"split along a seam what has more than {MOST_LINES} lines: {found}"


class TestTheTestItself:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setitem(globals(), "ROOT", tmp_path)
        monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "gatewayd")
        made = tmp_path / "gatewayd" / "routing" / "inner" / "made.py"
        made.parent.mkdir(parents=True)
        return made

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("import gatewayd.proxy.exchange", "upward"),
            ("from gatewayd import snapshot", "upward"),
            ("from ...proxy import exchange", "upward"),
            ("def f():\n    from gatewayd.cli import main", "upward"),
            ("from gatewayd.resources.meta import Resource", "nothing of configuration"),
            ("from gatewayd.nowhere import x", "no floor"),
            ("import hypothesis", "test-only"),
            ("from tests.support import ports", "test-only"),
        ],
    )
    def test_a_wrong_import_is_found(self, file: Path, text: str, said: str) -> None:
        file.write_text(text)
        (found,) = violations(file)
        assert said in found

    @pytest.mark.parametrize(
        "text",
        [
            "from gatewayd.http.message import Fields",
            "from gatewayd.routing.route import Route",
            "from ..route import Route",
            "from gatewayd import errors, __version__",
            "import re, click",
        ],
    )
    def test_a_right_one_is_not(self, file: Path, text: str) -> None:
        file.write_text(text)
        assert violations(file) == []

    def test_a_module_that_is_too_long_is_found(self, file: Path) -> None:
        file.write_text("x = 1\n" * MOST_LINES)
        test_no_module_is_longer_than_one_can_keep_in_mind()
        file.write_text("x = 1\n" * (MOST_LINES + 1))
        with pytest.raises(AssertionError, match=r"routing/inner/made\.py': 501"):
            test_no_module_is_longer_than_one_can_keep_in_mind()

    def test_neighbours_do_not_know_each_other(self, file: Path) -> None:
        other = file.parents[2] / "upstream" / "made.py"
        other.parent.mkdir()
        other.write_text("from gatewayd.policies import retry")
        (found,) = violations(other)
        assert "sideways" in found
