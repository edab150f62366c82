"""Files that are being written are read once they are at rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewayd.sources import origin
from gatewayd.sources.files import FoundFile
from gatewayd.sources.limits import Limits
from gatewayd.sources.origin import Disk


class Clock:
    """Stands in for the module ``time``: nothing passes but by sleeping."""

    def __init__(self, file: Path) -> None:
        """It begins when ``file`` was written."""
        self._file = file
        self._to_do: list[tuple[float, Callable[[], object]]] = []
        self.slept_s = 0.0
        self.now_s = os.stat(file).st_ctime

    def at(self, slept_s: float, do: Callable[[], object]) -> None:
        """``do``, which writes the file, once so much was slept."""
        self._to_do.append((slept_s, do))

    def time(self) -> float:
        return self.now_s

    monotonic = time

    def sleep(self, seconds: float) -> None:
        seconds = max(seconds, 0.001)  # nobody sleeps for less, and the sum is to grow
        self.slept_s += seconds
        self.now_s += seconds
        while self._to_do and self.slept_s >= self._to_do[0][0]:
            self._to_do.pop(0)[1]()
            self.now_s = os.stat(self._file).st_ctime


def read(disk: Disk, file: Path) -> bytes:
    disk.find([str(file)])
    return disk.read(FoundFile(str(file), file), Limits())


def clock_of(monkeypatch: pytest.MonkeyPatch, file: Path) -> Clock:
    clock = Clock(file)
    monkeypatch.setattr(origin, "time", clock)
    return clock


def test_a_file_that_grows_is_read_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n")
    clock_of(monkeypatch, file).at(0.05, lambda: file.write_text("a: 1\n---\nb: 2\n"))
    assert read(Disk(patient=True), file) == b"a: 1\n---\nb: 2\n"


def test_a_file_that_was_emptied_is_given_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("")
    clock = clock_of(monkeypatch, file)
    clock.at(0.9, lambda: file.write_text("a: 1\n"))
    assert read(Disk(patient=True), file) == b"a: 1\n"


def test_a_file_that_stays_empty_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("")
    clock = clock_of(monkeypatch, file)
    assert read(Disk(patient=True), file) == b""
    assert clock.slept_s == pytest.approx(1.0, abs=0.1)


def test_a_file_that_is_never_at_rest_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 0\n")
    clock = clock_of(monkeypatch, file)
    monkeypatch.setattr(origin, "_unrest", lambda path, data: 0.05)
    assert read(Disk(patient=True), file) == b"a: 0\n"
    assert clock.slept_s == pytest.approx(2.0, abs=0.1)


def test_nobody_waits_for_a_file_at_rest_or_from_the_future(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n")
    clock = clock_of(monkeypatch, file)
    clock.now_s += 1.0
    assert read(Disk(patient=True), file) == b"a: 1\n"
    clock.now_s -= 10.0
    assert read(Disk(patient=True), file) == b"a: 1\n"
    assert clock.slept_s == 0.0


def test_who_is_not_patient_reads_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("")
    clock = clock_of(monkeypatch, file)
    assert read(Disk(), file) == b""
    assert clock.slept_s == 0.0
