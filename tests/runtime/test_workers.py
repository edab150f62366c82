"""Several workers under a supervisor, as real processes (product.md section 2, hardening 9.1, 9.2, 9.4, 9.8, 9.9)."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gatewayd.tls.authority import make_authority, make_leaf
from tests.runtime.running import (
    GATEWAY,
    LIMIT_S,
    Client,
    Running,
    Slow,
    client,
    configuration,
    get,
    running,
    serve,
    slow_upstream,
)
from tests.runtime.test_reload import BROKEN_RULE, answering, routed
from tests.support.ports import PortReservation

#: Enough connections for both workers to have some.
MANY = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configuration(tmp_path, GATEWAY, answering("one"))


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    async with slow_upstream() as upstream:
        yield upstream


def workers_of(gatewayd: Running) -> list[int]:
    """Processes of the workers, those that leave included."""
    path = Path(f"/proc/{gatewayd.pid}/task/{gatewayd.pid}/children")
    return [int(word) for word in path.read_text().split()]


@asynccontextmanager
async def several(*words: str | Path, number: int = 2) -> AsyncIterator[tuple[Running, int, int]]:
    """The service, its port and its status port."""
    async with serve(*words, "--workers", str(number)) as gatewayd:
        port, status = await gatewayd.ready()
        assert len(workers_of(gatewayd)) == number
        yield gatewayd, port, status


@asynccontextmanager
async def connections(port: int, number: int = MANY) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client(port)) for _ in range(number)]


async def all_answer(port: int, word: str) -> bool:
    """Whether new connections, which come to any worker, are all answered with ``word``."""
    return {(await get(port, "/"))[2] for _ in range(MANY)} == {word.encode()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_workers_end_without_a_word_of_the_event_loop(folder: Path, number: signal.Signals) -> None:
    """The supervisor listens to each worker's stream of events all the time, also when it ends."""
    async with several(folder) as (gatewayd, _, _):
        gatewayd.signal(number)
        assert await gatewayd.ended() == 0
    assert "asyncio" not in gatewayd.said, gatewayd.said


async def until_all_answer(port: int, word: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await all_answer(port, word):  # noqa: ASYNC110, other processes decide
            await asyncio.sleep(0.01)


async def until_replaced(gatewayd: Running, *gone: int, number: int = 2) -> None:
    def there() -> bool:
        found = workers_of(gatewayd)
        return len(found) == number and not set(gone) & set(found)

    await gatewayd.until(there, f"{number} workers without {gone}")


async def until_ready(status: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while (await get(status, "/healthz/ready"))[0] != 200:  # noqa: ASYNC110, another process decides
            await asyncio.sleep(0.01)


def owner_of(port: int, workers: list[int]) -> int:
    """The worker that has the connection whose client has the local ``port``."""
    from tests.soak.service import client_ports

    (found,) = [pid for pid in workers if port in client_ports(pid)]
    return found


class TestServing:
    async def test_each_worker_serves_and_the_supervisor_answers_for_all(self, folder: Path) -> None:
        async with several(folder) as (gatewayd, port, status), connections(port) as many:
            for connection in many:
                assert (await connection.get("/"))[2] == b"one"
            pids = workers_of(gatewayd)
            owners = {owner_of(each.writer.get_extra_info("sockname")[1], pids) for each in many}
            assert owners == set(pids)
            assert (await get(status, "/healthz/ready"))[2] == b"ready\n"
            assert f"workers   processes {pids[0]}, {pids[1]}" in gatewayd.said

    async def test_request_ids_of_workers_are_their_own(self, tmp_path: Path) -> None:
        log = tmp_path / "access.log"
        async with several(configuration(tmp_path, GATEWAY, answering("one")), "--access-log", log) as (
            gatewayd,
            port,
            _,
        ):
            for _ in range(2 * MANY):
                await get(port, "/")
            gatewayd.signal(signal.SIGTERM)
            assert await gatewayd.ended() == 0
        ids = re.findall(
            r"[0-9a-f]{8}-[0-9a-f]{4}-[49][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", log.read_text()
        )
        assert len(ids) == 2 * MANY, "every request is one whole line"
        assert len(set(ids)) == 2 * MANY

    async def test_another_service_does_not_share_the_port_unseen(self, folder: Path) -> None:
        async with several(folder) as (_, port, _):
            flags = ("--workers", "2", "--port-map", f"80={port}", "--bind", "127.0.0.1", "--status", "off")
            async with running("run", folder, *flags) as second:
                assert await second.ended() == 77
                assert f"cannot bind 127.0.0.1:{port}: address already in use" in second.said

    async def test_a_unix_socket_is_shared_and_its_file_goes_with_the_service(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.sock"
        gateway = GATEWAY.replace("hosts:", f"bind: unix://{path}\n    hosts:").replace(
            "number: 80", "number: 0"
        )
        async with serve(configuration(tmp_path, gateway, answering("one")), "--workers", "2") as gatewayd:
            await gatewayd.until_said("workers   processes")
            victim = workers_of(gatewayd)[0]
            os.kill(victim, signal.SIGTERM)
            await until_replaced(gatewayd, victim)
            for _ in range(MANY):
                reader, writer = await asyncio.open_unix_connection(str(path))
                connection = Client(reader, writer)
                assert (await connection.get("/"))[2] == b"one"
                await connection.close()
            gatewayd.signal(signal.SIGTERM)
            assert await gatewayd.ended() == 0
            assert not path.exists()


class TestReload:
    async def test_all_workers_take_it_and_keep_their_connections(self, folder: Path) -> None:
        async with several(folder) as (gatewayd, port, _), connections(port) as many:
            before = workers_of(gatewayd)
            for connection in many:
                assert (await connection.get("/"))[2] == b"one"
            (folder / "1.yaml").write_text(answering("two"))
            await gatewayd.until_said(r"reload 1: ")
            for connection in many:
                _, head, body = await connection.get("/")
                assert body == b"two", "once it is told of, every worker has it"
                assert "connection: close" not in head
            assert workers_of(gatewayd) == before
            assert gatewayd.said.count("reload 1: ") == 1

    async def test_a_mistake_goes_no_further_than_the_supervisor(self, folder: Path) -> None:
        async with several(folder) as (gatewayd, port, _):
            (folder / "1.yaml").write_text(BROKEN_RULE)
            await gatewayd.until_said(r"kept in the last good version: 1")
            assert await all_answer(port, "one")
            assert gatewayd.said.count("[GWD0201]") <= 1
            (folder / "1.yaml").write_text(answering("two"))
            await until_all_answer(port, "two")

    async def test_a_worker_that_is_started_meanwhile_keeps_the_last_good_version(self, folder: Path) -> None:
        async with several(folder) as (gatewayd, port, _):
            (folder / "1.yaml").write_text(BROKEN_RULE)
            await gatewayd.until_said(r"kept in the last good version: 1")
            before = workers_of(gatewayd)
            for pid in before:
                os.kill(pid, signal.SIGTERM)
            await until_replaced(gatewayd, *before)
            assert await all_answer(port, "one")
            (folder / "1.yaml").write_text(answering("two"))
            await until_all_answer(port, "two")

    async def test_listeners_come_and_go_in_all_workers(self, folder: Path) -> None:
        with_more = GATEWAY + '  - port: {number: PORT, name: more, protocol: HTTP}\n    hosts: ["*"]\n'
        reservation = PortReservation()
        more = reservation.port
        reservation.release()
        async with several(folder) as (gatewayd, port, _):
            (folder / "0.yaml").write_text(with_more.replace("PORT", str(more)))
            await gatewayd.until_said(r"reload 1: listeners \+1")
            assert await all_answer(more, "one")
            victim = workers_of(gatewayd)[0]
            os.kill(victim, signal.SIGTERM)
            await until_replaced(gatewayd, victim)
            assert await all_answer(more, "one"), "also where it came later than the worker before"
            (folder / "0.yaml").write_text(GATEWAY)
            await gatewayd.until_said(r"reload 2: listeners -1")
            with pytest.raises(ConnectionRefusedError):
                await get(more, "/")
            assert await all_answer(port, "one")

    async def test_an_address_that_cannot_be_bound_refuses_it(self, folder: Path) -> None:
        taken = PortReservation()
        taken.sockets[0].listen()
        more = f"  - port: {{number: {taken.port}, name: more, protocol: HTTP}}\n    hosts: ['*']\n"
        async with several(folder) as (gatewayd, port, _):
            (folder / "0.yaml").write_text(GATEWAY + more)
            (folder / "1.yaml").write_text(answering("two"))
            await gatewayd.until_said(rf"reload \d+ refused.*cannot bind 127\.0\.0\.1:{taken.port}")
            assert await all_answer(port, "one")
            taken.release()
            gatewayd.signal(signal.SIGHUP)
            await until_all_answer(port, "two")

    async def test_a_certificate_is_renewed_in_all_workers(self, tmp_path: Path) -> None:
        authority = make_authority("root", 5)
        secrets = tmp_path / "secrets"
        site = tmp_path / "site"
        (secrets / "edge").mkdir(parents=True)
        site.mkdir()

        def issue() -> bytes:
            leaf = make_leaf(["shop.test"], 5, authority)
            (secrets / "edge" / "tls.crt").write_bytes(leaf.certificate)
            (secrets / "edge" / "tls.key").write_bytes(leaf.private_key)
            return ssl.PEM_cert_to_DER_cert(leaf.certificate.decode())

        context = ssl.create_default_context(cadata=authority.certificate.decode())

        async def shown(port: int) -> bytes:
            settings = {"ssl": context, "server_hostname": "shop.test"}
            _, writer = await asyncio.open_connection("127.0.0.1", port, **settings)  # type: ignore[arg-type]
            der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return der

        issue()
        gateway = GATEWAY.replace(
            "protocol: HTTP}", "protocol: HTTPS}\n    tls: {mode: SIMPLE, credentialName: edge}"
        )
        flags = ("--secrets", secrets, "--workers", "2")
        async with serve(configuration(site, gateway, answering("one")), *flags) as gatewayd:
            found = await gatewayd.until_said(
                r"listener\s+https://127\.0\.0\.1:(\d+)(?s:.*)workers   processes"
            )
            new = issue()
            async with asyncio.timeout(LIMIT_S):
                while {await shown(int(found[1])) for _ in range(MANY)} != {new}:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


class TestDeath:
    async def test_a_killed_worker_is_back_on_its_socket_and_who_waits_there_is_served(
        self, folder: Path
    ) -> None:
        async with several(folder) as (gatewayd, port, status):
            victim = workers_of(gatewayd)[0]
            os.kill(victim, signal.SIGSTOP)
            async with connections(port) as many:
                for connection in many:
                    connection.send("/")
                served = [each for each in many if await answered(each, 0.05)]
                assert len(served) < MANY, "some wait for the one that is stopped"
                os.kill(victim, signal.SIGKILL)
                lost = 0
                for connection in many:
                    if connection not in served:
                        try:
                            assert (await connection.receive())[2] == b"one"
                        except (asyncio.IncompleteReadError, ConnectionResetError):
                            lost += 1
                # At most what it had accepted before it was stopped.
                assert lost == 0
            await until_replaced(gatewayd, victim)
            await until_ready(status)
            await gatewayd.until_said(rf"worker 1 \(process {victim}\) has died: killed by SIGKILL")

    async def test_one_that_keeps_dying_waits_and_another_accepts_for_it(self, folder: Path) -> None:
        async with several(folder) as (gatewayd, port, status):
            spared = workers_of(gatewayd)[1]
            for _ in range(5):
                await gatewayd.until(lambda: [pid for pid in workers_of(gatewayd) if pid != spared])
                (victim,) = [pid for pid in workers_of(gatewayd) if pid != spared]
                os.kill(victim, signal.SIGKILL)
                await gatewayd.until(lambda gone=victim: gone not in workers_of(gatewayd))  # type: ignore[misc]
            await gatewayd.until_said(r"worker 1 keeps dying: it is started again in 1 s")
            await gatewayd.until_said(r"worker 2 \(process \d+\) accepts for worker 1 as well")
            assert workers_of(gatewayd) == [spared]
            assert await all_answer(port, "one")
            assert (await get(status, "/healthz/ready"))[0] == 200
            await gatewayd.until(lambda: len(workers_of(gatewayd)) == 2)
            assert await all_answer(port, "one")

    async def test_one_that_hangs_is_replaced(self, folder: Path) -> None:
        async with several(folder, "--hang-time", "1500ms") as (gatewayd, port, _):
            victim = workers_of(gatewayd)[1]
            os.kill(victim, signal.SIGSTOP)
            await gatewayd.until_said(rf"worker 2 \(process {victim}\) hangs: no pulse for 1\.5 s")
            await until_replaced(gatewayd, victim)
            assert await all_answer(port, "one")

    async def test_without_the_supervisor_they_finish_what_they_do_and_go(
        self, tmp_path: Path, slow: Slow
    ) -> None:
        folder = configuration(tmp_path, GATEWAY, routed())
        pin = ("--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        async with several(folder, *pin) as (gatewayd, port, _):
            pids = workers_of(gatewayd)
            async with client(port) as busy:
                busy.send("/")
                await asyncio.wait_for(slow.arrived.wait(), LIMIT_S)
                gatewayd.signal(signal.SIGKILL)
                await gatewayd.until_said(r"(?s:.*the supervisor is gone){2}")
                slow.go.set()
                status, head, body = await busy.receive()
                assert (status, body) == (200, b"slow")
                assert "connection: close" in head
            async with asyncio.timeout(LIMIT_S):
                while any(map(is_there, pids)):  # noqa: ASYNC110, the kernel decides
                    await asyncio.sleep(0.01)
            with pytest.raises(ConnectionRefusedError):
                await get(port, "/")


class TestReplacement:
    async def test_a_worker_told_to_go_is_replaced_first_and_loses_nobody(self, folder: Path) -> None:
        async with several(folder) as (gatewayd, port, _), connections(port) as many:
            for connection in many:
                assert (await connection.get("/"))[0] == 200
            before = workers_of(gatewayd)
            os.kill(before[0], signal.SIGTERM)
            await gatewayd.until_said(r"draining \d+ connections")
            told = 0
            for connection in many:
                _, head, body = await connection.get("/")
                assert body == b"one", "idle connections are let be until they ask"
                told += "connection: close" in head
            assert 0 < told < MANY
            await until_replaced(gatewayd, before[0])
            assert before[1] in workers_of(gatewayd)

    async def test_a_session_on_a_worker_that_leaves_goes_on(self, tmp_path: Path, slow: Slow) -> None:
        folder = configuration(tmp_path, GATEWAY, routed())
        pin = ("--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        async with several(folder, *pin) as (gatewayd, port, _), client(port) as tunnel:
            tunnel.writer.write(
                b"GET /ws HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            )
            head = await asyncio.wait_for(tunnel.reader.readuntil(b"\r\n\r\n"), LIMIT_S)
            assert head.startswith(b"HTTP/1.1 101 ")
            before = workers_of(gatewayd)
            for pid in before:
                os.kill(pid, signal.SIGTERM)
            await gatewayd.until_said("draining 1 connections")
            tunnel.writer.write(b"still here")
            assert await asyncio.wait_for(tunnel.reader.readexactly(10), LIMIT_S) == b"still here"
            await tunnel.close()
            await until_replaced(gatewayd, *before)


class TestEnd:
    async def test_term_lets_requests_finish_in_all_workers(self, tmp_path: Path, slow: Slow) -> None:
        folder = configuration(tmp_path, GATEWAY, routed())
        pin = ("--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        async with several(folder, *pin) as (gatewayd, port, status), connections(port, 8) as many:
            for connection in many:
                connection.send("/")
            # A connection that nobody has accepted ends with the socket it waits at.
            await gatewayd.until(lambda: slow.asked == 8, "all requests")
            gatewayd.signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT_S):
                while (await get(status, "/healthz/ready"))[2] != b"draining\n":  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                while await takes_connections(port):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            slow.go.set()
            for connection in many:
                code, head, body = await connection.receive()
                assert (code, body) == (200, b"slow")
                assert "connection: close" in head
            assert await gatewayd.ended() == 0

    async def test_the_time_to_drain_ends_with_75(self, tmp_path: Path, slow: Slow) -> None:
        folder = configuration(tmp_path, GATEWAY, routed())
        flags = ("--endpoint", f"backend.test=127.0.0.1:{slow.port}", "--shutdown-time", "300ms")
        async with several(folder, *flags) as (gatewayd, port, _), client(port) as busy:
            busy.send("/")
            await asyncio.wait_for(slow.arrived.wait(), LIMIT_S)
            gatewayd.signal(signal.SIGTERM)
            assert await gatewayd.ended() == 75
            assert await busy.at_end()

    @pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
    async def test_a_second_signal_ends_all_at_once(
        self, tmp_path: Path, slow: Slow, second: signal.Signals
    ) -> None:
        folder = configuration(tmp_path, GATEWAY, routed())
        pin = ("--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        async with several(folder, *pin) as (gatewayd, port, _), client(port) as busy:
            busy.send("/")
            await asyncio.wait_for(slow.arrived.wait(), LIMIT_S)
            gatewayd.signal(signal.SIGTERM)
            await gatewayd.until_said("draining")
            gatewayd.signal(second)
            assert await gatewayd.ended(20.0) == 0
            assert await busy.at_end()

    async def test_with_a_delay_connections_are_taken_until_it_is_over(self, folder: Path) -> None:
        async with several(folder, "--drain-delay", "1500ms") as (gatewayd, port, status):
            began = time.monotonic()
            gatewayd.signal(signal.SIGTERM)
            await gatewayd.until_said("draining begins in 1.5 s")
            assert (await get(status, "/healthz/ready"))[0] == 503
            _, head, body = await get(port, "/")
            assert (body, "connection: close" in head) == (b"one", True)
            assert await gatewayd.ended() == 0
            assert time.monotonic() - began >= 1.5

    async def test_a_signal_to_all_processes_is_as_one_to_the_supervisor(self, folder: Path) -> None:
        """As systemd's KillMode=control-group sends it, and Ctrl-C on a terminal."""
        async with serve(folder, "--workers", "2", start_new_session=True) as gatewayd:
            port, _ = await gatewayd.ready()
            async with client(port) as idle:
                assert (await idle.get("/"))[0] == 200
                os.killpg(gatewayd.pid, signal.SIGTERM)
                assert await gatewayd.ended() == 0
            assert "Traceback" not in gatewayd.said


class TestLogs:
    async def test_usr1_reopens_them_in_all_workers(self, folder: Path, tmp_path: Path) -> None:
        log, old = tmp_path / "access.log", tmp_path / "access.log.1"
        async with several(folder, "--access-log", log) as (gatewayd, port, _), connections(port) as many:
            for connection in many:
                await connection.get("/before")
            log.rename(old)
            gatewayd.signal(signal.SIGUSR1)
            await gatewayd.until(
                lambda: old.read_text().count("/before") == MANY, "all lines in the old file"
            )
            await gatewayd.until(log.exists)
            for connection in many:
                await connection.get("/after")
            gatewayd.signal(signal.SIGTERM)
            assert await gatewayd.ended() == 0
        assert log.read_text().count("/after") == MANY
        assert "/after" not in old.read_text()

    async def test_quit_tells_of_supervisor_and_workers(self, folder: Path) -> None:
        async with several(folder) as (gatewayd, _, _):
            gatewayd.signal(signal.SIGQUIT)
            await gatewayd.until_said(r"worker 2 \(process \d+\) READY")
            await gatewayd.until(lambda: gatewayd.said.count("ACCEPTING, 0 connections") == 2)


async def answered(connection: Client, within_s: float) -> bool:
    try:
        return (await connection.receive(within_s))[0] == 200
    except TimeoutError:
        return False


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def takes_connections(port: int) -> bool:
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except (ConnectionRefusedError, ConnectionResetError):
            return False
    return True
