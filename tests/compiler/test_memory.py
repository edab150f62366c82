"""A compilation that remembers the one before says and serves the same as one that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayd.compiler import CompileMemory, CompileOptions, compile_snapshot
from gatewayd.snapshot import Snapshot
from gatewayd.sources import Disk, Inventory, load

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
"""


def service(name: str, address: str = "10.0.0.1") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{name}.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: {address}}}]
"""


def routes(name: str, backend: str, prefix: str = "/") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{name}.test]
  gateways: [istio-system/edge]
  http:
  - match: [{{uri: {{prefix: {prefix}}}}}]
    route: [{{destination: {{host: {backend}.test, port: {{number: 80}}}}}}]
"""


class Compiler:
    """Compiles a folder again and again, and each time from nothing as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = CompileOptions(unknown_hosts="reject")
        self._inventory = Inventory([str(folder)], Disk())
        self._memory = CompileMemory()
        self._clusters: dict[str, Any] = {}

    def _adopt(self, spec: Any) -> Any:
        if self._clusters.get(spec.name) != spec:
            self._clusters[spec.name] = spec
        return self._clusters[spec.name]

    def __call__(self) -> Snapshot:
        resources = self._inventory.load().resources
        made = compile_snapshot(resources, self.options, self._adopt, memory=self._memory)
        anew = compile_snapshot(load([str(self.folder)]).resources, self.options, self._adopt)
        assert made.findings == anew.findings
        assert made.set_aside == anew.set_aside
        assert made.clusters == anew.clusters
        assert made.adopted.keys() == anew.adopted.keys()
        assert served(made) == served(anew)
        return made


def hosts(snapshot: Snapshot) -> dict[str, Any]:
    (listener,) = snapshot.listeners
    table = listener.chains[0].routes
    assert table is not None
    return {host.name: host for host in table.virtual_hosts}


def served(snapshot: Snapshot) -> dict[str, list[tuple[str, Any]]]:
    """By host: each rule's cluster by name, and the object that stands for it."""
    return {
        name: [(to.cluster_name, to.cluster) for rule in host.rules for to in rule.route.destinations]
        for name, host in hosts(snapshot).items()
    }


@pytest.fixture
def compiled(tmp_path: Path) -> Compiler:
    texts = {
        "gateway": GATEWAY,
        "a": routes("a", "x"),
        "b": routes("b", "y"),
        "x": service("x"),
        "y": service("y"),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return Compiler(tmp_path)


def test_what_did_not_change_is_the_same_object(compiled: Compiler) -> None:
    before, after = hosts(compiled()), hosts(compiled())
    assert before["a.test"] is after["a.test"]
    (compiled.folder / "a.yaml").write_text(routes("a", "x", "/new"))
    last = hosts(compiled())
    assert last["a.test"] is not after["a.test"]
    assert last["b.test"] is after["b.test"]


def test_a_cluster_that_changed_makes_new_routes_of_whoever_names_it(compiled: Compiler) -> None:
    before = hosts(compiled())
    (compiled.folder / "x.yaml").write_text(service("x", "10.0.0.2"))
    snapshot = compiled()
    assert hosts(snapshot)["b.test"] is before["b.test"]
    ((_, cluster),) = served(snapshot)["a.test"]
    assert cluster.endpoints[0].address == "10.0.0.2"


@pytest.mark.parametrize(
    "edit",
    [
        lambda folder: (folder / "x.yaml").unlink(),
        lambda folder: (folder / "b.yaml").unlink(),
        lambda folder: (folder / "b.yaml").write_text(routes("b", "nowhere")),
        lambda folder: (folder / "c.yaml").write_text(routes("a", "y").replace("name: a,", "name: c,")),
        lambda folder: (folder / "gateway.yaml").write_text(GATEWAY.replace('["*"]', "[a.test]")),
        lambda folder: (folder / "gateway.yaml").write_text(GATEWAY + "    tls: {httpsRedirect: true}\n"),
    ],
    ids=["service gone", "routes gone", "to nowhere", "shared host", "other hosts", "https redirect"],
)
def test_findings_and_routes_are_those_of_a_compilation_from_nothing(
    compiled: Compiler, edit: Callable[[Path], None]
) -> None:
    compiled()
    edit(compiled.folder)
    compiled()
    compiled()


def test_other_options_make_all_anew(compiled: Compiler) -> None:
    before = hosts(compiled())
    compiled.options = CompileOptions(unknown_hosts="reject", cluster_domain="other.local")
    assert hosts(compiled())["a.test"] is not before["a.test"]


def test_delegates_are_followed(compiled: Compiler) -> None:
    root = routes("a", "x").replace(
        "route: [{destination: {host: x.test, port: {number: 80}}}]", "delegate: {name: part}"
    )
    part = routes("part", "x").replace("  hosts: [part.test]\n  gateways: [istio-system/edge]\n", "")
    (compiled.folder / "a.yaml").write_text(root)
    (compiled.folder / "part.yaml").write_text(part)
    assert [name for name, _ in served(compiled())["a.test"]] == ["outbound|80||x.test"]
    (compiled.folder / "part.yaml").write_text(part.replace("x.test", "y.test"))
    assert [name for name, _ in served(compiled())["a.test"]] == ["outbound|80||y.test"]
