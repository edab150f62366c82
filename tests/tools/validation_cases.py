"""Judge the loader by files of validation cases: `python -m tests.tools.validation_cases FILE...`.

A case has an `id`, a `kind`, a `resource` (YAML text), the verdict `valid`, and perhaps
`warning`. Prints a line for each wrong verdict and last `N passed, M failed, K out of scope`; exit status 1
if any failed. Cases of kinds gatewayd does not decode are out of scope, and so are those of kind Analysis,
whose verdict is about several resources together.
"""

import io
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from gatewayd.findings import Finding
from gatewayd.resources.kinds import KINDS
from gatewayd.sources import load

#: Findings about gatewayd itself, not about the resource.
_OUR_OWN = {"GWD0014"}


def judge(case: dict[str, Any]) -> str:
    """Return what is wrong with our verdict on a case, empty if nothing."""
    result = load(["-"], io.BytesIO(case["resource"].encode()))
    errors = _of(result.findings, "error")
    warnings = _of(result.findings, "warning")
    if case["valid"] and errors:
        return f"should be valid, but: {errors}"
    if not case["valid"] and not errors:
        return f"should be refused: {case.get('reason')}"
    if case["valid"] and case.get("warning") is not None and bool(warnings) != case["warning"]:
        return f"should {'' if case['warning'] else 'not '}have a warning: {warnings}"
    return ""


def _of(findings: Sequence[Finding], level: str) -> list[str]:
    return [
        f"{finding.path}: {finding.message}"
        for finding in findings
        if finding.level == level and finding.code not in _OUR_OWN
    ]


def main(paths: Sequence[str]) -> int:
    """Judge every case of the files; return the exit status."""
    passed = failed = out_of_scope = 0
    for path in paths:
        with open(path, encoding="utf-8") as stream:
            cases = yaml.safe_load(stream)
        for case in cases:
            if case["kind"] not in KINDS:
                out_of_scope += 1
            elif problem := judge(case):
                failed += 1
                print(f"{case['id']}: {problem}")
            else:
                passed += 1
    print(f"{passed} passed, {failed} failed, {out_of_scope} out of scope")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
