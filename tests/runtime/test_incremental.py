"""A reload that is told what changed: it reads that alone, and comes to the same as one that reads everything."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from gatewayd.compiler import Compiler
from gatewayd.runtime.configuration import Configuration, ConfigurationReader, first_configuration
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import _not_among
from gatewayd.sources import Disk, Limits
from gatewayd.sources.files import FoundFile
from gatewayd.upstream.registry import Draft, Registry
from tests.compiler.dump import dump_snapshot
from tests.compiler.estate import Estate
from tests.runtime.running import GATEWAY


class Counting(Disk):
    """The disk, and the names of the files that were looked at and read."""

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[str] = []
        self.reads: list[str] = []

    def stamp(self, found: FoundFile) -> object:  # type: ignore[override]  # what it is, is the disk's matter
        self.looked.append(Path(found.name).name)
        return super().stamp(found)

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        self.reads.append(Path(found.name).name)
        return super().read(found, limits)


def routes(name: str, host: str = "", backend: str = "backend.test") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{host or name}.test]
  gateways: [istio-system/edge]
  http:
  - route: [{{destination: {{host: {backend}, port: {{number: 80}}}}}}]
"""


def read(reader: ConfigurationReader, *changed: Path | str) -> Configuration:
    """Read what is told to have changed, and put it in force."""
    names = frozenset(map(str, changed)) if changed else None
    configuration = reader.read(lambda: lambda spec: spec, changed=names)
    reader.put_in_force(configuration)
    return configuration


def served(configuration: Configuration) -> set[str]:
    (table,) = configuration.snapshot.tables().values()
    return set(table.by_name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "edge.yaml").write_text(GATEWAY)
    for number in range(50):
        (tmp_path / f"{number}.yaml").write_text(routes(f"v{number}"))
    return tmp_path


def test_only_what_is_told_to_have_changed_is_looked_at_and_read(folder: Path) -> None:
    disk = Counting()
    reader = ConfigurationReader(RunOptions(paths=(str(folder),)), disk)
    read(reader)
    disk.looked.clear()
    disk.reads.clear()
    (folder / "7.yaml").write_text(routes("v7", "other"))
    (folder / "8.yaml").write_text(routes("v8", "not-told"))
    configuration = read(reader, folder / "7.yaml")
    assert (disk.looked, disk.reads) == (["7.yaml"], ["7.yaml"])
    assert "other.test" in served(configuration)
    assert "v8.test" in served(configuration)
    assert "not-told.test" in served(read(reader))


def test_the_mesh_configuration_is_read_when_it_is_among_what_changed(folder: Path) -> None:
    mesh = folder / "mesh.conf"
    mesh.write_text("connectTimeout: 1s\n")
    disk = Counting()
    reader = ConfigurationReader(RunOptions(paths=(str(folder),), mesh_config=str(mesh)), disk)
    read(reader)
    disk.reads.clear()
    mesh.write_text("connectTimeout: 2s\n")
    read(reader, folder / "7.yaml")
    assert "mesh.conf" not in disk.reads
    configuration = read(reader, mesh)
    assert "mesh.conf" in disk.reads
    spec = configuration.snapshot.clusters["outbound|80||backend.test"]
    assert spec.connect_timeout_s == 2.0


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_changes_comes_to_what_reading_everything_comes_to(tmp_path: Path, seed: int) -> None:
    """Also what stays in its last good version, which depends on what was in force before."""
    rng = random.Random(seed)
    estate = Estate(rng)
    options = RunOptions(paths=(str(tmp_path),), secrets=())
    told, all_of_it = ConfigurationReader(options), ConfigurationReader(options)
    (tmp_path / "first.yaml").write_text(GATEWAY)
    read(told)
    read(all_of_it)
    for _ in range(25):
        changed = []
        for _ in range(rng.choice([1, 1, 2, 6])):
            name, text = estate.draw()
            file = tmp_path / f"{name}.yaml"
            changed.append(file)
            if rng.random() < 0.2:
                file.unlink(missing_ok=True)
            else:
                file.write_text(text)
        one, other = read(told, *changed), read(all_of_it)
        assert dump_snapshot(one.snapshot) == dump_snapshot(other.snapshot)
        assert one.findings == other.findings
        assert one.set_aside == other.set_aside
        assert sorted(map(str, one.kept)) == sorted(map(str, other.kept))
        assert one.compiled.used.keys() == other.compiled.used.keys()


async def test_what_was_refused_may_come_into_force_with_the_next_change(folder: Path) -> None:
    """The clusters of a snapshot that was not put in force are gone with it; the next one has others."""
    registry = Registry(asyncio.get_running_loop())
    reader = ConfigurationReader(RunOptions(paths=(str(folder),)))
    first_configuration(reader, RunOptions(paths=(str(folder),)), registry.adopt)
    known = registry.clusters["outbound|80||backend.test"]

    def compile(*changed: Path) -> tuple[Configuration, Draft]:
        draft = Draft(registry)
        made = reader.read(lambda: draft.adopt, changed=frozenset(map(str, changed)))
        draft.complete(made.snapshot.adopted)
        return made, draft

    (folder / "7.yaml").write_text(routes("v7", backend="other.test"))
    _, draft = compile(folder / "7.yaml")
    lost = draft.clusters["outbound|80||other.test"]
    assert draft.fresh == [lost]
    draft.discard()
    reader.fall_back()
    (folder / "8.yaml").write_text(routes("v8", "more"))
    made, draft = compile(folder / "8.yaml")
    fresh = draft.clusters["outbound|80||other.test"]
    assert fresh is not lost
    assert draft.fresh == [fresh]
    assert draft.clusters["outbound|80||backend.test"] is known
    (table,) = made.snapshot.tables().values()
    assert table.by_name["v7.test"].rules[0].route.destinations[0].cluster is fresh
    registry.commit(draft)
    reader.put_in_force(made)
    assert registry.clusters == draft.clusters
    await registry.close()


def test_after_a_failure_everything_is_read_and_compiled_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ConfigurationReader(RunOptions(paths=(str(folder),)))
    read(reader)
    (folder / "7.yaml").write_text(routes("v7", "other"))

    def fail(*_: object) -> None:
        raise RuntimeError("odd")

    with monkeypatch.context() as patched:
        patched.setattr(Compiler, "compile", fail)
        with pytest.raises(RuntimeError, match="odd"):
            read(reader, folder / "7.yaml")
    assert "other.test" in served(read(reader, folder / "8.yaml"))


def test_what_is_big_and_only_in_the_older_one_is_let_go_in_pieces(folder: Path) -> None:
    reader = ConfigurationReader(RunOptions(paths=(str(folder),)))
    before = read(reader)
    (folder / "7.yaml").write_text(routes("v7", backend="other.test"))
    (folder / "8.yaml").unlink()
    after = read(reader, folder / "7.yaml", folder / "8.yaml")
    (table,) = before.snapshot.tables().values()
    keys = [("VirtualService", "shop", name) for name in ("v7", "v8")]
    pieces = [
        *(before.compiled.used[key] for key in keys),
        *(table.by_name[f"{key[2]}.test"] for key in keys),
    ]
    assert set(map(id, before.not_in(after))) == set(map(id, pieces))
    assert before.not_in(before) == []


def test_findings_that_were_there_before_are_not_told_again(folder: Path) -> None:
    reader = ConfigurationReader(RunOptions(paths=(str(folder),), labels={}))
    (folder / "7.yaml").write_text(routes("v7").replace("hosts:", "hostz:"))
    before = read(reader)
    (folder / "7.yaml").write_text("# moved\n" + routes("v7").replace("hosts:", "hostz:"))
    (folder / "8.yaml").write_text(routes("v8").replace("route:", "rout:"))
    after = read(reader, folder / "7.yaml", folder / "8.yaml")
    fresh = _not_among(after.findings, before.findings)
    assert {(Path(finding.file).name, finding.level) for finding in fresh} == {
        ("7.yaml", "error"),
        ("8.yaml", "error"),
    }
    assert _not_among(after.findings, after.findings) == ()
    equal = read(ConfigurationReader(RunOptions(paths=(str(folder),), labels={}))).findings
    assert not any(finding.level == "error" for finding in _not_among(equal, after.findings))
