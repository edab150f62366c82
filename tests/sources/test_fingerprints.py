"""Looking at files: hashes decide, times only say which files to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewayd.sources import fingerprints
from gatewayd.sources.fingerprints import Fingerprints


def of(*paths: Path) -> Fingerprints:
    made = Fingerprints({str(path): () for path in paths})
    made.look()
    return made


def names(changed: set[str]) -> set[str]:
    return {os.path.basename(path) for path in changed}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read."""
    seen: list[str] = []
    digest = fingerprints._digest

    def counted(path: str) -> bytes:
        seen.append(path)
        return digest(path)

    monkeypatch.setattr(fingerprints, "_digest", counted)
    return seen


def test_an_old_file_is_read_once_and_then_looked_at(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_text("one")
    prints = of(tmp_path)
    # Its times say that it changed long ago, as far as anything but ctime can be set.
    prints._known[str(tmp_path / "a")].sure = True
    for _ in range(3):
        assert prints.look() == set()
    assert len(reads) == 1


def test_a_file_changed_just_now_is_read_again_because_times_are_coarse(
    tmp_path: Path, reads: list[str]
) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    prints = of(tmp_path)
    signature = prints._known[str(file)].signature
    file.write_text("two")
    # As if all had happened within one tick of the file system's clock.
    prints._known[str(file)].signature = signature
    assert names(prints.look()) == {"a"}
    assert len(reads) == 2


def test_the_same_content_put_in_place_anew_moves_without_a_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    prints = of(tmp_path)
    assert prints.look() == set()
    assert not prints.moved
    (tmp_path / "b").write_text("one")
    (tmp_path / "b").rename(tmp_path / "a")
    assert prints.look() == set()
    assert prints.moved


def test_a_change_is_told_once_and_so_is_the_end(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    prints = of(file)
    before = prints.digest(str(file))
    file.write_text("two")
    assert names(prints.look()) == {"a"}
    assert prints.digest(str(file)) not in (None, before)
    assert prints.look() == set()
    file.unlink()
    assert names(prints.look()) == {"a"}
    assert prints.digest(str(file)) is None
    assert prints.look() == set()


def test_loops_of_links_and_links_to_nowhere_end(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "sub" / "a").write_text("one")
    prints = of(tmp_path)
    assert prints.digest(str(tmp_path / "sub" / "a")) is not None
    assert prints.look() == set()


def test_what_is_no_regular_file_is_not_read(tmp_path: Path, reads: list[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    prints = of(tmp_path)
    assert prints.look() == set()
    assert reads == []


def test_big_files_are_told_apart_by_size_and_times(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_MAX_HASHED_BYTES", 10)
    (tmp_path / "big").write_text("x" * 11)
    prints = of(tmp_path)
    (tmp_path / "big").write_text("x" * 12)
    assert names(prints.look()) == {"big"}
    assert reads == []


def test_a_file_reached_by_two_paths_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    prints = of(tmp_path, file)
    file.write_text("two")
    assert prints.look() == {str(file)}


def test_the_folders_are_those_where_events_would_show(tmp_path: Path) -> None:
    (tmp_path / "config" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_text("one")
    (tmp_path / "config" / "a").symlink_to(tmp_path / "elsewhere" / "a")
    prints = of(tmp_path / "config", tmp_path / "not" / "there")
    expected = [tmp_path, tmp_path / "config", tmp_path / "config" / "sub", tmp_path / "elsewhere"]
    assert prints.folders == {str(path) for path in expected}
