"""Asking once: a real server over UDP, the hosts file, the C library, and which of them is chosen."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewayd.upstream.dns import Resolver
from gatewayd.upstream.dns_lookup import (
    NO_TTL_S,
    Answer,
    AresLookup,
    HostsFile,
    Lookup,
    SystemLookup,
    choose_lookup,
)
from tests.upstream.dns_server import AAAA, REFUSED, SERVFAIL, A, DnsServer


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    server = await DnsServer.start()
    yield server
    server.close()


@pytest.fixture
async def ares(server: DnsServer) -> AsyncIterator[AresLookup]:
    lookup = AresLookup(asyncio.get_running_loop(), [server.address], tries=4)
    yield lookup
    await lookup.close()


async def ask(lookup: Lookup, name: str) -> Answer:
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    lookup.start(name, answer.set_result)
    assert not answer.done()  # never called back from inside start
    return await asyncio.wait_for(answer, 10)


async def test_a_and_aaaa_with_the_smallest_ttl(server: DnsServer, ares: AresLookup) -> None:
    server.records["db.example", A] = (["10.0.0.2", "10.0.0.1"], 300)
    server.records["db.example", AAAA] = (["2001:db8::5"], 42)
    answer = await ask(ares, "db.example")
    assert sorted(answer.addresses) == ["10.0.0.1", "10.0.0.2", "2001:db8::5"]
    assert answer.addresses.index("10.0.0.2") < answer.addresses.index("10.0.0.1")  # the server's order
    assert answer.ttl_s == 42
    assert set(server.asked) == {("db.example", A), ("db.example", AAAA)}


async def test_one_family_is_enough(server: DnsServer, ares: AresLookup) -> None:
    server.records["six.example", AAAA] = (["2001:db8::6"], 9)
    assert await ask(ares, "six.example") == Answer(("2001:db8::6",), 9.0)


async def test_an_unknown_name_is_a_problem_in_words(server: DnsServer, ares: AresLookup) -> None:
    answer = await ask(ares, "nowhere.example.")
    assert answer.addresses == ()
    assert "not found" in answer.problem
    assert answer.denied


async def test_a_name_without_addresses_is_denied_too(server: DnsServer, ares: AresLookup) -> None:
    server.records["empty.example", A] = ([], 60)
    answer = await ask(ares, "empty.example")
    assert answer.addresses == ()
    assert answer.denied


@pytest.mark.parametrize("how", ["refuses", "fails", "is silent"])
async def test_a_server_that_does_not_answer_denies_nothing(server: DnsServer, how: str) -> None:
    server.silent = how == "is silent"
    server.rcode = REFUSED if how == "refuses" else SERVFAIL
    lookup = AresLookup(asyncio.get_running_loop(), [server.address], tries=1, timeout_s=0.1)
    answer = await ask(lookup, "db.example")
    await lookup.close()
    assert (answer.addresses, answer.denied) == ((), False)
    assert answer.problem


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "two..dots", "sp ace.example", "ü" * 70, ""])
async def test_a_name_that_cannot_be_asked_is_a_problem_not_an_exception(ares: AresLookup, name: str) -> None:
    answer = await ask(ares, name)
    assert answer.addresses == ()
    assert answer.problem


async def test_closing_answers_what_is_under_way(server: DnsServer) -> None:
    server.silent = True
    lookup = AresLookup(asyncio.get_running_loop(), [server.address], tries=1)
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    lookup.start("slow.example", answer.set_result)
    await lookup.close()
    assert (await asyncio.wait_for(answer, 10)).problem


async def test_the_resolver_follows_a_real_server(
    server: DnsServer, ares: AresLookup, tmp_path: Path
) -> None:
    """Every layer but the clock: TTL 0 becomes one second, which the test's timer does not wait for."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[list[str]] = asyncio.Queue()
    timers: asyncio.Queue[tuple[float, object]] = asyncio.Queue()
    resolver = Resolver(
        loop,
        lookup=ares,
        hosts=HostsFile(tmp_path / "none"),
        call_later=lambda delay_s, call: (timers.put_nowait((delay_s, call)), loop.call_soon(lambda: None))[
            1
        ],
    )
    server.records["db.example", A] = (["10.0.0.1"], 0)
    resolver.watch("db.example", heard.put_nowait)
    assert await asyncio.wait_for(heard.get(), 10) == ["10.0.0.1"]
    delay_s, again = await asyncio.wait_for(timers.get(), 10)
    assert delay_s == 1.0
    server.records["db.example", A] = (["10.0.0.1", "10.0.0.2"], 0)
    assert callable(again)
    again()
    assert await asyncio.wait_for(heard.get(), 10) == ["10.0.0.1", "10.0.0.2"]
    await resolver.close()


async def test_the_loop_runs_on_while_a_server_is_silent(server: DnsServer, tmp_path: Path) -> None:
    server.silent = True
    loop = asyncio.get_running_loop()
    resolver = Resolver(
        loop,
        lookup=AresLookup(loop, [server.address], tries=1),
        hosts=HostsFile(tmp_path / "none"),
    )
    started = loop.time()
    resolver.watch("slow.example", lambda _: None)
    await asyncio.sleep(0)
    assert loop.time() - started < 0.5
    await resolver.close()


def test_hosts_lines_comments_and_case(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(
        "# comment\n\n127.0.0.1\tlocalhost box\n::1 localhost\n10.0.0.5 API.example api # note\n"
        "10.0.0.5 api\nnot-an-address bad\n10.0.0.6\n"
    )
    hosts = HostsFile(path)
    assert hosts.find("localhost") == ("127.0.0.1", "::1")
    assert hosts.find("api.EXAMPLE.") == ("10.0.0.5",)
    assert hosts.find("api") == ("10.0.0.5",)
    assert hosts.find("bad") == ()
    assert hosts.find("unknown") == ()


def test_localhost_is_known_without_a_file(tmp_path: Path) -> None:
    hosts = HostsFile(tmp_path / "missing")
    assert hosts.find("localhost") == ("127.0.0.1",)
    assert hosts.find("app.localhost") == ("127.0.0.1",)
    assert hosts.find("notlocalhost") == ()


async def test_the_system_answers_localhost_and_fails_in_words() -> None:
    lookup = SystemLookup(asyncio.get_running_loop())
    answer = await ask(lookup, "localhost")
    assert "127.0.0.1" in answer.addresses
    assert answer.ttl_s == NO_TTL_S
    failed = await ask(lookup, "no such name")
    assert failed.addresses == ()
    assert failed.problem
    await lookup.close()


@pytest.mark.parametrize(("code", "denied"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)])
async def test_the_system_denies_a_name_or_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, code: int, denied: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "in words")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    answer = await ask(SystemLookup(asyncio.get_running_loop()), "db")
    assert (answer.problem, answer.denied) == ("in words", denied)


async def test_c_ares_is_chosen_where_the_system_names_a_server(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("search example\nnameserver 127.0.0.1\n")
    lookup = choose_lookup(asyncio.get_running_loop(), conf)
    assert isinstance(lookup, AresLookup)
    await lookup.close()


@pytest.mark.parametrize("text", ["", "search example\n", "#nameserver 127.0.0.1\n", "nameserver\n", None])
async def test_the_c_library_is_chosen_without_servers(tmp_path: Path, text: str | None) -> None:
    conf = tmp_path / "resolv.conf"
    if text is not None:
        conf.write_text(text)
    assert isinstance(choose_lookup(asyncio.get_running_loop(), conf), SystemLookup)


async def test_the_c_library_is_chosen_without_aiodns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\n")
    monkeypatch.setitem(sys.modules, "aiodns", None)
    assert isinstance(choose_lookup(asyncio.get_running_loop(), conf), SystemLookup)


async def test_the_system_names_each_address_once_whatever_the_socket_types(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def fake(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        calls.append(name)
        return [(socket.AF_INET, 1, 6, "", ("10.0.0.1", 0)), (socket.AF_INET, 2, 17, "", ("10.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    answer = await ask(SystemLookup(asyncio.get_running_loop()), "db")
    assert answer.addresses == ("10.0.0.1",)
    assert calls == ["db"]
