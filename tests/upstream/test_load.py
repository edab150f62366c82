"""Load reports and the rotation that follows them (semantics 9.19); beside Envoy in ``differential``."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.upstream import load
from gatewayd.upstream.balancers.by_load import ByLoad, Load, LoadOptions, weight_of
from gatewayd.upstream.load import hear
from gatewayd.upstream.load_report import ReportError, read, said
from tests.upstream.hosts import counts

OPTIONS = LoadOptions()


class Host:
    """An endpoint that says something of its load."""

    def __init__(self, name: str, *, ready: bool = True) -> None:
        self.name = self.host_port = name
        self.ready = ready
        self.weight = 50  # the spec's, of which nobody asks
        self.active = 0
        self.load: Load | None = None

    def says(self, weight: int, now: float) -> None:
        if self.load is None:
            self.load = Load()
        self.load.tell(weight, now)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def rotation(hosts: list[Host], clock: Clock, options: LoadOptions = OPTIONS) -> Any:
    return ByLoad(hosts, lambda: 0.0, options=options, clock=clock)


def test_before_anybody_reports_each_is_as_good_as_the_others() -> None:
    hosts = [Host("a"), Host("b"), Host("c")]
    assert counts(rotation(hosts, Clock()).pick, 30) == {"a": 10, "b": 10, "c": 10}


def test_reports_count_once_they_have_come_for_long_enough_and_are_worked_in_from_time_to_time() -> None:
    clock = Clock()
    a, b = Host("a"), Host("b")
    balancer = rotation([a, b], clock)
    a.says(300, clock.now)
    b.says(100, clock.now)
    clock.now += 9.9
    assert counts(balancer.pick, 40) == {"a": 20, "b": 20}
    clock.now += 0.2
    assert counts(balancer.pick, 40) == {"a": 20, "b": 20}, "it looked 0.2 s ago"
    clock.now += 1.0
    assert counts(balancer.pick, 40) == {"a": 30, "b": 10}
    b.says(300, clock.now)
    assert counts(balancer.pick, 40) == {"a": 30, "b": 10}
    clock.now += 1.0
    assert counts(balancer.pick, 40) == {"a": 20, "b": 20}


def test_an_endpoint_that_falls_silent_is_the_median_of_the_others_until_it_has_reported_anew() -> None:
    clock = Clock()
    a, b, c, d = hosts = [Host("a"), Host("b"), Host("c"), Host("d")]
    options = LoadOptions(blackout_s=10, expiration_s=60, update_s=1)
    balancer = rotation(hosts, clock, options)
    for host, weight in zip(hosts, (10, 20, 40, 70), strict=True):
        host.says(weight, clock.now)
    clock.now += 15
    assert counts(balancer.pick, 140) == {"a": 10, "b": 20, "c": 40, "d": 70}
    for _ in range(6):
        clock.now += 11
        for host, weight in ((a, 10), (b, 20), (c, 40)):
            host.says(weight, clock.now)
        balancer.pick()
    clock.now += 1
    assert counts(balancer.pick, 90) == {"a": 10, "b": 20, "c": 40, "d": 20}
    d.says(70, clock.now)
    clock.now += 5
    assert counts(balancer.pick, 90) == {"a": 10, "b": 20, "c": 40, "d": 20}
    clock.now += 6
    assert counts(balancer.pick, 140) == {"a": 10, "b": 20, "c": 40, "d": 70}


def test_two_in_the_middle_count_by_halves() -> None:
    clock = Clock()
    a, b, c = hosts = [Host("a"), Host("b"), Host("c")]
    a.says(20, clock.now - 20)
    b.says(41, clock.now - 20)
    assert counts(rotation(hosts, clock).pick, 91) == {"a": 20, "b": 41, "c": 30}
    assert c.load is None


def test_what_a_new_balancer_begins_with_is_what_is_known() -> None:
    """One is made whenever an endpoint comes, goes or is ejected."""
    clock = Clock()
    a, b, gone = Host("a"), Host("b"), Host("gone", ready=False)
    for host, weight in ((a, 3), (b, 1), (gone, 9)):
        host.says(weight, clock.now - 20)
    assert counts(rotation([a, b, gone], clock).pick, 40) == {"a": 30, "b": 10}
    assert counts(rotation([a, gone], clock).pick, 3) == {"a": 3}


@pytest.mark.parametrize(
    ("report", "weight"),
    [
        ({"rps_fractional": 10.0, "cpu_utilization": 0.5}, 20),
        ({"rps_fractional": 10.0, "cpu_utilization": 0.5, "application_utilization": 0.1}, 100),
        ({"rps_fractional": 10.0, "cpu_utilization": 0.5, "eps": 10.0}, 6),
        ({"rps_fractional": 10.0, "eps": 10.0}, 10),
        ({"rps_fractional": 10.0, "cpu_utilization": 0.5, "named_metrics.a": 0.2}, 50),
        (
            {"rps_fractional": 10.0, "cpu_utilization": 0.5, "mem_utilization": 1.0, "named_metrics.a": 0.2},
            10,
        ),
        ({"rps_fractional": 10.0, "cpu_utilization": 0.5, "request_cost.x": 0.25, "request_cost.y": 0.1}, 40),
        ({"rps_fractional": 10.0, "cpu_utilization": 0.5, "named_metrics.b": 0.2}, 20),
        ({"rps_fractional": 1.0, "cpu_utilization": 4.0}, 0),
        ({"rps_fractional": 1e300, "cpu_utilization": 1e-300}, 4294967295),
        ({"rps_fractional": 1e308, "cpu_utilization": float("inf")}, 0),
        ({"cpu_utilization": 0.5}, None),
        ({"rps_fractional": 10.0}, None),
        ({"rps_fractional": float("nan"), "cpu_utilization": 0.5}, None),
        ({"rps_fractional": 10.0, "cpu_utilization": float("nan")}, None),
        ({"rps_fractional": float("inf"), "cpu_utilization": float("inf")}, None),
    ],
)
def test_rate_by_utilization(report: dict[str, float], weight: int | None) -> None:
    options = LoadOptions(("named_metrics.a", "mem_utilization", "request_cost.*"), error_penalty=1.0)
    assert weight_of(report, options) == weight


# -- reports -----------------------------------------------------------------------------------------------


def test_which_field_is_the_report() -> None:
    text, binary = (b"endpoint-load-metrics", b"TEXT eps:1"), (b"endpoint-load-metrics-bin", b"MQ==")
    assert said([(b"a", b"b")]) is None
    assert said([text, (b"endpoint-load-metrics", b"TEXT eps:2")]) == b"TEXT eps:1"
    assert said([text, binary]) == b"BIN MQ=="


@given(st.binary(max_size=60), st.sampled_from([b"", b"BIN ", b"TEXT ", b"JSON "]))
@example(b"[1]", b"JSON ")
@example(b'{"named_metrics":1}', b"JSON ")
@example(b'{"eps":true}', b"JSON ")
@example(b'{"eps":null}', b"JSON ")
@example(b"eps:1_0", b"TEXT ")
@example(b"named_metrics.:1", b"TEXT ")
@example(b"gICAgICAgICAgAE=", b"BIN ")
@example(b"AAE=", b"BIN ")
@example(b"C0E=", b"BIN ")
@example(b"PQ==", b"BIN ")
@example(b"QgMIAQ==", b"BIN ")
@example(b"=", b"BIN ")
def test_whatever_it_says_it_is_read_or_refused(rest: bytes, form: bytes) -> None:
    try:
        report = read(form + rest)
    except ReportError:
        return
    assert all(isinstance(value, float) for value in report.values())


def test_a_map_of_a_report_in_binary_need_not_be_one() -> None:
    with pytest.raises(ReportError, match="a map is none"):
        read(b"BIN QgQIARAB")


# -- hearing them ------------------------------------------------------------------------------------------


def answer(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", b"0"), (b"endpoint-load-metrics", text.encode())]


def test_hearing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    monkeypatch.setattr(load, "monotonic", clock)
    host = Host("10.0.0.1:80")
    hear(host, OPTIONS, [(b"content-length", b"0")])
    assert host.load is None
    hear(host, OPTIONS, answer("TEXT cpu_utilization:0.5,rps_fractional:10"))
    assert host.load is not None
    clock.now += 20
    assert host.load.at(clock.now, OPTIONS) == 20
    hear(host, OPTIONS, answer("TEXT cpu_utilization:0.5,rps_fractional:10"))
    clock.now += 170
    assert host.load.at(clock.now, OPTIONS) == 20, "the same again is a report too"
    with caplog.at_level(logging.WARNING, "gatewayd.upstream"):
        for _ in range(2):
            for text in ("TEXT cpu_utilization:0.5", "nonsense " + "x" * 500, "TEXT " + "y" * 500 + ":1"):
                hear(host, OPTIONS, answer(text))
    assert [record.getMessage() for record in caplog.records] == [
        "a load report of 10.0.0.1:80 is of no use: it tells no rate, or no utilization"
    ]
    assert host.load.at(clock.now, OPTIONS) == 20
    clock.now += 11
    assert host.load.at(clock.now, OPTIONS) is None, "what cannot be read is no report"


def test_what_is_logged_of_a_report_is_short(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "gatewayd.upstream"):
        hear(Host("h"), OPTIONS, answer("TEXT " + "y" * 500 + ":1"))
    assert len(caplog.records[0].getMessage()) < 200
