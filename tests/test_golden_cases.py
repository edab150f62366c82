"""Every recorded case that is in scope behaves as Istio with Envoy did, in the real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.__main__ import format_result
from tests.cases.loading import load_cases
from tests.cases.play import play_cases
from tests.cases.scope import Scope

FILES = sorted((Path(__file__).parent / "golden").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_recorded_cases_behave_as_recorded(file: Path) -> None:
    results = await play_cases(load_cases(file), Scope.load())
    assert results
    failed = [format_result(result) for result in results if result.verdict == "failed"]
    assert not failed, "\n" + "\n".join(failed)


def test_scope_file_names_only_cases_that_exist() -> None:
    cases = [case for file in FILES for case in load_cases(file)]
    assert Scope.load().stale(cases) == []
