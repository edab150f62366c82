"""``gatewayd validate``: its forms and its exit codes (product.md sections 2 and 3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayd.cli import main
from gatewayd.cli.output import github, sarif
from gatewayd.findings import Finding

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["shop.test"]
"""
WRONG = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: api
  namespace: shop
spec:
  hosts: [shop.test]
  gateways: [default/edge]
  http:
  - route:
    - destination:
        host: backend
      wieght: 90
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gw.yaml").write_text(GATEWAY)
    return tmp_path


Output = Callable[[], Any]


def test_good_files_end_with_a_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 file, 1 resource, 0 errors, 0 warnings, ")


def test_an_error_is_shown_with_its_place_and_exits_79(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = folder / "vs.yaml"
    wrong.write_text(WRONG)
    assert main(["validate", str(folder)]) == 79
    out = capsys.readouterr().out
    assert 'error[IST0106] unknown field "wieght" (did you mean "weight"?)' in out
    assert f"--> {wrong}:13:7" in out
    assert "13 |       wieght: 90" in out
    assert "2 files, " in out.splitlines()[-1]


def test_json_is_the_shape_of_the_contract(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "vs.yaml").write_text(WRONG)
    assert main(["validate", str(folder), "-o", "json", "--labels", "istio=ingressgateway"]) == 79
    report = json.loads(capsys.readouterr().out)
    (error,) = [finding for finding in report["findings"] if finding["level"] == "error"]
    assert error.keys() == {
        "code", "level", "file", "line", "column", "kind", "namespace", "name", "path", "message", "help",
    }  # fmt: skip
    assert (error["code"], error["line"], error["column"]) == ("IST0106", 13, 7)
    assert (error["kind"], error["namespace"], error["name"]) == ("VirtualService", "shop", "api")
    assert report["summary"].keys() == {"files", "resources", "errors", "warnings"}
    assert report["summary"]["errors"] == 1


@pytest.mark.parametrize(("level", "code"), [("error", 0), ("warning", 0), ("info", 79)])
def test_fail_on_says_from_which_level_on(folder: Path, level: str, code: int) -> None:
    """Without --labels there is an info finding that every Gateway is served."""
    assert main(["validate", str(folder), "--fail-on", level]) == code


def test_what_cannot_be_parsed_exits_65_and_the_rest_is_reported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.yaml").write_text("a: [1, 2\nb: }")
    (folder / "vs.yaml").write_text(WRONG)
    assert main(["validate", str(folder)]) == 65
    out = capsys.readouterr().out
    assert "broken.yaml:2" in out
    assert "wieght" in out


def test_a_path_that_is_not_there_exits_65(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path / "none")]) == 65
    assert "none" in capsys.readouterr().out


def test_without_a_path_it_is_a_wrong_call() -> None:
    assert main(["validate"]) == 64
    assert main(["validate", ".", "-o", "xml"]) == 64


def test_sarif_names_rule_place_and_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "vs.yaml").write_text(WRONG)
    assert main(["validate", str(folder), "-o", "sarif"]) == 79
    report = json.loads(capsys.readouterr().out)
    assert report["version"] == "2.1.0"
    (run,) = report["runs"]
    (result,) = [result for result in run["results"] if result["level"] == "error"]
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["id"] == result["ruleId"] == "IST0106"
    (location,) = result["locations"]
    region = location["physicalLocation"]["region"]
    assert region == {"startLine": 13, "startColumn": 7, "endColumn": 13}
    assert location["logicalLocations"][0]["fullyQualifiedName"].startswith("VirtualService shop/api")


def test_sarif_of_nothing_is_a_run_without_results(tmp_path: Path) -> None:
    (run,) = sarif([])["runs"]
    assert run["results"] == []


def test_sarif_paths_are_uris() -> None:
    finding = Finding(code="GWD0001", level="error", message="m", file="/etc/my conf/a#b.yaml")
    location = sarif([finding])["runs"][0]["results"][0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "file:///etc/my%20conf/a%23b.yaml"


def test_github_lines_are_workflow_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "vs.yaml").write_text(WRONG)
    assert main(["validate", str(folder), "-o", "github"]) == 79
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::error ")]
    assert f"file={folder}/vs.yaml,line=13,col=7,endColumn=13,title=IST0106 VirtualService shop/api::" in line


def test_github_values_cannot_end_the_command() -> None:
    finding = Finding(code="GWD0001", level="warning", message="a\nb%", file="x,y:z", help="h")
    assert github([finding]) == "::warning file=x%2Cy%3Az,title=GWD0001::a%0Ab%25: h"


def test_github_prints_nothing_for_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {}\n")
    assert main(["validate", str(tmp_path), "-o", "github", "--labels", "a=b"]) == 0
    assert capsys.readouterr().out == ""


def test_the_flags_that_change_the_meaning_are_those_of_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(folder), "--unknown-hosts", "reject", "--namespace", "x"]) == 0
    assert main(["validate", str(folder), "--port-map", "80"]) == 64
