"""Which files are read, and what is said of those that cannot be."""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

from gatewayd.sources.files import FoundFile, Unreadable, read_bytes
from gatewayd.sources.limits import Limits
from gatewayd.sources.origin import Disk

LIMITS = Limits()


def find(paths: list[str]) -> Sequence[FoundFile]:
    return Disk().find(paths)


def names(*paths: str | Path) -> list[str]:
    return [found.name for found in find([str(path) for path in paths])]


def test_a_folder_gives_its_files_sorted_and_recursive(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "readme.md", "sub/d.yaml", "sub/deeper/e.yaml", ".hidden.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [name.removeprefix(f"{tmp_path}/") for name in names(tmp_path)]
    assert found == ["a.yml", "b.yaml", "c.json", "sub/d.yaml", "sub/deeper/e.yaml"]


def test_a_kubernetes_mount_is_read_once_through_its_links(tmp_path: Path) -> None:
    real = tmp_path / "..2024_05_01"
    real.mkdir()
    (real / "gw.yaml").write_text("")
    (tmp_path / "..data").symlink_to(real.name)
    (tmp_path / "gw.yaml").symlink_to("..data/gw.yaml")
    assert names(tmp_path) == [f"{tmp_path}/gw.yaml"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("")
    assert names(file, tmp_path, file) == [str(file)]


def test_a_named_file_needs_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    assert names(tmp_path / "config", "-") == [str(tmp_path / "config"), "<stdin>"]


def test_what_does_not_exist_is_a_problem_not_an_exception(tmp_path: Path) -> None:
    (found,) = find([str(tmp_path / "nope")])
    assert found.problem == "no such file or directory"
    (found,) = find(["nul\0byte"])
    assert found.problem
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (found,) = find([str(tmp_path)])
    assert found.problem == "no such file or directory"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    found = list(find([str(tmp_path)]))
    assert [(Path(file.name).name, file.problem) for file in found] == [
        ("a.yaml", ""),
        ("self.yaml", "too many links"),
    ]


def test_the_size_limit_is_exact(tmp_path: Path) -> None:
    limits = Limits(max_file_bytes=10)
    file = tmp_path / "a.yaml"
    file.write_bytes(b"x" * 10)
    assert read_bytes(FoundFile("a", file), None, limits) == b"x" * 10
    file.write_bytes(b"x" * 11)
    with pytest.raises(Unreadable, match="larger than 10 bytes") as caught:
        read_bytes(FoundFile("a", file), None, limits)
    assert caught.value.code == "GWD0006"
    with pytest.raises(Unreadable, match="larger than 10 bytes"):
        read_bytes(FoundFile("-", None), BytesIO(b"x" * 11), limits)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(Unreadable, match="not a regular file"):
        read_bytes(FoundFile("pipe", tmp_path / "pipe.yaml"), None, LIMITS)


def test_no_stdin_is_said() -> None:
    with pytest.raises(Unreadable, match="no standard input"):
        read_bytes(FoundFile("-", None), None, LIMITS)


def test_a_folder_named_like_a_file_is_walked(tmp_path: Path) -> None:
    (tmp_path / "dir.yaml").mkdir()
    (tmp_path / "dir.yaml" / "a.yaml").write_text("")
    assert names(tmp_path) == [f"{tmp_path}/dir.yaml/a.yaml"]
