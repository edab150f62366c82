"""The answers of several workers become one: counters are added, health is everybody's, configuration is anybody's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.admin.merging import ASK_ONE, MERGES, Addends, merge
from gatewayd.observe.exposition import GAUGE, HISTOGRAM, MAX, MIN, Family, rows
from gatewayd.observe.timeline import Series, quantiles


def families(*made: Family) -> list[dict[str, Any]]:
    return [row for row in rows(made) if row is not None]


def test_metrics_are_added_by_name_and_labels() -> None:
    one = families(Family("a", "counter", "A.", [('x="1"', 2), ('x="2"', 3)]))
    other = families(
        Family("a", "counter", "A.", [('x="2"', 4), ('x="3"', 5)]), Family("b", GAUGE, "B.", [("", 1)])
    )
    found = merge("metrics", [one, other])
    assert [(row["name"], row["samples"]) for row in found] == [
        ("a", [['x="1"', 2], ['x="2"', 7], ['x="3"', 5]]),
        ("b", [["", 1]]),
    ]


@pytest.mark.parametrize(("rule", "expected"), [("sum", 9), (MAX, 5), (MIN, 4)])
def test_each_metric_is_merged_by_its_own_rule(rule: str, expected: float) -> None:
    answers = [families(Family("a", GAUGE, "A.", [("", value)], rule)) for value in (4, 5)]
    ((only,),) = [row["samples"] for row in merge("metrics", answers)]
    assert only == ["", expected]


def test_histograms_are_added_bucket_by_bucket() -> None:
    answers = [families(Family("h", HISTOGRAM, "H.", [("", [1, 2, 3], 10.5)])) for _ in range(3)]
    assert merge("metrics", answers)[0]["samples"] == [["", [3, 6, 9], 31.5]]


def test_a_family_in_several_rows_stays_one() -> None:
    many = families(Family("a", GAUGE, "A.", [(f'n="{n}"', n) for n in range(250)]))
    assert len(many) == 3
    (found,) = merge("metrics", [many, many])
    assert len(found["samples"]) == 250
    assert found["samples"][7] == ['n="7"', 14]


def cluster(**endpoint: Any) -> dict[str, Any]:
    return {
        "name": "c",
        "policy": "RANDOM",
        "total": 3,
        "active": 1,
        "endpoints": [
            {
                "address": "a:1",
                "total": 3,
                "healthy": True,
                "ejected": False,
                "ejections": 2,
                "weight": 7,
                **endpoint,
            }
        ],
    }


def test_clusters_and_their_endpoints_are_added_by_address() -> None:
    (found,) = merge("clusters", [[cluster()], [cluster()], [cluster(address="b:1")]])
    assert (found["total"], found["active"], found["policy"]) == (9, 3, "RANDOM")
    first, second = found["endpoints"]
    assert (first["address"], first["total"], first["weight"]) == ("a:1", 6, 7)
    assert (second["address"], second["total"]) == ("b:1", 3)


def test_an_endpoint_is_healthy_if_it_is_for_all_and_ejections_are_the_group_s() -> None:
    (found,) = merge("clusters", [[cluster()], [cluster(healthy=False, ejected=True)]])
    (endpoint,) = found["endpoints"]
    assert (endpoint["healthy"], endpoint["ejected"], endpoint["ejections"]) == (False, True, 2)


def test_what_came_in_is_not_changed() -> None:
    one, other = [cluster()], [cluster()]
    merge("clusters", [one, other])
    assert one == [cluster()]
    assert other == [cluster()]


def test_listeners_are_added_by_name_and_reason() -> None:
    row = {"name": "l", "accepted": 2, "connections": 1, "refused": {"tls": 1}}
    other = {"name": "l", "accepted": 3, "connections": 0, "refused": {"tls": 1, "late": 4}}
    (found,) = merge("listeners", [[row], [other]])
    assert found == {"name": "l", "accepted": 5, "connections": 1, "refused": {"tls": 2, "late": 4}}


def test_rules_keep_their_order_and_their_hits_are_added() -> None:
    rules = [{"id": f"r{n}", "hits": n, "errors": 0} for n in range(5)]
    found = merge("routes", [rules, rules])
    assert [(row["id"], row["hits"]) for row in found] == [(f"r{n}", 2 * n) for n in range(5)]


def test_what_further_workers_add_comes_to_the_same_as_all_rows_together() -> None:
    ids = [f"{chain} {at}" for chain in "ab" for at in range(3)]
    first, *others = [
        [{"id": each, "name": "x", "hits": worker * 10 + at, "errors": at} for at, each in enumerate(ids)]
        for worker in range(3)
    ]
    addends = Addends("routes")
    for row in (row for each in others for row in each):
        addends.note(row)
    addends.note({"id": "only there", "name": "x", "hits": 1, "errors": 0})
    assert [addends.added(row) for row in first] == merge("routes", [first, *others])


def test_every_process_keeps_its_own_row() -> None:
    rows = [{"pid": 7, "worker": 1}, {"pid": 9, "worker": 2}]
    assert merge("process", [[row] for row in rows]) == rows


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 63)), max_size=20), min_size=1, max_size=4)
)
def test_time_series_of_workers_are_that_of_one_that_did_all(workers: list[list[tuple[int, int]]]) -> None:
    def row(series: Series) -> dict[str, Any]:
        return {"kind": "all", "name": "", "start": 100, "step": 1, **series.read(100, 109)}

    together, parts = Series(), []
    for requests in workers:
        own = Series()
        for second, bucket in requests:
            for series in (own, together):
                series.add(100 + second, 1, 0, 0, 1, 2, [(bucket, 1)])
        parts.append([row(own)])
    (found,) = merge("timeseries", parts)
    expected = row(together)
    assert {**found, "latencies": [list(map(tuple, s)) for s in found["latencies"]]} == expected
    assert quantiles(found["latencies"], [0.5]) == quantiles(expected["latencies"], [0.5])


def test_configuration_is_anybody_s() -> None:
    assert {"findings", "configuration", "reloads", "certs", "dump", "explain", "validate"} == ASK_ONE
    assert merge("findings", [[], [{"a": 1}], [{"a": 2}]]) == [{"a": 1}]


@pytest.mark.parametrize("topic", sorted(MERGES))
def test_nobody_s_answer_is_nothing(topic: str) -> None:
    assert merge(topic, [[], []]) == []
