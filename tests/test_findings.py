"""Findings are said as the product's contract says, section 3."""

import re
from pathlib import Path

import pytest

import gatewayd
from gatewayd.findings import CODES, LEVELS, Finding, at_least, count, render, report_json, summary

WEIGHT = Finding(
    code="IST0106",
    level="error",
    message='unknown field "wieght" (did you mean "weight"?)',
    file="shop/vs-api.yaml",
    line=31,
    column=9,
    kind="VirtualService",
    namespace="shop",
    name="api",
    path="spec.http[0].route[0]",
    help="expected one of: destination, headers, weight",
    quote="        wieght: 90",
    width=6,
)
WARNING = Finding(code="IST0130", level="warning", message="never matches")
INFO = Finding(code="GWD0012", level="info", message="left alone")


def test_text_form_names_place_quotes_the_line_and_says_what_was_expected() -> None:
    assert render(WEIGHT) == (
        'error[IST0106] unknown field "wieght" (did you mean "weight"?)\n'
        "  --> shop/vs-api.yaml:31:9   VirtualService shop/api  spec.http[0].route[0]\n"
        "   |\n"
        "31 |         wieght: 90\n"
        "   |         ^^^^^^ expected one of: destination, headers, weight"
    )


def test_text_form_without_a_place_is_one_line() -> None:
    assert str(WARNING) == "warning[IST0130] never matches"


def test_text_form_without_a_quote_still_gives_place_and_help() -> None:
    finding = Finding(code="GWD0001", level="error", message="cannot read", file="a.yaml", help="check it")
    assert render(finding) == "error[GWD0001] cannot read\n  --> a.yaml\n      check it"


def test_gutter_is_as_wide_as_the_line_number() -> None:
    finding = Finding(code="X", level="error", message="m", file="f", line=7, column=1, quote="a: b", width=1)
    assert render(finding).splitlines()[2:] == ["  |", "7 | a: b", "  | ^"]


def test_caret_stands_below_wide_characters() -> None:
    quote = "名字: x"
    finding = Finding(code="X", level="error", message="m", file="f", line=1, column=5, quote=quote, width=1)
    assert render(finding).splitlines()[-1] == "  |       ^"


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    finding = Finding(
        code="X", level="error", message="a\x1b[31mb", file="f", line=1, column=2, quote="\tk\x1b: v", width=2
    )
    text = render(finding)
    assert "\x1b" not in text
    assert text.splitlines()[0] == "error[X] a?[31mb"
    assert text.splitlines()[3:] == ["1 |  k?: v", "  |  ^^"]


def test_long_lines_are_cut_around_the_place() -> None:
    quote = "x" * 5000 + "HERE" + "y" * 5000
    finding = Finding(
        code="X", level="error", message="m", file="f", line=1, column=5001, quote=quote, width=4
    )
    _, _, _, line, caret = render(finding).splitlines()
    assert len(line) < 250
    assert line[caret.index("^") : caret.index("^") + 4] == "HERE"


def test_json_form_has_exactly_the_fields_of_the_contract() -> None:
    report = report_json([WEIGHT, WARNING, INFO], files=2, resources=7)
    assert report["summary"] == {"files": 2, "resources": 7, "errors": 1, "warnings": 1}
    assert report["findings"][0] == {
        "code": "IST0106",
        "level": "error",
        "file": "shop/vs-api.yaml",
        "line": 31,
        "column": 9,
        "kind": "VirtualService",
        "namespace": "shop",
        "name": "api",
        "path": "spec.http[0].route[0]",
        "message": 'unknown field "wieght" (did you mean "weight"?)',
        "help": "expected one of: destination, headers, weight",
    }


@pytest.mark.parametrize(
    ("findings", "files", "resources", "elapsed_s", "expected"),
    [
        ([WEIGHT, WARNING], 2, 7, 0.0414, "2 files, 7 resources, 1 error, 1 warning, 41 ms"),
        ([], 1, 1, None, "1 file, 1 resource, 0 errors, 0 warnings"),
        ([WEIGHT, WEIGHT, INFO], 0, 0, 1.5, "0 files, 0 resources, 2 errors, 0 warnings, 1500 ms"),
    ],
)
def test_summary_line(
    findings: list[Finding], files: int, resources: int, elapsed_s: float | None, expected: str
) -> None:
    assert summary(findings, files, resources, elapsed_s) == expected


def test_levels_are_ordered_for_fail_on() -> None:
    everything = [INFO, WARNING, WEIGHT]
    assert at_least(everything, "info") == everything
    assert at_least(everything, "warning") == [WARNING, WEIGHT]
    assert at_least(everything, "error") == [WEIGHT]
    assert count(everything) == (1, 1)
    assert sorted(LEVELS, key=LEVELS.__getitem__) == ["info", "warning", "error"]


def test_every_code_in_use_is_in_the_table_and_every_row_is_in_use() -> None:
    package = Path(gatewayd.__file__).parent
    sources = [path for path in package.rglob("*.py") if path.name != "findings.py" or path.parent != package]
    used = {code for path in sources for code in re.findall(r"(?:GWD|IST)[0-9]{4}", path.read_text())}
    assert used == set(CODES)


def test_every_code_has_a_sentence() -> None:
    for code, sentence in CODES.items():
        assert code[:3] in ("IST", "GWD")
        assert code[3:].isdigit()
        assert sentence.endswith(".")
