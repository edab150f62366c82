"""Which resources stay in their last good version, and why (hardening 9.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.runtime.last_good import Kept, keep_last_good, key_of
from gatewayd.sources import load

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n"
WRONG = SERVICE.replace("port: 80", "port: many")


def named(name: str, text: str = SERVICE) -> str:
    return text.replace("NAME", name)


class Folder:
    """Loaded once when it was good; ``kept()`` loads again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("a.yaml", named("a") + "---\n" + named("b"))
        self.write("c.yaml", named("c"))
        self._good = {key_of(each): each for each in load([str(folder)]).resources}

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def kept(self, *paths: str) -> list[Kept]:
        return keep_last_good(self._good, load(paths or [str(self.folder)]))

    def names(self) -> list[str]:
        return [each.resource.name for each in self.kept()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_nothing_is_kept_of_what_is_good_or_deleted(folder: Folder) -> None:
    folder.write("a.yaml", named("b"))
    (folder.folder / "c.yaml").unlink()
    assert folder.names() == []


def test_a_resource_with_an_error_is_kept_alone(folder: Folder) -> None:
    folder.write("a.yaml", named("a", WRONG) + "---\n" + named("b"))
    (kept,) = folder.kept()
    assert kept.resource.name == "a"
    assert kept.reason is not None
    assert (kept.reason.line, kept.reason.column) == (4, 23)
    assert str(kept).startswith(
        f"Service default/a stays as it was, because of {folder.folder}/a.yaml:4:23: "
    )


def test_one_that_never_was_good_is_not_kept(folder: Folder) -> None:
    folder.write("d.yaml", named("d", WRONG))
    assert folder.names() == []


@pytest.mark.parametrize("text", ["a: [\n", named("a") + "---\nb: [\n", "kind: Service\nkind: Service\n"])
def test_all_of_a_file_that_cannot_be_parsed_stays(folder: Folder, text: str) -> None:
    folder.write("a.yaml", text)
    assert folder.names() == [name for name in ("a", "b") if f"name: {name}}}" not in text]


def test_all_of_a_file_that_has_become_empty_stays_and_goes_with_the_file(folder: Folder) -> None:
    """Hardening 9.3."""
    folder.write("a.yaml", "")
    assert folder.names() == ["a", "b"]
    assert all("the file is empty now" in str(kept) for kept in folder.kept())
    folder.write("c.yaml", named("c") + "---\n" + named("a"))
    assert folder.names() == ["b"]
    (folder.folder / "a.yaml").unlink()
    assert folder.names() == []


def test_a_file_that_is_not_text_or_cannot_be_read_keeps_its_resources(folder: Folder) -> None:
    (folder.folder / "a.yaml").write_bytes(b"\xff")
    assert folder.names() == ["a", "b"]
    assert [
        each.resource.name for each in folder.kept(str(folder.folder / "gone"), str(folder.folder / "c.yaml"))
    ] == []
    (folder.folder / "c.yaml").unlink()
    named_itself = folder.kept(str(folder.folder / "c.yaml"))
    assert [each.resource.name for each in named_itself] == ["c"]


def test_a_folder_that_cannot_be_read_keeps_all_below_it(folder: Folder, tmp_path: Path) -> None:
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    assert folder.names() == ["a", "b", "c"]
    moved.rename(tmp_path)


def test_a_resource_that_moved_to_another_file_is_not_kept(folder: Folder) -> None:
    folder.write("a.yaml", "a: [\n")
    folder.write("c.yaml", named("a") + "---\n" + named("c"))
    assert folder.names() == ["b"]
