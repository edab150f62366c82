"""Changes of files are noticed however they are made, by event and by looking; nothing else is (product 5)."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayd.sources import fingerprints, watch
from gatewayd.sources.fingerprints import Fingerprints
from gatewayd.sources.watch import Watch

LIMIT_S = 20.0
#: So far away that only an event can be the reason.
NEVER_S = 3600.0


class Seen:
    """What a watch has told so far."""

    def __init__(self, watch_events: bool, poll_s: float) -> None:
        self.changes: list[frozenset[str]] = []
        self.began = 0
        self.moved: frozenset[str] = frozenset()
        self._news = asyncio.Event()
        self.watch = Watch(
            asyncio.get_running_loop(), self._changed, self._watching, self._moved,
            events=watch_events, poll_s=poll_s, settle_s=0.02,
        )  # fmt: skip

    def _changed(self, paths: frozenset[str]) -> None:
        self.changes.append(paths)
        self._news.set()

    def _watching(self) -> None:
        self.began += 1
        self._news.set()

    def _moved(self, paths: frozenset[str]) -> None:
        self.moved |= paths
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def follow(self, *paths: Path, suffixes: tuple[str, ...] = ()) -> None:
        before = self.began
        self.watch.follow({str(path): suffixes for path in paths})
        await self.until(lambda: self.began > before)

    async def told(self, *paths: Path) -> None:
        """Wait until all of ``paths`` were told of; nothing else may have been."""
        expected = {str(path) for path in paths}
        await self.until(lambda: expected <= set().union(*self.changes))
        assert set().union(*self.changes) == expected
        self.changes.clear()


@pytest.fixture(params=["events", "looking"])
async def seen(request: pytest.FixtureRequest) -> AsyncIterator[Seen]:
    """Each way of noticing alone: events without looking in between, and looking without events."""
    made = Seen(True, NEVER_S) if request.param == "events" else Seen(False, 0.02)
    yield made
    made.watch.close()
    await made.watch.wait_closed()


async def test_a_file_written_in_place(seen: Seen, tmp_path: Path) -> None:
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text("one")
    other.write_text("one")
    await seen.follow(file, other)
    for text in ("two", "one", "longer"):
        file.write_text(text)
        await seen.told(file)


async def test_a_file_replaced_by_rename(seen: Seen, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    await seen.follow(file)
    for text in ("two", "six"):
        (tmp_path / "new").write_text(text)
        os.replace(tmp_path / "new", file)
        await seen.told(file)


async def test_files_of_a_folder_that_come_and_go(seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    await seen.follow(tmp_path)
    (tmp_path / "b.yaml").write_text("two")
    await seen.told(tmp_path / "b.yaml")
    (tmp_path / "a.yaml").unlink()
    await seen.told(tmp_path / "a.yaml")
    os.rename(tmp_path / "b.yaml", tmp_path / "c.yaml")
    await seen.told(tmp_path / "b.yaml", tmp_path / "c.yaml")


async def test_a_folder_below_that_comes_later(seen: Seen, tmp_path: Path) -> None:
    await seen.follow(tmp_path)
    (tmp_path / "ready").mkdir()
    (tmp_path / "ready" / "deep").mkdir()
    (tmp_path / "ready" / "deep" / "a").write_text("one")
    os.rename(tmp_path / "ready", tmp_path / "sub")
    await seen.told(tmp_path / "sub" / "deep" / "a")
    (tmp_path / "sub" / "deep" / "a").write_text("two")
    await seen.told(tmp_path / "sub" / "deep" / "a")


async def test_a_path_that_does_not_exist_yet(seen: Seen, tmp_path: Path) -> None:
    wanted = tmp_path / "etc" / "secrets"
    (tmp_path / "made" / "secrets" / "shop").mkdir(parents=True)
    (tmp_path / "made" / "secrets" / "shop" / "tls.crt").write_text("one")
    await seen.follow(wanted)
    os.rename(tmp_path / "made", tmp_path / "etc")
    await seen.told(wanted / "shop" / "tls.crt")


async def test_a_kubernetes_mount_that_swaps_its_link(seen: Seen, tmp_path: Path) -> None:
    for version in ("one", "two", "six"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "tls.crt").write_text(version)
        (tmp_path / f"..{version}" / "same").write_text("same")
    (tmp_path / "..data").symlink_to("..one")
    for name in ("tls.crt", "same"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    await seen.follow(tmp_path)
    for version in ("two", "six"):
        (tmp_path / "..data_tmp").symlink_to(f"..{version}")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
        await seen.told(tmp_path / "tls.crt")


async def test_a_link_to_a_file_elsewhere_that_is_rewritten(seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "real.yaml"
    target.write_text("one")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "a.yaml").symlink_to(target)
    await seen.follow(tmp_path / "config")
    target.write_text("two")
    await seen.told(tmp_path / "config" / "a.yaml")


async def test_touch_is_no_change(seen: Seen, tmp_path: Path) -> None:
    touched, copied, changed = (tmp_path / name for name in "abc")
    for file in (touched, copied, changed):
        file.write_text("one")
    await seen.follow(tmp_path)
    touched.touch()
    os.utime(touched, (1, 1))
    (tmp_path / ".new").write_text("one")
    os.replace(tmp_path / ".new", copied)
    changed.write_text("two")
    await seen.told(changed)


async def test_the_same_content_in_a_file_of_its_own_is_no_change_but_something_moved(
    seen: Seen, tmp_path: Path
) -> None:
    """What was there in between may have been read: whoever reads again after this has what stands in the end."""
    (tmp_path / "a.yaml").write_text("one")
    await seen.follow(tmp_path)
    (tmp_path / "new").write_text("one")
    (tmp_path / "new").rename(tmp_path / "a.yaml")
    await seen.until(lambda: str(tmp_path / "a.yaml") in seen.moved)
    (tmp_path / "b.yaml").write_text("two")
    await seen.until(lambda: str(tmp_path / "b.yaml") in set().union(*seen.changes))
    assert str(tmp_path / "a.yaml") not in set().union(*seen.changes)


async def test_only_files_that_end_so_count_in_a_folder(seen: Seen, tmp_path: Path) -> None:
    named = tmp_path / "named.txt"
    folder = tmp_path / "folder"
    folder.mkdir()
    named.write_text("one")
    await seen.follow(folder, named, suffixes=(".yaml",))
    for name in ("a.yaml~", ".a.yaml.swp", ".hidden.yaml"):
        (folder / name).write_text("two")
    (folder / "a.yaml").write_text("two")
    named.write_text("two")
    await seen.told(folder / "a.yaml", named)


async def test_several_edits_are_told_together(seen: Seen, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}" for number in range(50)]
    await seen.follow(tmp_path)
    for file in files:
        file.write_text("one")
    await seen.told(*files)


async def test_other_paths_take_the_place_of_those_before(seen: Seen, tmp_path: Path) -> None:
    one, both, two = (tmp_path / name for name in ("one", "both", "two"))
    for file in (one, both, two):
        file.write_text("before")
    await seen.follow(one, both)
    await seen.follow(both, two)
    assert seen.changes == [], "what is new to watch is no change"
    one.write_text("after")
    two.write_text("after")
    await seen.told(two)
    both.write_text("after")
    await seen.told(both)


async def test_a_change_while_paths_are_replaced_is_not_lost(tmp_path: Path) -> None:
    seen = Seen(False, NEVER_S)
    file = tmp_path / "a"
    file.write_text("one")
    await seen.follow(file)
    file.write_text("two")  # nobody looks for an hour
    await seen.follow(file, tmp_path / "b")
    await seen.told(file)
    seen.watch.close()
    await seen.watch.wait_closed()


async def test_nothing_is_told_after_closing_and_no_thread_is_left(tmp_path: Path) -> None:
    seen = Seen(True, 0.02)
    await seen.follow(tmp_path)
    seen.watch.close()
    (tmp_path / "a").write_text("one")
    await seen.watch.wait_closed()
    await asyncio.sleep(0)
    assert seen.changes == []
    assert not [thread for thread in threading.enumerate() if thread.name == "gatewayd-watch"]


async def test_without_events_looking_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from watchfiles import _rust_notify

    def refuse(*_: object) -> object:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(_rust_notify, "RustNotify", refuse)
    seen = Seen(True, 0.02)
    await seen.follow(tmp_path)
    for text in ("one", "two"):
        (tmp_path / "a").write_text(text)
        await seen.told(tmp_path / "a")
    seen.watch.close()
    await seen.watch.wait_closed()
    assert caplog.text.count("by looking alone: OS file watch limit reached") == 1


async def test_an_event_has_nothing_looked_at_but_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        (tmp_path / f"{number}.yaml").write_text("one")
    seen = Seen(True, NEVER_S)
    await seen.follow(tmp_path, suffixes=(".yaml",))
    looked: list[str] = []
    fingerprint = fingerprints._fingerprint

    def counted(path: str, before: Any) -> Any:
        looked.append(path)
        return fingerprint(path, before)

    monkeypatch.setattr(fingerprints, "_fingerprint", counted)
    (tmp_path / "7.yaml").write_text("two")
    await seen.told(tmp_path / "7.yaml")
    (tmp_path / "new").write_text("three")
    os.replace(tmp_path / "new", tmp_path / "8.yaml")
    await seen.told(tmp_path / "8.yaml")
    (tmp_path / "new.yaml").write_text("four")
    await seen.told(tmp_path / "new.yaml")
    (tmp_path / "9.yaml").unlink()
    await seen.told(tmp_path / "9.yaml")
    assert {Path(path).name for path in looked} == {"7.yaml", "8.yaml", "new.yaml", "9.yaml"}
    seen.watch.close()
    await seen.watch.wait_closed()


async def test_with_very_many_events_everything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_MAX_EVENTS", 0)
    seen = Seen(True, NEVER_S)
    await seen.follow(tmp_path)
    for text in ("one", "two"):
        (tmp_path / "a").write_text(text)
        await seen.told(tmp_path / "a")
    seen.watch.close()
    await seen.watch.wait_closed()


async def test_what_no_event_tells_of_is_found_by_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change behind a bind mount, or on another machine."""
    monkeypatch.setattr(Fingerprints, "look_at", lambda *_: set())
    monkeypatch.setattr(watch, "_LOOK_SHARE_WITH_EVENTS", 0)
    file = tmp_path / "a"
    file.write_text("one")
    seen = Seen(True, 0.02)
    await seen.follow(file)
    file.write_text("two")
    await seen.told(file)
    seen.watch.close()
    await seen.watch.wait_closed()


async def test_a_folder_that_is_replaced_by_another_one_is_followed_on(seen: Seen, tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
        (each / "a").write_text(each.name)
    await seen.follow(folder)
    os.rename(folder, tmp_path / "gone")
    os.rename(other, folder)
    await seen.told(folder / "a")
    (folder / "a").write_text("again")
    await seen.told(folder / "a")


async def test_a_failure_of_the_watch_is_logged_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [RuntimeError("odd")]
    look = Fingerprints.look

    def fail_once(prints: Fingerprints) -> set[str]:
        if failures and prints.folders:
            raise failures.pop()
        return look(prints)

    monkeypatch.setattr(Fingerprints, "look", fail_once)
    seen = Seen(False, 0.02)
    await seen.follow(tmp_path)
    (tmp_path / "a").write_text("one")
    await seen.told(tmp_path / "a")
    seen.watch.close()
    await seen.watch.wait_closed()
    assert "begins anew" in caplog.text


async def test_a_change_that_is_undone_is_told_because_it_may_have_been_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    look = Fingerprints.look
    texts = ["two", "one"]

    def look_and_write(prints: Fingerprints) -> set[str]:
        changed = look(prints)
        if texts and prints.digest(str(file)) is not None:
            file.write_text(texts.pop(0))
        return changed

    seen = Seen(False, 0.02)
    monkeypatch.setattr(Fingerprints, "look", look_and_write)
    await seen.follow(file)
    await seen.told(file)
    assert file.read_text() == "one"
    seen.watch.close()
    await seen.watch.wait_closed()


def test_a_file_never_at_rest_is_told_of_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gatewayd.sources import watch as module

    monkeypatch.setattr(module, "_MAX_UNREST_S", 0.0)

    async def main() -> None:
        seen = Seen(False, 0.02)
        await seen.follow(tmp_path)
        for number in range(3):
            (tmp_path / "a").write_text(str(number))
            await seen.told(tmp_path / "a")
        seen.watch.close()
        await seen.watch.wait_closed()

    asyncio.run(main())
