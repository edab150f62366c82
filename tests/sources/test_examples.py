"""The examples a user is shown are loadable as written."""

from pathlib import Path

import pytest

from gatewayd.sources import load

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted({path.parent for path in EXAMPLES.rglob("*.yaml")})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(EXAMPLES)))
def test_an_example_folder_has_no_errors(folder: Path) -> None:
    result = load([str(path) for path in sorted(folder.glob("*.yaml"))])
    assert result.resources
    assert [str(finding) for finding in result.findings if finding.level == "error"] == []
    assert result.set_aside == []


def test_there_are_examples() -> None:
    assert len(FOLDERS) >= 5
