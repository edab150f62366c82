"""What one process has read, another one is given: the same resources and findings, without the disk."""

from __future__ import annotations

from pathlib import Path

from gatewayd.sources import Disk, Handed, Inventory, LoadResult, Recorder, load_mesh_config

TEXT = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n"


class Pair:
    """A reader of a folder, and one that has it second-hand."""

    def __init__(self, folder: Path) -> None:
        self.recorder = Recorder(Disk())
        self.handed = Handed()
        self._first = Inventory([str(folder)], self.recorder)
        self._second = Inventory([str(folder)], self.handed)
        #: names of the files whose contents were handed over last
        self.handed_over: set[str] = set()

    def read(self) -> tuple[LoadResult, LoadResult]:
        """The folder read once, and handed over once."""
        first = self._first.load()
        news = self.recorder.news()
        self.handed_over = {Path(name).name for name in news.contents}
        changed = self.handed.take(news)
        second = self._second.load(changed)
        assert [repr(each) for each in second.resources] == [repr(each) for each in first.resources]
        assert second.findings == first.findings
        assert second.set_aside == first.set_aside
        assert (second.files, second.unreadable_names) == (first.files, first.unreadable_names)
        return first, second


def test_what_was_read_is_handed_over_and_read_without_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT.replace("NAME", "a"))
    (tmp_path / "b.yaml").write_text("a: [\n")
    pair = Pair(tmp_path)
    first, second = pair.read()
    assert [each.name for each in second.resources] == ["a"]
    assert second.resources[0] is not first.resources[0]
    assert pair.handed_over == {"a.yaml", "b.yaml"}


def test_changes_come_and_go(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text(TEXT.replace("NAME", name))
    pair = Pair(tmp_path)
    _, before = pair.read()
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(TEXT.replace("NAME", "other"))
    (tmp_path / "d.yaml").write_text(TEXT.replace("NAME", "d"))
    _, after = pair.read()
    assert {each.name for each in after.resources} == {"other", "c", "d"}
    assert after.declared["Service", "default", "c"] is before.declared["Service", "default", "c"]


def test_the_other_side_may_have_waited_for_several_readings(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT.replace("NAME", "a"))
    recorder, handed = Recorder(Disk()), Handed()
    first = Inventory([str(tmp_path)], recorder)
    changed: frozenset[str] = frozenset()
    for name in ("one", "two"):
        (tmp_path / "a.yaml").write_text(TEXT.replace("NAME", name))
        first.load()
        changed |= handed.take(recorder.news())
    (resource,) = Inventory([str(tmp_path)], handed).load(changed).resources
    assert resource.name == "two"


def test_why_a_file_cannot_be_read_is_handed_over_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nowhere")
    pair = Pair(tmp_path)
    _, second = pair.read()
    assert second.unreadable_names == [str(tmp_path / "a.yaml")]
    (tmp_path / "nowhere").write_text(TEXT.replace("NAME", "a"))
    _, second = pair.read()
    assert [each.name for each in second.resources] == ["a"]


def test_a_text_that_never_came_is_a_problem_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    recorder, handed = Recorder(Disk()), Handed()
    recorder.find([str(tmp_path)])
    handed.take(recorder.news())
    result = Inventory([str(tmp_path)], handed).load()
    assert [finding.message for finding in result.findings] == ["cannot read: its text was not handed over"]


def test_the_mesh_configuration_is_handed_over(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text("rootNamespace: root\n")
    recorder, handed = Recorder(Disk()), Handed()
    load_mesh_config(str(mesh), files=recorder)
    mesh.write_text("rootNamespace: other\n")
    handed.take(recorder.news())
    settings, findings = load_mesh_config(str(mesh), files=handed)
    assert (settings.root_namespace, findings) == ("root", ())
