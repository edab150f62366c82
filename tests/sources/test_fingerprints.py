"""Looking at files: hashes decide, times only say which files to read."""

from __future__ import annotations

import os
import random
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
    assert set(prints.folders) == {str(path) for path in expected}


# --- what an event is about


def touched(prints: Fingerprints, *paths: Path) -> set[str] | None:
    changed = prints.look_at({str(path) for path in paths})
    return None if changed is None else names(changed)


def test_an_event_of_a_file_has_that_file_looked_at(tmp_path: Path, reads: list[str]) -> None:
    for name in "abc":
        (tmp_path / name).write_text("one")
    prints = of(tmp_path)
    reads.clear()
    (tmp_path / "a").write_text("two")
    (tmp_path / "b").write_text("two")
    assert touched(prints, tmp_path / "a") == {"a"}
    assert names(set(reads)) == {"a"}
    assert touched(prints, tmp_path / "a", tmp_path / "c") == set()
    assert touched(prints, tmp_path / "b") == {"b"}
    (tmp_path / "b").unlink()
    assert touched(prints, tmp_path / "b") == {"b"}
    assert prints.look() == set()


def test_an_event_of_a_new_file_counts_if_the_file_does(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    prints = Fingerprints({str(tmp_path): (".yaml",)})
    prints.look()
    for name in ("b.yaml", "c.txt", ".d.yaml", "e.yaml~"):
        (tmp_path / name).write_text("one")
        assert touched(prints, tmp_path / name) == ({"b.yaml"} if name == "b.yaml" else set())
    assert touched(prints, tmp_path / "came-and-went") == set()
    assert prints.look() == set()


def test_the_same_content_moves(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    prints = of(tmp_path)
    (tmp_path / "b").write_text("one")
    (tmp_path / "b").rename(tmp_path / "a")
    assert touched(prints, tmp_path / "a", tmp_path / "b") == set()
    assert names(prints.moved) == {"a"}


def test_links_and_folders_have_everything_looked_at(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "..one").mkdir()
    (tmp_path / "..one" / "a").write_text("one")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "a").symlink_to("..data/a")
    (tmp_path / "b").write_text("one")
    prints = of(tmp_path)
    assert touched(prints, tmp_path / "sub") is None
    assert touched(prints, tmp_path / "a") is None
    assert touched(prints, tmp_path / "..data") is None
    (tmp_path / "..data").unlink()
    assert touched(prints, tmp_path / "..data") is None
    (tmp_path / "new").mkdir()
    assert touched(prints, tmp_path / "b", tmp_path / "new") is None
    (tmp_path / "b").unlink()
    (tmp_path / "b").symlink_to("..one/a")
    assert touched(prints, tmp_path / "b") is None
    assert touched(prints, tmp_path) is None
    assert touched(prints, Path("/nowhere/a")) is None


def test_what_is_lost_of_a_look_at_some_is_found_by_the_look_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    prints = of(tmp_path)
    (tmp_path / "a").write_text("two")
    (tmp_path / "new").mkdir()
    assert touched(prints, tmp_path / "a", tmp_path / "new") is None
    assert names(prints.look()) == {"a"}


def test_a_file_of_no_folder_and_one_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "target").write_text("one")
    (tmp_path / "link").symlink_to("real/target")
    (tmp_path / "file").write_text("one")
    prints = of(tmp_path / "link", tmp_path / "file", tmp_path / "missing")
    for path in (tmp_path / "file", tmp_path / "missing", tmp_path / "real" / "target"):
        path.write_text("two")
        name = "link" if path.name == "target" else path.name
        assert touched(prints, path, tmp_path / "other") == {name}
    assert touched(prints, tmp_path / "link") is None
    assert prints.look() == set()


def test_a_folder_with_two_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "a").write_text("one")
    prints = of(tmp_path / "link", tmp_path / "real")
    (tmp_path / "real" / "a").write_text("two")
    expected = {str(tmp_path / "link" / "a"), str(tmp_path / "real" / "a")}
    assert prints.look_at([str(tmp_path / "real" / "a")]) == expected
    (tmp_path / "real" / "a").write_text("six")
    assert prints.look_at([str(tmp_path / "link" / "a")]) == expected


def test_a_path_that_appears_as_a_folder(tmp_path: Path) -> None:
    prints = of(tmp_path / "later", tmp_path / "much" / "later")
    (tmp_path / "later").mkdir()
    assert touched(prints, tmp_path / "later") is None
    assert touched(prints, tmp_path / "much") is None
    assert touched(prints, tmp_path / "unrelated") == set()


@pytest.mark.parametrize("seed", range(5))
def test_events_of_all_that_was_done_find_what_a_look_at_all_finds(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    prints, other = of(tmp_path), of(tmp_path)
    for _ in range(60):
        events = set()
        for _ in range(rng.randint(1, 3)):
            one, two = (tmp_path / rng.choice(["a", "b", "c", "d", ".e"]) for _ in range(2))
            what = rng.choice(["write", "write", "unlink", "rename"])
            if what == "write":
                one.write_text(rng.choice(["one", "two", "six"]))
            elif what == "unlink":
                one.unlink(missing_ok=True)
            elif one.exists():
                one.rename(two)
            events |= {str(one), str(two)}
        assert prints.look_at(events) == other.look()
        assert prints.moved == other.moved
