"""Loading again: what did not change gives the same resources, and costs nothing."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest

from gatewayd.sources import Disk, Inventory, Limits, LoadResult, load

TEXT = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n"
LONG_AGO_S = 1_000_000_000


def document(name: str) -> str:
    return TEXT.replace("NAME", name)


def write(file: Path, *names: str, old: bool = True) -> str:
    """A file with a Service for each of ``names``; its name."""
    file.write_text("---\n".join(map(document, names)))
    if old:
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    return str(file)


def inventory(*paths: Path) -> Inventory:
    return Inventory([str(path) for path in paths], Disk())


def names(result: LoadResult) -> list[str]:
    return sorted(resource.name for resource in result.resources)


# --- files


def test_an_untouched_file_gives_the_same_objects(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    write(tmp_path / "b.yaml", "b")
    known = inventory(tmp_path)
    first = known.load()
    write(tmp_path / "b.yaml", "c")
    second = known.load()
    assert second.declared["Service", "default", "a"] is first.declared["Service", "default", "a"]
    assert names(second) == ["a", "c"]
    assert names(first) == ["a", "b"], "what was given stays as it is"


def test_the_same_bytes_in_a_touched_file_are_not_parsed_again(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    known = inventory(tmp_path)
    (first,) = known.load().resources
    write(tmp_path / "a.new", "a")
    os.replace(tmp_path / "a.new", tmp_path / "a.yaml")
    result = known.load()
    assert result.resources[0] is first
    assert (result.read, result.parsed) == (1, 0)


def test_a_change_that_moves_no_time_is_seen_while_the_file_is_young(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "one", old=False)
    times = (tmp_path / "a.yaml").stat()
    known = inventory(tmp_path)
    known.load()
    write(tmp_path / "a.yaml", "two", old=False)
    os.utime(tmp_path / "a.yaml", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert names(known.load()) == ["two"]


def test_a_deleted_file_is_forgotten(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    write(tmp_path / "b.yaml", "b")
    known = inventory(tmp_path)
    known.load()
    (tmp_path / "b.yaml").unlink()
    assert names(known.load()) == ["a"]
    assert len(known) == 1


def test_standard_input_is_read_once() -> None:
    known = Inventory(["-"], Disk(io.BytesIO(document("a").encode())))
    (first,) = known.load().resources
    (second,) = known.load().resources
    assert first is second


def test_what_cannot_be_read_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    known = inventory(file)
    assert known.load().unreadable_names == [str(file)]
    write(file, "a")
    result = known.load()
    assert (names(result), result.unreadable_names) == (["a"], [])


def test_findings_are_remembered_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    write(tmp_path / "b.yaml", "b")
    write(tmp_path / "c.yaml", "b")
    known = inventory(tmp_path)
    first = known.load()
    second = known.load([])
    assert [finding.code for finding in first.findings] == ["GWD0003", "GWD0013"]
    assert first.findings == second.findings
    assert first.set_aside == second.set_aside
    assert second.unreadable_names == [str(tmp_path / "a.yaml")]


# --- who knows what changed


@pytest.fixture
def many(tmp_path: Path) -> Inventory:
    """A hundred files, loaded."""
    for number in range(100):
        write(tmp_path / f"{number:03}.yaml", f"s{number}", old=False)
    known = inventory(tmp_path)
    assert known.load().read == 100
    return known


def test_of_many_files_only_the_changed_one_is_looked_at(many: Inventory, tmp_path: Path) -> None:
    result = many.load([write(tmp_path / "007.yaml", "other")])
    assert (result.looked_at, result.read, result.parsed, result.files) == (1, 1, 1, 100)
    assert "other" in names(result)
    assert "s7" not in names(result)


def test_files_that_come_and_go_cost_no_look_at_the_others(many: Inventory, tmp_path: Path) -> None:
    result = many.load([write(tmp_path / "new.yaml", "new")])
    assert (result.looked_at, result.read, result.files) == (1, 1, 101)
    (tmp_path / "new.yaml").rename(tmp_path / "other.yaml")
    result = many.load([str(tmp_path / "new.yaml"), str(tmp_path / "other.yaml")])
    assert (result.looked_at, result.read, result.files) == (1, 1, 101)
    (tmp_path / "other.yaml").unlink()
    result = many.load([str(tmp_path / "other.yaml")])
    assert (result.looked_at, result.read, result.files) == (0, 0, 100)
    assert "new" not in names(result)


def test_a_file_put_in_the_place_of_another_costs_one_look(many: Inventory, tmp_path: Path) -> None:
    write(tmp_path / "new", "other")
    os.replace(tmp_path / "new", tmp_path / "007.yaml")
    result = many.load([str(tmp_path / "007.yaml")])
    assert (result.looked_at, result.read, result.files) == (1, 1, 100)
    assert "other" in names(result)


def test_a_name_that_becomes_another_file_s_is_not_read_twice(many: Inventory, tmp_path: Path) -> None:
    file = tmp_path / "007.yaml"
    file.unlink()
    file.symlink_to("008.yaml")
    result = many.load([str(file)])
    assert result.findings == []
    assert result.files == 99
    assert names(result) == sorted(f"s{number}" for number in range(100) if number != 7)
    file.unlink()
    write(file, "again")
    result = many.load([str(file)])
    assert result.files == 100
    assert "again" in names(result)


def test_an_inode_that_is_used_again_hides_no_file(many: Inventory, tmp_path: Path) -> None:
    # Nobody told that 007 is another file now, and 008 is one that looks like the 007 that was known.
    (tmp_path / "007.yaml").rename(tmp_path / "kept")
    write(tmp_path / "007.yaml", "s7")
    os.replace(tmp_path / "kept", tmp_path / "008.yaml")
    result = many.load([write(tmp_path / "008.yaml", "eight")])
    assert result.files == 100
    assert {"s7", "eight"} <= set(names(result))


def test_names_that_are_no_files_of_the_paths_change_nothing(many: Inventory, tmp_path: Path) -> None:
    before = many.load([])
    result = many.load([str(tmp_path / "nothing.yaml"), "/elsewhere"])
    assert result.declared == before.declared
    assert result.looked_at == 0


# --- documents


def test_of_many_documents_only_the_changed_one_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    write(file, *(f"s{number}" for number in range(100)))
    known = inventory(tmp_path)
    first = known.load()
    assert first.parsed == 100
    write(file, *(f"s{number}" if number != 7 else "other" for number in range(100)))
    second = known.load([str(file)])
    assert second.parsed == 1
    same = [key for key, resource in second.declared.items() if first.declared.get(key) is resource]
    assert len(same) == 99


def test_documents_that_move_are_the_same_and_know_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    broken = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: x}]}\n"
    texts = [document("a"), broken, document("c")]
    file.write_text("---\n".join(["", *texts]))
    known = inventory(tmp_path)
    first = known.load()
    last = first.declared["Service", "default", "c"]
    assert (last.line, first.findings[0].line, first.set_aside[0].line) == (12, 10, 7)
    file.write_text("---\n".join(["# one line\n# and another\n", *texts]))
    second = known.load()
    assert second.parsed == 0
    assert second.declared["Service", "default", "c"] is last
    assert (last.line, second.findings[0].line, second.set_aside[0].line) == (14, 12, 9)
    assert str(last.rule_position("ports", 0)) == f"{file}:17"
    assert last.position("spec.ports[0].port") == (str(file), 17, 23)
    assert second.findings == load([str(file)]).findings


def test_a_document_with_other_remarks_is_the_resource_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(document("a"))
    known = inventory(tmp_path)
    (first,) = known.load().resources
    file.write_text(document("a") + "# a remark\n")
    result = known.load()
    assert result.parsed == 1
    assert result.resources[0] is first
    file.write_text("# before it\n" + document("a"))
    assert known.load().resources[0] is not first, "its rules are on other lines of the document"


def test_a_document_and_its_copy_are_two(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, "a", "b")
    known = inventory(tmp_path)
    known.load()
    file.write_text("---\n".join([document("a"), document("b"), document("a") + "# again\n"]))
    result = known.load()
    assert [finding.code for finding in result.findings] == ["GWD0013"]
    write(file, "a", "a", "b")
    assert [finding.line for finding in known.load().findings] == [8]
    write(file, "a", "b")
    result = known.load()
    assert (names(result), result.findings) == (["a", "b"], [])


def test_too_many_documents_end_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, *"abcde")
    known = Inventory([str(file)], Disk(), Limits(max_documents=3))
    for _ in range(2):
        result = known.load()
        assert names(result) == ["a", "b", "c"]
        ((code, line),) = [(finding.code, finding.line) for finding in result.findings]
        assert (code, line) == ("GWD0006", 16)
        assert result.unreadable_names == [str(file)]
        file.write_text(file.read_text() + "# more\n")


def test_a_text_that_cannot_be_cut_is_read_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"%YAML 1.2\n---\n{document('a')}...\n---\n{document('b')}")
    known = inventory(tmp_path)
    first = known.load()
    assert [(each.name, each.line) for each in first.resources] == [("a", 3), ("b", 9)]
    file.write_text(f"%YAML 1.2\n---\n{document('a')}...\n---\n{document('c')}")
    second = known.load()
    assert names(second) == ["a", "c"]
    assert second.declared["Service", "default", "a"] is first.declared["Service", "default", "a"]


# --- one name twice


def test_the_first_of_two_counts_whichever_came_later(tmp_path: Path) -> None:
    second = write(tmp_path / "b.yaml", "a")
    known = inventory(tmp_path)
    known.load()
    first = write(tmp_path / "a.yaml", "a")
    result = known.load([first])
    assert [resource.file for resource in result.resources] == [first]
    assert [(finding.file, finding.code) for finding in result.findings] == [(second, "GWD0013")]
    (tmp_path / "a.yaml").unlink()
    result = known.load([first])
    assert [resource.file for resource in result.resources] == [second]
    assert (result.findings, result.set_aside) == ([], [])


def test_of_three_the_first_that_is_left_counts(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.yaml", "a") for name in "abc"]
    known = inventory(tmp_path)
    known.load()
    result = known.load([write(tmp_path / "a.yaml", "other")])
    assert result.declared["Service", "default", "a"].file == files[1]
    assert [aside.file for aside in result.set_aside] == [files[2]]


# --- all together


PIECES = [
    *(document(name) for name in "abcd"),
    document("a").replace("80", "81"),
    document("b") + "# remark\n",
    "kind: [\n",
    "apiVersion: v1\nkind: Service\nmetadata: {name: c}\nspec: {ports: [{port: x}]}\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
    "kind: Service\nkind: Service\n",
    "# nothing\n",
    "",
    "a: |\n  x\n...\n",
    "%FOO\n",
    document("a").replace("\n", "\r\n"),
    document("d").replace("NAME", "d") + "---x\n",
    "# \r # \n",
    document("é"),
]


@pytest.mark.parametrize("seed", range(8))
def test_any_sequence_of_changes_comes_to_what_a_first_load_finds(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    known = inventory(tmp_path)
    for _ in range(25):
        touched = []
        for _ in range(rng.randint(1, 3)):
            file = tmp_path / f"{rng.choice('xyz')}.yaml"
            touched.append(str(file))
            if rng.random() < 0.15:
                file.unlink(missing_ok=True)
            else:
                text = "---\n".join(rng.choices(PIECES, k=rng.randint(0, 5)))
                file.write_bytes(text.encode())
        result = known.load(touched if rng.random() < 0.8 else None)
        anew = load([str(tmp_path)])
        assert {key: str(each) for key, each in result.declared.items()} == {
            key: str(each) for key, each in anew.declared.items()
        }
        assert all(each.says_the_same(anew.declared[key]) for key, each in result.declared.items())
        assert result.findings == anew.findings
        assert result.set_aside == anew.set_aside
        assert (result.files, result.unreadable_names) == (anew.files, anew.unreadable_names)
