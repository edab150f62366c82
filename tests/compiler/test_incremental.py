"""Compiling what changed says and serves what compiling all does, and costs what changed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gatewayd.compiler import CompileOptions, Compiler, compile_snapshot
from gatewayd.snapshot import Snapshot
from gatewayd.sources import Disk, Inventory
from gatewayd.upstream.spec import ClusterSpec
from tests.compiler.dump import dump_snapshot
from tests.compiler.estate import Estate

FILES = ("a", "b", "c", "d")


class Folder:
    """A few files of many documents, compiled again after each change, and each time from nothing as well."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.options = CompileOptions(**options)
        self.documents: dict[str, dict[str, str]] = {name: {} for name in FILES}
        self.inventory = Inventory([str(path)], Disk())
        self.compiler = Compiler(self.options)
        self.clusters: dict[str, ClusterSpec] = {}

    def put(self, name: str, text: str | None, file: str = "a") -> None:
        """A document is this from now on, or gone."""
        if text is None:
            self.documents[file].pop(name, None)
        else:
            self.documents[file][name] = text

    def adopt(self, spec: ClusterSpec) -> ClusterSpec:
        """As a registry does: what is equal is the same object."""
        if self.clusters.get(spec.name) != spec:
            self.clusters[spec.name] = spec
        return self.clusters[spec.name]

    def compile(self) -> Snapshot:
        for file, documents in self.documents.items():
            (self.path / f"{file}.yaml").write_text("---\n".join(documents.values()))
        resources = self.inventory.load().declared
        made = self.compiler.compile(resources, self.adopt)
        fresh = compile_snapshot(resources.values(), self.options, lambda spec: spec)
        self.check(made, fresh)
        return made

    def check(self, made: Snapshot, fresh: Snapshot) -> None:
        one, other = dump_snapshot(made), dump_snapshot(fresh)
        for part, value in one.items():
            assert value == other[part], part
        for name, cluster in made.adopted.items():
            assert self.clusters[name] is cluster
        for listener in made.listeners:
            for chain in listener.chains:
                for host in chain.routes.virtual_hosts if chain.routes is not None else ():
                    assert chain.routes is not None
                    for domain in host.domains:
                        found = chain.routes.find_virtual_host(domain.replace("*", "x").encode())
                        assert found is not None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options", [{}, {"unknown_hosts": "reject", "labels": {"app": "x"}}], ids=["open", "strict"]
)
def test_any_sequence_of_changes_comes_to_what_a_compilation_from_nothing_makes(
    tmp_path: Path, seed: int, options: dict[str, Any]
) -> None:
    rng = random.Random(seed)
    estate, folder = Estate(rng), Folder(tmp_path, **options)
    for _ in range(40):
        for _ in range(rng.choice([1, 1, 1, 2, 5, 10])):
            name, text = estate.draw()
            folder.put(name, None if rng.random() < 0.2 else text, FILES[hash_of(name)])
        folder.compile()


def hash_of(name: str) -> int:
    """Each document has its file."""
    return sum(name.encode()) % len(FILES)
