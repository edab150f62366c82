"""The micro benchmarks drive the real data path: they must notice when it does not do the work."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.macro import site, traffic
from benchmarks.micro import find, handler, head, heads, http2
from benchmarks.micro.timing import measure
from gatewayd.observe.access_log import AccessLog

SECONDS = 0.002


def test_every_kind_of_head_is_timed() -> None:
    names = [timing.name for timing in head.benchmarks(SECONDS)]
    assert names == [
        f"{side} head, {kind}" for side in ("request", "response") for kind in ("repeated", "varied", "new")
    ]


def test_new_heads_never_repeat_and_repeated_ones_are_equal_but_not_the_same_object() -> None:
    sources = dict(heads.kinds())
    new = sources["new"](150) + sources["new"](150)
    assert len(set(new)) == 300
    first, second = sources["repeated"](2)
    assert first == second
    assert first is not second


def test_varied_heads_go_on_where_the_last_batch_ended() -> None:
    source = dict(heads.kinds())["varied"]
    expected = traffic.varied(1024).requests[:20]
    assert source(10) + source(10) == [each.encode() for each in expected]


def test_an_exchange_goes_through_the_whole_data_path(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, str(tmp_path / "log"), "text")
    try:
        rig = handler.make_rig(loop, log)
        pair = handler.pairs(heads.fresh(), 1)[0]
        handler.checked(rig, pair)
        handler.checked(rig, pair)
    finally:
        log.close()
        loop.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    assert all('"GET /api/items/0 HTTP/1.1" 200' in line for line in lines)


def test_an_exchange_that_is_not_answered_is_no_figure() -> None:
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, "/dev/null", "text")
    try:
        rig = handler.make_rig(loop, log)
        request, response = handler.pairs(heads.fresh(), 1)[0]
        with pytest.raises(ValueError, match="no response"):
            handler.checked(rig, (request, response[:40]))
    finally:
        log.close()
        loop.close()


def test_a_look_up_without_a_route_is_no_figure() -> None:
    rules = find.table(site.many_rules_site(10, 80))
    good = find.parsed([traffic.head("/shop/item-00000", traffic.nine_headers())])
    bad = find.parsed([traffic.head("/elsewhere", traffic.nine_headers())])
    find.checked(lambda request: rules.lookup(request)[1], good)
    with pytest.raises(ValueError, match="finds no route"):
        find.checked(lambda request: rules.lookup(request)[1], bad)


def test_a_refused_head_is_no_figure() -> None:
    with pytest.raises(ValueError, match="not accepted"):
        find.parsed(["GET / HTTP/1.1\r\n\r\n"])


def test_slower_calls_take_more_time() -> None:
    def source(count: int) -> list[int]:
        return [2000] * count

    slow = measure("slow", lambda n: sum(range(n)), source, 0.01)
    quick = measure("quick", lambda n: n, source, 0.01)
    assert slow.best_us > quick.best_us


def test_http2_is_timed_beside_hyper_h2_and_from_end_to_end() -> None:
    names = [timing.name for timing in http2.benchmarks(SECONDS)]
    assert names == [
        "codec alone, GET with 1 KiB, ours",
        "codec alone, GET with 1 KiB, hyper-h2",
        *(f"whole exchange, {scenario.row}" for scenario in http2.SCENARIOS.values()),
    ]


@pytest.mark.parametrize("name", list(http2.SCENARIOS))
def test_sixteen_exchanges_of_http2_go_through_the_whole_data_path(name: str, tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, str(tmp_path / "log"), "text")
    scenario = http2.SCENARIOS[name]
    try:
        rig = http2.Rig(loop, log, scenario.protocol)
        for pair in scenario.make()(3):
            http2.checked(rig.down, rig.exchange, pair, http2.STREAMS)
    finally:
        log.close()
        loop.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 3 * http2.STREAMS
    assert all('HTTP/2" 200 - via_upstream' in line for line in lines)


def test_http2_that_is_not_answered_is_no_figure() -> None:
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, "/dev/null", "text")
    try:
        rig = http2.Rig(loop, log, http2.SCENARIOS["grpc"].protocol)
        request, _ = http2.SCENARIOS["grpc"].make()(1)[0]
        with pytest.raises(ValueError, match="no response"):
            http2.checked(rig.down, rig.exchange, (request, b""), http2.STREAMS)
    finally:
        log.close()
        loop.close()
