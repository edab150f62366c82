"""Loading again: files that did not change give the same resources, whatever else does."""

from __future__ import annotations

import io
import os
from pathlib import Path

from gatewayd.sources import FileMemory, load

TEXT = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n"
LONG_AGO_S = 1_000_000_000


def write(file: Path, name: str, *, old: bool = True) -> None:
    file.write_text(TEXT.replace("NAME", name))
    if old:
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))


def test_an_untouched_file_gives_the_same_objects(tmp_path: Path) -> None:
    memory = FileMemory()
    write(tmp_path / "a.yaml", "a")
    write(tmp_path / "b.yaml", "b")
    first = load([str(tmp_path)], memory=memory).resources
    write(tmp_path / "b.yaml", "c")
    second = load([str(tmp_path)], memory=memory).resources
    assert second[0] is first[0]
    assert [resource.name for resource in second] == ["a", "c"]


def test_the_same_bytes_in_a_touched_file_give_the_same_objects(tmp_path: Path) -> None:
    memory = FileMemory()
    write(tmp_path / "a.yaml", "a")
    (first,) = load([str(tmp_path)], memory=memory).resources
    os.replace(_copy(tmp_path / "a.yaml"), tmp_path / "a.yaml")
    (second,) = load([str(tmp_path)], memory=memory).resources
    assert first is second


def _copy(file: Path) -> Path:
    copy = file.with_suffix(".new")
    copy.write_bytes(file.read_bytes())
    return copy


def test_a_change_that_moves_no_time_is_seen_while_the_file_is_young(tmp_path: Path) -> None:
    memory = FileMemory()
    write(tmp_path / "a.yaml", "one", old=False)
    times = (tmp_path / "a.yaml").stat()
    load([str(tmp_path)], memory=memory)
    write(tmp_path / "a.yaml", "two", old=False)
    os.utime(tmp_path / "a.yaml", ns=(times.st_atime_ns, times.st_mtime_ns))
    (resource,) = load([str(tmp_path)], memory=memory).resources
    assert resource.name == "two"


def test_findings_are_remembered_with_their_file(tmp_path: Path) -> None:
    memory = FileMemory()
    (tmp_path / "a.yaml").write_text("a: [\n")
    write(tmp_path / "b.yaml", "b")
    write(tmp_path / "c.yaml", "b")
    first = load([str(tmp_path)], memory=memory)
    second = load([str(tmp_path)], memory=memory)
    assert [finding.code for finding in first.findings] == ["GWD0003", "GWD0013"]
    assert first.findings == second.findings
    assert first.set_aside == second.set_aside
    assert second.unreadable_names == [str(tmp_path / "a.yaml")]


def test_a_deleted_file_is_forgotten(tmp_path: Path) -> None:
    memory = FileMemory()
    write(tmp_path / "a.yaml", "a")
    write(tmp_path / "b.yaml", "b")
    load([str(tmp_path)], memory=memory)
    (tmp_path / "b.yaml").unlink()
    assert [resource.name for resource in load([str(tmp_path)], memory=memory).resources] == ["a"]
    assert len(memory) == 1


def test_standard_input_is_read_once() -> None:
    memory = FileMemory()
    (first,) = load(["-"], io.BytesIO(TEXT.encode()), memory=memory).resources
    (second,) = load(["-"], io.BytesIO(b""), memory=memory).resources
    assert first is second


def test_what_cannot_be_read_is_not_remembered(tmp_path: Path) -> None:
    memory = FileMemory()
    file = tmp_path / "a.yaml"
    assert load([str(file)], memory=memory).unreadable_names == [str(file)]
    write(file, "a")
    assert [resource.name for resource in load([str(file)], memory=memory).resources] == ["a"]
