"""What systemd hears of a service: sd_notify(3), over a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.runtime.notify import Notifier, notifier_from
from tests.runtime.running import GATEWAY, configuration, serve


class Manager:
    """The socket a service manager listens on."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self._messages: list[list[str]] = []

    def _listen(self) -> list[list[str]]:
        while True:
            try:
                self._messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return self._messages

    def heard(self) -> list[list[str]]:
        """The lines of each message that nobody has asked for yet."""
        messages = self._listen()
        self._messages = []
        return messages

    async def hears(self, line: str, limit_s: float = 30.0) -> list[str]:
        """All lines up to the first message with ``line``."""
        deadline = time.monotonic() + limit_s
        lines: list[str] = []
        while True:
            messages = self._listen()
            while messages:
                message = messages.pop(0)
                lines += message
                if line in message:
                    return lines
            assert time.monotonic() < deadline, f"{line} was not said, only {lines}"
            await asyncio.sleep(0.005)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    made = Notifier(manager.address)
    yield made
    made.close()


def test_every_state_is_one_datagram(manager: Manager, notifier: Notifier) -> None:
    notifier.ready("serving 2 listeners")
    notifier.stopping("draining")
    notifier.status("one\nline")
    notifier.main_pid(42)
    notifier.extend_timeout(1.5)
    notifier.alive()
    assert manager.heard() == [
        ["READY=1", "STATUS=serving 2 listeners"],
        ["STOPPING=1", "STATUS=draining"],
        ["STATUS=one line"],
        ["MAINPID=42"],
        ["EXTEND_TIMEOUT_USEC=1500000"],
        ["WATCHDOG=1"],
    ]


def test_a_reload_says_when_it_began(manager: Manager, notifier: Notifier) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    ((state, stamp),) = manager.heard()
    assert state == "RELOADING=1"
    name, _, value = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_name_that_begins_with_an_at_sign_is_an_abstract_socket() -> None:
    manager = Manager(f"@gatewayd-test-{os.getpid()}")
    notifier = Notifier(manager.address)
    notifier.ready()
    assert manager.heard() == [["READY=1"]]
    notifier.close()
    manager.socket.close()


def test_a_manager_that_is_gone_or_does_not_listen_stops_nobody(tmp_path: Path, manager: Manager) -> None:
    alone = Notifier(str(tmp_path / "nobody"))
    alone.ready()
    alone.close()
    notifier = Notifier(manager.address)
    for _ in range(5000):  # more than its queue takes
        notifier.status("x" * 500)
    assert manager.heard()
    manager.socket.close()
    notifier.ready()
    notifier.close()
    notifier.ready()


def test_the_loop_gives_signs_of_life_twice_in_each_interval(manager: Manager) -> None:
    class Loop:
        delays: list[float] = []  # noqa: RUF012  a double

        def call_later(self, delay: float, beat: object) -> asyncio.TimerHandle:
            self.delays.append(delay)
            return asyncio.TimerHandle(0.0, lambda: None, (), loop)  # type: ignore[arg-type]  # a double

        def get_debug(self) -> bool:
            return False

        def _timer_handle_cancelled(self, handle: object) -> None:
            pass

    loop = Loop()
    notifier = Notifier(manager.address, watchdog_s=30.0)
    notifier.watch(loop)  # type: ignore[arg-type]  # a double
    notifier._beat()
    assert loop.delays == [15.0, 15.0]
    assert manager.heard() == [["WATCHDOG=1"]] * 2
    notifier.close()


async def test_a_loop_that_hangs_gives_no_sign_of_life(manager: Manager) -> None:
    """The sign comes from the loop that serves, not from a thread beside it."""
    notifier = Notifier(manager.address, watchdog_s=0.02)
    notifier.watch(asyncio.get_running_loop())
    await manager.hears("WATCHDOG=1")
    manager.heard()
    time.sleep(0.1)  # noqa: ASYNC251  the loop hangs for five intervals
    assert manager.heard() == []
    await manager.hears("WATCHDOG=1")
    notifier.close()


def test_without_a_watchdog_there_is_no_timer(manager: Manager, notifier: Notifier) -> None:
    notifier.watch(None)  # type: ignore[arg-type]  # not to be asked for anything
    assert manager.heard() == []


class TestEnvironment:
    def test_variables_are_taken_out_so_that_no_child_speaks_for_us(self, manager: Manager) -> None:
        environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000", "HOME": "/"}
        notifier = notifier_from(environment)
        assert environment == {"HOME": "/"}
        assert notifier
        assert notifier.watchdog_s == 2.0
        assert notifier.environment() == {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000"}
        notifier.close()

    def test_outside_of_systemd_nobody_is_told(self) -> None:
        notifier = notifier_from({})
        assert not notifier
        notifier.ready("nobody hears that")
        assert notifier.environment() == {}

    @pytest.mark.parametrize(
        ("usec", "pid", "seconds"),
        [
            ("3000000", "own", 3.0),
            ("3000000", "1", 0.0),  # meant for another process
            ("soon", "", 0.0),
            ("-5", "", 0.0),
        ],
    )
    def test_the_watchdog_is_for_the_process_it_names(self, usec: str, pid: str, seconds: float) -> None:
        pid = pid.replace("own", str(os.getpid()))
        notifier = notifier_from({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid})
        assert notifier.watchdog_s == seconds
        notifier.close()

    def test_an_address_of_another_kind_is_nobody(self) -> None:
        assert not notifier_from({"NOTIFY_SOCKET": "vsock:2:1234"})


class TestAService:
    """``gatewayd run`` under a manager."""

    async def test_tells_ready_reload_drain_and_that_it_lives(self, manager: Manager, tmp_path: Path) -> None:
        folder = tmp_path / "site"
        folder.mkdir()
        configuration(folder)
        env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
        async with serve(folder, "--no-watch", "--shutdown-time", "7s", env=env) as gateway:
            await gateway.ready()
            said = await manager.hears("READY=1")
            assert "STATUS=serves 1 listener, 0 errors, 0 warnings" in said
            await manager.hears("WATCHDOG=1")
            assert "RELOADING=1" not in await manager.hears("WATCHDOG=1")

            (folder / "0.yaml").write_text(GATEWAY.replace("hosts:", "hotst:"))
            gateway.signal(signal.SIGHUP)
            await manager.hears("RELOADING=1")
            said = await manager.hears("READY=1")
            status = next(line for line in said if line.startswith("STATUS="))
            assert status.startswith("STATUS=serves 1 listener, 2 errors, 0 warnings")
            assert "kept in the last good version: 1" in status

            gateway.signal(signal.SIGTERM)
            await manager.hears("STOPPING=1")
            assert "EXTEND_TIMEOUT_USEC=17000000" in await manager.hears("EXTEND_TIMEOUT_USEC=17000000")
            assert await gateway.ended() == 0
