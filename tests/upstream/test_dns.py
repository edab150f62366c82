"""When names are asked again and what watchers hear, with the clock turned by hand (11.5, hardening 9.16)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayd.upstream.dns import MAX_QUERIES, MAX_TTL_S, RETRY_S, STALE_S, Resolver
from gatewayd.upstream.dns_lookup import HOSTS_TTL_S, Answer, HostsFile


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """A resolver whose clock, timers and lookups are the test's."""

    def __init__(self, hosts: Path) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.asked: list[str] = []
        self.closed = False
        self._open: list[Callable[[Answer], None]] = []
        self.resolver = Resolver(
            asyncio.get_running_loop(),
            lookup=self,
            hosts=HostsFile(hosts),
            clock=lambda: self.now,
            call_later=self._call_later,
        )
        self.heard: list[list[str]] = []

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + delay_s, call))
        return self.timers[-1]

    def start(self, name: str, done: Callable[[Answer], None]) -> None:
        self.asked.append(name)
        self._open.append(done)

    async def close(self) -> None:
        self.closed = True

    def answer(self, *addresses: str, ttl_s: float = 30.0) -> None:
        self._open.pop(0)(Answer(addresses, ttl_s))

    def fail(self, problem: str = "server failure", *, denied: bool = False) -> None:
        self._open.pop(0)(Answer((), 0.0, problem, denied))

    def waiting(self) -> list[float]:
        """Seconds until each armed timer."""
        return [timer.at - self.now for timer in self.timers if not timer.cancelled]

    def turn(self) -> float:
        """Advance to the next timer, fire it, and say how long that was."""
        timer = min((timer for timer in self.timers if not timer.cancelled), key=lambda timer: timer.at)
        passed, self.now = timer.at - self.now, timer.at
        self.timers.remove(timer)
        timer.call()
        return passed


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "hosts")


@pytest.mark.parametrize(
    ("literal", "address"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[2001:db8::7]", "2001:db8::7")],
)
async def test_an_address_is_answered_at_once(bench: Bench, literal: str, address: str) -> None:
    bench.resolver.watch(literal, bench.heard.append).cancel()
    assert bench.heard == [[address]]
    assert not bench.asked
    assert not bench.timers


async def test_asked_again_when_the_ttl_is_over(bench: Bench) -> None:
    bench.resolver.watch("db.example", bench.heard.append)
    bench.answer("10.0.0.1", "10.0.0.2", ttl_s=30)
    assert bench.turn() == 30
    bench.answer("10.0.0.3", ttl_s=7)
    assert bench.turn() == 7
    assert bench.heard == [["10.0.0.1", "10.0.0.2"], ["10.0.0.3"]]
    assert bench.asked == ["db.example"] * 3


@pytest.mark.parametrize(("ttl_s", "wait_s"), [(0, 1), (0.2, 1), (1, 1), (3600, 3600), (86400, MAX_TTL_S)])
async def test_the_ttl_is_clamped_to_a_second_and_an_hour(bench: Bench, ttl_s: float, wait_s: float) -> None:
    bench.resolver.watch("db.example", bench.heard.append)
    bench.answer("10.0.0.1", ttl_s=ttl_s)
    assert bench.waiting() == [wait_s]


async def test_an_unchanged_answer_is_not_told_again_but_a_new_order_is(bench: Bench) -> None:
    bench.resolver.watch("db.example", bench.heard.append)
    for addresses in (("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")):
        bench.answer(*addresses)
        bench.turn()
    assert bench.heard == [["10.0.0.1", "10.0.0.2"], ["10.0.0.2", "10.0.0.1"]]


async def test_a_failure_keeps_the_addresses_and_is_retried_soon_then_each_minute(bench: Bench) -> None:
    bench.resolver.watch("db.example", bench.heard.append)
    bench.answer("10.0.0.1", ttl_s=30)
    bench.turn()
    waits = []
    for _ in range(9):
        bench.fail()
        waits.append(bench.turn())
    assert waits == [*RETRY_S, 60.0, 60.0]
    assert bench.heard == [["10.0.0.1"]]
    status = bench.resolver.statistics()[0]
    assert (status.addresses, status.failures, status.problem) == (("10.0.0.1",), 9, "server failure")
    bench.answer("10.0.0.9")
    assert bench.heard[-1] == ["10.0.0.9"]
    assert bench.resolver.statistics()[0].failures == 0


async def test_9_16_while_name_servers_fail_the_addresses_stay(bench: Bench) -> None:
    bench.resolver.watch("db.example", bench.heard.append)
    bench.answer("10.0.0.1", ttl_s=10)
    began = bench.now
    while bench.now < began + 10 * STALE_S:
        bench.turn()
        bench.fail()
    assert bench.heard == [["10.0.0.1"]]


async def test_a_name_that_is_said_not_to_exist_loses_them_after_an_hour(bench: Bench) -> None:
    bench.resolver.watch("db.example", bench.heard.append)
    bench.answer("10.0.0.1", ttl_s=10)
    bench.turn()
    bench.fail("Domain name not found", denied=True)
    keep_until = bench.now + STALE_S
    for number in range(10_000):
        bench.turn()
        if number % 2 and bench.now < keep_until:
            bench.fail()  # what says nothing does not begin the hour anew
            continue
        bench.fail("Domain name not found", denied=True)
        if bench.now >= keep_until:
            break
        assert bench.heard == [["10.0.0.1"]]
    assert bench.heard == [["10.0.0.1"], []]


async def test_an_answer_in_between_begins_the_hour_anew(bench: Bench) -> None:
    bench.resolver.watch("db.example", bench.heard.append)
    for _ in range(2):
        bench.answer("10.0.0.1", ttl_s=STALE_S - 1)
        bench.turn()
        bench.fail("Domain name not found", denied=True)
        bench.turn()
    assert bench.heard == [["10.0.0.1"]]


async def test_a_first_failure_is_told_as_no_addresses_once(bench: Bench) -> None:
    bench.resolver.watch("nowhere.example", bench.heard.append)
    assert bench.heard == []
    for _ in range(3):
        bench.fail("Domain name not found")
        bench.turn()
    assert bench.heard == [[]]


async def test_watchers_of_a_name_share_one_query_and_one_timer(bench: Bench) -> None:
    others: list[list[str]] = []
    bench.resolver.watch("db.example", bench.heard.append)
    bench.resolver.watch("DB.example", others.append)
    assert bench.asked == ["db.example"]
    bench.answer("10.0.0.1")
    assert bench.heard == others == [["10.0.0.1"]]
    late: list[list[str]] = []
    bench.resolver.watch("db.example", late.append)
    assert late == [["10.0.0.1"]]
    assert len(bench.waiting()) == 1
    assert bench.resolver.statistics()[0].watchers == 3


async def test_a_cancelled_watch_hears_nothing_and_the_last_one_stops_the_name(bench: Bench) -> None:
    others: list[list[str]] = []
    first = bench.resolver.watch("db.example", bench.heard.append)
    second = bench.resolver.watch("db.example", others.append)
    first.cancel()
    first.cancel()
    bench.answer("10.0.0.1")
    assert bench.heard == []
    assert others == [["10.0.0.1"]]
    second.cancel()
    assert bench.waiting() == []
    assert bench.resolver.statistics() == []


async def test_an_answer_for_a_name_nobody_watches_any_more_is_thrown_away(bench: Bench) -> None:
    bench.resolver.watch("db.example", bench.heard.append).cancel()
    bench.answer("10.0.0.1")
    assert bench.heard == []
    assert bench.waiting() == []


async def test_a_watcher_may_leave_while_it_is_told(bench: Bench) -> None:
    def leave(addresses: list[str]) -> None:
        bench.heard.append(addresses)
        watch.cancel()

    watch = bench.resolver.watch("db.example", leave)
    bench.answer("10.0.0.1")
    assert bench.heard == [["10.0.0.1"]]
    assert bench.waiting() == []


async def test_one_failing_watcher_does_not_starve_the_others(bench: Bench) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def broken(addresses: list[str]) -> None:
        raise RuntimeError(addresses)

    bench.resolver.watch("db.example", broken)
    bench.resolver.watch("db.example", bench.heard.append)
    bench.answer("10.0.0.1")
    assert bench.heard == [["10.0.0.1"]]
    assert [str(fault["exception"]) for fault in faults] == ["['10.0.0.1']"]
    assert bench.waiting() == [30.0]


async def test_ipv4_comes_first_and_unreachable_ipv6_is_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.upstream.dns._has_route", lambda address: address != "2001:db8::dead")
    bench.resolver.watch("dual.example", bench.heard.append)
    bench.answer("2001:db8::dead", "10.0.0.2", "2001:db8::1", "10.0.0.1")
    assert bench.heard == [["10.0.0.2", "10.0.0.1", "2001:db8::1"]]


async def test_ipv6_alone_is_kept_whatever_the_routes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.upstream.dns._has_route", lambda _: False)
    bench.resolver.watch("six.example", bench.heard.append)
    bench.answer("2001:db8::1")
    assert bench.heard == [["2001:db8::1"]]


async def test_the_hosts_file_is_asked_first_and_followed(bench: Bench, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.9.9.9 reviews Reviews.local # pinned\n10.9.9.8 reviews\n")
    bench.resolver.watch("reviews", bench.heard.append)
    assert bench.heard == [["10.9.9.9", "10.9.9.8"]]
    hosts.write_text("10.9.9.77 reviews\n")
    assert bench.turn() == HOSTS_TTL_S
    assert bench.heard[-1] == ["10.9.9.77"]
    hosts.unlink()
    bench.turn()
    assert bench.asked == ["reviews"]


async def test_many_names_are_asked_a_few_at_a_time(bench: Bench) -> None:
    watches = [
        bench.resolver.watch(f"n{index}.example", bench.heard.append) for index in range(MAX_QUERIES + 3)
    ]
    assert len(bench.asked) == MAX_QUERIES
    watches[MAX_QUERIES].cancel()  # while it waits: never asked
    bench.answer("10.0.0.1")
    bench.fail()
    assert bench.asked[MAX_QUERIES:] == [f"n{MAX_QUERIES + 1}.example", f"n{MAX_QUERIES + 2}.example"]
    bench.answer("10.0.0.2")
    assert len(bench.asked) == MAX_QUERIES + 2
    assert bench.heard == [["10.0.0.1"], [], ["10.0.0.2"]]


async def test_closing_ends_timers_and_callbacks(bench: Bench) -> None:
    bench.resolver.watch("a.example", bench.heard.append)
    bench.resolver.watch("b.example", bench.heard.append)
    bench.answer("10.0.0.1")
    await bench.resolver.close()
    bench.answer("10.0.0.2")
    assert bench.heard == [["10.0.0.1"]]
    assert bench.waiting() == []
    assert bench.closed
