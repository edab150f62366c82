"""What the control groups allow: the tightest of our own and all above it, in both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewayd.runtime.cgroup import Memory, processors

MIB = 1 << 20
NONE_V1 = 9223372036854771712


class Groups:
    """A file system of control groups, and which one is ours."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.own = folder / "self"

    def group(self, path: str, **files: object) -> None:
        folder = self.root / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (folder / name.replace("__", ".")).write_text(f"{value}\n")

    def memory(self, own: str) -> Memory:
        self.own.write_text(own)
        return Memory(self.root, self.own)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_the_tightest_limit_counts(groups: Groups) -> None:
    groups.group("", memory__max="max")
    groups.group("a", memory__max=300 * MIB, memory__current=200 * MIB, memory__stat="inactive_file 0")
    groups.group("a/b", memory__max=500 * MIB, memory__current=10 * MIB, memory__stat="inactive_file 0")
    memory = groups.memory("0::/a/b\n")
    assert (memory.limit_bytes, memory.used_bytes()) == (300 * MIB, 200 * MIB)


def test_cached_files_are_not_in_use(groups: Groups) -> None:
    """The kernel takes them back before it kills anybody."""
    stat = f"anon {60 * MIB}\nfile {50 * MIB}\nshmem {5 * MIB}\nactive_file {5 * MIB}\ninactive_file {40 * MIB}\n"
    groups.group("", memory__max=128 * MIB, memory__current=105 * MIB, memory__stat=stat)
    memory = groups.memory("0::/\n")
    assert memory.used_bytes() == 60 * MIB


def test_version_1_says_no_limit_with_a_number(groups: Groups) -> None:
    groups.group("memory", memory__limit_in_bytes=NONE_V1)
    own = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/\n"
    assert groups.memory(own).limit_bytes == 0
    groups.group(
        "memory",
        memory__limit_in_bytes=256 * MIB,
        memory__usage_in_bytes=200 * MIB,
        memory__stat=f"inactive_file {1 * MIB}\ntotal_inactive_file {50 * MIB}\ntotal_active_file 0\n",
    )
    memory = groups.memory(own)
    assert (memory.limit_bytes, memory.used_bytes()) == (256 * MIB, 150 * MIB)


def test_a_container_that_sees_its_group_as_the_root(groups: Groups) -> None:
    groups.group("", memory__max=64 * MIB, memory__current=1 * MIB, memory__stat="")
    assert groups.memory("0::/kubepods/pod1/x\n").limit_bytes == 64 * MIB


@pytest.mark.parametrize("own", ["", "nonsense\n", "0::/a\n"])
def test_where_nothing_is_said_there_is_no_limit(groups: Groups, own: str) -> None:
    memory = groups.memory(own)
    assert (memory.limit_bytes, memory.used_bytes()) == (0, 0)


class TestProcessors:
    """What ``--workers auto`` comes to."""

    def test_without_a_quota_all_that_affinity_leaves(self, tmp_path: Path) -> None:
        own = tmp_path / "own"
        own.write_text("0::/\n")
        assert processors(tmp_path, own) == len(os.sched_getaffinity(0))

    @pytest.mark.parametrize(
        ("quota", "number"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", 0)]
    )
    def test_a_quota_of_the_group_or_of_one_above_it_limits_them(
        self, tmp_path: Path, quota: str, number: int
    ) -> None:
        own = tmp_path / "own"
        own.write_text("0::/pod/container\n")
        (tmp_path / "pod" / "container").mkdir(parents=True)
        (tmp_path / "pod" / "cpu.max").write_text(quota)
        assert processors(tmp_path, own) == (number or len(os.sched_getaffinity(0)))

    def test_version_1_says_it_in_two_files(self, tmp_path: Path) -> None:
        own = tmp_path / "own"
        own.write_text("4:cpu,cpuacct:/box\n")
        folder = tmp_path / "cpu" / "box"
        folder.mkdir(parents=True)
        (folder / "cpu.cfs_quota_us").write_text("20000")
        (folder / "cpu.cfs_period_us").write_text("100000")
        assert processors(tmp_path, own) == 1
