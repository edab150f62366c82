"""Every recorded case that is in scope behaves as Istio with Envoy did, in the real process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cases.__main__ import format_result
from tests.cases.loading import load_cases
from tests.cases.play import CallResult, play_cases
from tests.cases.scope import Scope
from tests.cases.vocabulary import unknown_words

FILES = sorted((Path(__file__).parent / "golden").glob("*.yaml"))


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> list[CallResult]:
    """All files that were asked for, played together: one file alone would leave the processors idle."""
    specs = (getattr(item, "callspec", None) for item in request.session.items)
    wanted = dict.fromkeys(spec.params["file"] for spec in specs if spec and "file" in spec.params)
    cases = [case for file in FILES if file in wanted for case in load_cases(file)]
    return asyncio.run(play_cases(cases, Scope.load()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recorded_cases_behave_as_recorded(file: Path, results: list[CallResult]) -> None:
    own = [result for result in results if result.file == file]
    assert own
    failed = [format_result(result) for result in own if result.verdict == "failed"]
    assert not failed, "\n" + "\n".join(failed)


def test_scope_file_names_only_cases_that_exist() -> None:
    cases = [case for file in FILES for case in load_cases(file)]
    assert Scope.load().stale(cases) == []
    assert unknown_words(cases) == []
