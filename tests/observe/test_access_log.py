"""Batches of the access log: when they are written, and what happens to the rest."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from gatewayd.observe import access_log as module
from gatewayd.observe.access_log import BATCH, AccessLog, NoAccessLog
from tests.observe.infos import exchange
from tests.observe.test_log_sink import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def content(path: Path) -> str:
    return path.read_text()


def rotate(path: Path) -> Path:
    return path.rename(path.with_suffix(".log.1"))


def paths_in(path: Path) -> list[str]:
    return [line.split('"')[1].split(" ")[1] for line in content(path).splitlines()]


async def test_a_line_is_written_when_the_interval_is_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_INTERVAL_S", 0.02)
    log = AccessLog(asyncio.get_running_loop(), str(path))
    log.append(exchange(path=b"/one"))
    assert content(path) == "", "not while the request is being answered"
    await until(lambda: content(path))
    assert paths_in(path) == ["/one"]
    log.append(exchange(path=b"/two"))
    await until(lambda: len(paths_in(path)) == 2)
    log.close()


async def test_no_timer_runs_while_nothing_waits(path: Path) -> None:
    armed: list[asyncio.TimerHandle] = []

    class Loop:
        def call_later(self, delay: float, callback: Any) -> asyncio.TimerHandle:
            handle = asyncio.get_running_loop().call_later(delay, callback)
            armed.append(handle)
            return handle

    loop: Any = Loop()
    log = AccessLog(loop, str(path))
    assert armed == []
    for _ in range(BATCH - 1):
        log.append(exchange())
    assert len(armed) == 1
    log.flush()
    assert armed[0].cancelled()
    log.close()
    assert len(armed) == 1


async def test_full_batches_are_written_in_order_when_the_interval_is_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_INTERVAL_S", 0.02)
    log = AccessLog(asyncio.get_running_loop(), str(path))
    for index in range(2 * BATCH):
        log.append(exchange(path=b"/%d" % index))
    assert content(path) == "", "they are gathered"
    await until(lambda: content(path))
    assert paths_in(path) == [f"/{index}" for index in range(2 * BATCH)]
    log.close()


async def test_flush_writes_what_waits(path: Path) -> None:
    log = AccessLog(asyncio.get_running_loop(), str(path))
    log.append(exchange(path=b"/waits"))
    log.flush()
    await until(lambda: content(path))
    assert paths_in(path) == ["/waits"]
    log.flush()
    await until(lambda: content(path))
    assert paths_in(path) == ["/waits"]
    log.close()


async def test_close_writes_what_waits(path: Path) -> None:
    log = AccessLog(asyncio.get_running_loop(), str(path))
    log.append(exchange(path=b"/last"))
    log.close()
    assert paths_in(path) == ["/last"]


async def test_what_was_logged_before_a_rotation_stays_in_the_old_file(path: Path) -> None:
    log = AccessLog(asyncio.get_running_loop(), str(path))
    log.append(exchange(path=b"/old"))
    old = rotate(path)
    log.reopen()
    log.append(exchange(path=b"/new"))
    log.close()
    assert paths_in(old) == ["/old"]
    assert paths_in(path) == ["/new"]


async def test_json_lines(path: Path) -> None:
    log = AccessLog(asyncio.get_running_loop(), str(path), "json")
    log.append(exchange())
    log.close()
    assert content(path).startswith('{"start_time":"2026-01-02T03:04:05.678Z"')


async def test_a_broken_fact_costs_its_own_line_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(asyncio.get_running_loop(), str(path))
    log.append(exchange(path=b"/good"))
    log.append(exchange(path=None))
    log.append(exchange(path=b"/better"))
    with caplog.at_level(logging.ERROR):
        log.flush()
    await until(lambda: content(path))
    assert paths_in(path) == ["/good", "/better"]
    assert log.sink.dropped_lines == 1
    assert "could not be logged" in caplog.text
    log.close()


async def test_when_nobody_reads_nothing_is_formatted_any_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccessLog(asyncio.get_running_loop(), str(path))
    monkeypatch.setattr(type(log.sink), "full", property(lambda sink: True))
    for _ in range(BATCH):
        log.append(exchange(path=None))  # formatting it would fail
    assert log.sink.dropped_lines == BATCH
    assert content(path) == ""
    log.close()


def test_off_keeps_nothing() -> None:
    log = NoAccessLog()
    log.append(exchange())
    log.flush()
    log.reopen()
    log.close()
