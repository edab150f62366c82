"""Compiling what changed says and serves what compiling all does, and costs what changed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gatewayd.compiler import CompileOptions, Compiler, compile_snapshot
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.routing.table import VirtualHost
from gatewayd.snapshot import Snapshot
from gatewayd.sources import Disk, Inventory
from gatewayd.upstream.spec import ClusterSpec
from tests.compiler.dump import dump_snapshot
from tests.compiler.estate import Estate
from tests.compiler.support import EDGE, entry, gateway, routes_of, server, to, virtual_service

FILES = ("a", "b", "c", "d")
#: Telemetry documents may ask this provider to trace.
OTEL = {"service": "shop/service-1.shop.svc.cluster.local", "port": 80}
MESH = msgspec.convert({"extensionProviders": [{"name": "otel", "opentelemetry": OTEL}]}, MeshConfig)


class Cluster:
    """What stands for a cluster at run time."""

    __slots__ = ("spec",)

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec


class Folder:
    """A few files of many documents, compiled again after each change, and each time from nothing as well."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.options = CompileOptions(**options)
        self.documents: dict[str, dict[str, str]] = {name: {} for name in FILES}
        self.inventory = Inventory([str(path)], Disk())
        self.compiler = Compiler(self.options)
        self.clusters: dict[str, Cluster] = {}

    def put(self, name: str, text: str | None, file: str = "a") -> None:
        """A document is this from now on, or gone."""
        if text is None:
            self.documents[file].pop(name, None)
        else:
            self.documents[file][name] = text

    def adopt(self, spec: ClusterSpec) -> Cluster:
        """As a registry does: what is equal is the same object."""
        known = self.clusters.get(spec.name)
        if known is None or known.spec != spec:
            known = self.clusters[spec.name] = Cluster(spec)
        return known

    def compile(self) -> Snapshot:
        for file, documents in self.documents.items():
            (self.path / f"{file}.yaml").write_text("---\n".join(documents.values()))
        resources = self.inventory.load().declared
        made = self.compiler.compile(resources, self.adopt)
        fresh = compile_snapshot(resources.values(), self.options, Cluster)
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


# --- whatever changes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [{"mesh": MESH}, {"unknown_hosts": "reject", "labels": {"app": "x"}, "mesh": MESH}],
    ids=["open", "strict"],
)
def test_any_sequence_of_changes_comes_to_what_a_compilation_from_nothing_makes(
    tmp_path: Path, seed: int, options: dict[str, Any]
) -> None:
    rng = random.Random(seed)
    estate, folder = Estate(rng), Folder(tmp_path, **options)
    for _ in range(30):
        for _ in range(rng.choice([1, 1, 1, 2, 5, 10])):
            name, text = estate.draw()
            folder.put(name, None if rng.random() < 0.2 else text, FILES[sum(name.encode()) % len(FILES)])
        folder.compile()


# --- one change among many

COUNT = 60


class Town(Folder):
    """A Gateway, many hosts with a VirtualService and a ServiceEntry each, and one document in each file."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, unknown_hosts="reject", **options)
        self.put("edge", EDGE)
        for number in range(COUNT):
            self.put(f"routes-{number}", routes(number))
            self.put(f"entry-{number}", entry(f"s{number}.test"))

    def cost(self) -> tuple[int, int, int]:
        """Compile; how many VirtualServices were prepared, bound, and questions about destinations answered."""
        before = self.work()
        self.compile()
        prepared, bound, answered = (now - then for now, then in zip(self.work(), before, strict=True))
        return prepared, bound, answered

    def work(self) -> tuple[int, int, int]:
        compiler = self.compiler
        return compiler._preparer.made, compiler._bindings.made, compiler._clusters.answered

    def served(self) -> dict[str, VirtualHost]:
        (listener,) = self.compile().listeners
        return dict(routes_of(listener).by_name)


def routes(number: int, path: str = "/", backend: str = "", host: str = "", more: str = "") -> str:
    rule = f"- match: [{{uri: {{prefix: {path}}}}}]\n  {to(backend or f's{number}.test')}"
    return virtual_service(rule, name=f"routes-{number}", hosts=f"[{host or f'h{number}.test'}]", more=more)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    made = Town(tmp_path)
    assert made.cost() == (COUNT, COUNT, COUNT)
    return made


def test_nothing_changed_costs_nothing(town: Town) -> None:
    assert town.cost() == (0, 0, 0)


def test_a_changed_virtual_service_costs_itself(town: Town) -> None:
    before = town.served()
    town.put("routes-7", routes(7, "/new"))
    assert town.cost() == (1, 1, 0)
    after = town.served()
    assert [name for name in before if before[name] is not after[name]] == ["h7.test"]


def test_one_that_comes_and_one_that_goes(town: Town) -> None:
    town.put("routes-new", routes(7, "/b", host="new.test").replace("name: routes-7", "name: routes-new"))
    assert town.cost() == (1, 1, 0)
    assert "new.test" in town.served()
    town.put("routes-new", None)
    assert town.cost() == (0, 0, 0)
    assert "new.test" not in town.served()


def test_a_changed_service_costs_itself_and_who_sends_there(town: Town) -> None:
    before = town.served()
    town.put("entry-7", entry("s7.test").replace("10.0.0.1", "10.0.0.9"))
    assert town.cost() == (0, 1, 1)
    after = town.served()
    assert [name for name in before if before[name] is not after[name]] == ["h7.test"]
    town.put("entry-7", entry("s7.test").replace("10.0.0.1", "10.0.0.9") + "  location: MESH_INTERNAL\n")
    assert town.cost() == (0, 0, 1), "the cluster is as it was"


def test_a_changed_rule_costs_the_hosts_it_covers(town: Town) -> None:
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: default}\n"
    )
    rule += "spec: {host: s7.test, trafficPolicy: {loadBalancer: {simple: RANDOM}}}\n"
    town.put("rule", rule)
    assert town.cost() == (0, 1, 1)
    town.put("rule", rule.replace("s7.test", "'*.test'"))
    assert town.cost() == (0, COUNT - 1, COUNT)


def test_documents_that_only_move_cost_nothing(town: Town) -> None:
    rule = town.served()["h7.test"].rules[0]
    assert rule.route.source is not None
    line = rule.route.source.line
    before = town.work()
    town.documents["a"] = {"first": "# a line more\n", **town.documents["a"]}
    assert town.served()["h7.test"].rules[0] is rule
    assert town.work() == before
    assert rule.route.source.line == line + 2


def test_a_change_of_what_everybody_depends_on_makes_new_only_what_is_other(town: Town) -> None:
    before = town.served()
    town.put("edge", EDGE + '  - {port: {number: 81, name: second, protocol: HTTP}, hosts: ["h7.test"]}\n')
    assert town.cost() == (0, 1, 1)
    first, second = sorted(town.compile().listeners, key=lambda listener: listener.port)
    assert routes_of(first).by_name == before
    assert routes_of(second).by_name.keys() == {"h7.test"}


def test_only_listeners_and_chains_that_changed_are_others(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name, port in (("one", 80), ("two", 81)):
        folder.put(name, gateway(name, server(port, "HTTP", f"[{name}.test]")))
        text = virtual_service(
            "- directResponse: {status: 200}",
            name=name,
            hosts=f"[{name}.test]",
            gateways=f"[istio-system/{name}]",
        )
        folder.put(f"routes-{name}", text)
    folder.put(
        "tls",
        gateway(
            "tls",
            server(443, "HTTPS", "[a.test]", "mode: SIMPLE, credentialName: a", "a"),
            server(443, "HTTPS", "[b.test]", "mode: SIMPLE, credentialName: b", "b"),
            server(443, "TLS", "[c.test]", "mode: PASSTHROUGH", "c"),
        ),
    )
    rules = "- directResponse: {status: STATUS}"
    for host in "ab":
        text = virtual_service(
            rules.replace("STATUS", "200"), name=host, hosts=f"[{host}.test]", gateways="[istio-system/tls]"
        )
        folder.put(host, text)
    sni = f"- match: [{{port: 443, sniHosts: [c.test]}}]\n  {to('somewhere', port='{number: 443}')}"
    folder.put(
        "c", virtual_service(sni, name="c", hosts="[c.test]", gateways="[istio-system/tls]", block="tls")
    )
    before = {listener.name: listener for listener in folder.compile().listeners}
    folder.put("b", folder.documents["a"]["b"].replace("200", "201"))
    after = {listener.name: listener for listener in folder.compile().listeners}
    assert [name for name in before if before[name] is not after[name]] == ["0.0.0.0_443"]
    pairs = zip(before["0.0.0.0_443"].chains, after["0.0.0.0_443"].chains, strict=True)
    assert [old is new for old, new in pairs] == [True, False, True]
    folder.put("c", folder.documents["a"]["c"].replace("somewhere", "elsewhere"))
    last = {listener.name: listener for listener in folder.compile().listeners}
    pairs = zip(after["0.0.0.0_443"].chains, last["0.0.0.0_443"].chains, strict=True)
    assert [old is new for old, new in pairs] == [True, True, False]


def test_delegates_are_followed_and_only_their_roots_are_prepared_again(town: Town) -> None:
    part = virtual_service(f"- {to('s1.test')}", name="part", hosts="", gateways="")
    town.put("part", part)
    town.put("routes-7", routes(7).replace(to("s7.test"), "delegate: {name: part}"))
    assert town.cost() == (1, 1, 0)
    town.put("part", part.replace("s1.test", "s2.test"))
    assert town.cost() == (1, 1, 0)
    assert town.served()["h7.test"].rules[0].route.destinations[0].cluster_name == "outbound|80||s2.test"
    town.put("routes-8", routes(8, "/more"))
    assert town.cost() == (1, 1, 0)


# --- the objects behind routes


def test_a_cluster_that_was_let_go_is_adopted_anew(town: Town) -> None:
    """A snapshot that was not put in force had it, and it is asked for again."""
    town.put("entry-7", entry("s7.test").replace("10.0.0.1", "10.0.0.9"))
    town.compile()
    name = "outbound|80||s7.test"
    lost = town.clusters.pop(name)
    town.compiler.void([name, "outbound|80||gone.test"])
    snapshot = town.compile()
    assert snapshot.adopted[name] is not lost
    (listener,) = snapshot.listeners
    rule = routes_of(listener).by_name["h7.test"].rules[0]
    assert rule.route.destinations[0].cluster is snapshot.adopted[name]


def test_a_cluster_carries_requests_as_soon_as_one_route_sends_some(tmp_path: Path) -> None:
    """What is offered by ALPN there depends on it, and a TCP route may have asked first."""
    folder = Folder(tmp_path)
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: default}\n"
    )
    folder.put("rule", rule + "spec: {host: s.test, trafficPolicy: {tls: {mode: SIMPLE, sni: s.test}}}\n")
    folder.put("entry", entry("s.test"))
    folder.put("edge", gateway("edge", server(80, "HTTP"), server(9000, "TCP")))
    folder.put("tcp", virtual_service(f"- {to('s.test')}", name="tcp", block="tcp"))

    def alpn() -> tuple[str, ...]:
        spec = folder.compile().clusters["outbound|80||s.test"].tls_spec
        assert spec is not None
        return spec.alpn

    assert alpn() == ()
    folder.put("http", virtual_service(f"- {to('s.test')}", name="http"))
    assert alpn() == ("http/1.1",)
    folder.put("http", None)
    assert alpn() == ()


def test_what_is_less_than_an_error_is_said_to_the_oldest_who_asks(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put("edge", EDGE)
    for day, name in ((3, "young"), (1, "old"), (2, "middle")):
        stamp = f', creationTimestamp: "2024-01-0{day}T00:00:00Z"'
        text = virtual_service(f"- {to('nowhere')}", name=name, hosts=f"[{name}.test]", metadata=stamp)
        folder.put(name, text)

    def told() -> list[str]:
        return [finding.name for finding in folder.compile().findings if finding.code == "GWD0102"]

    assert told() == ["old"]
    folder.put("old", None)
    assert told() == ["middle"]


# --- findings


def test_findings_beyond_two_hundred_have_the_lines_of_their_rules(tmp_path: Path) -> None:
    """The most serious ones are looked up to the column, and so they are after a change that makes others so."""
    folder = Folder(tmp_path, unknown_hosts="reject")
    folder.put("edge", EDGE)
    for number in range(150):
        rules = f"- {to('gone-a')}\n- match: [{{uri: {{prefix: /}}}}]\n  {to('gone-b')}"
        text = virtual_service(rules, name=f"v{number:03}", hosts=f"[h{number}.test]")
        folder.put(f"v{number:03}", text)

    def quoted() -> int:
        return sum(bool(finding.quote) for finding in folder.compile().findings)

    assert quoted() == 200
    for number in range(0, 150, 2):
        folder.put(f"v{number:03}", None)
    assert quoted() == len(folder.compile().findings) == 150


def test_a_suggestion_follows_what_there_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path, unknown_hosts="reject")
    folder.put("edge", EDGE)
    folder.put("routes", virtual_service(f"- {to('reviewz.test')}"))

    def said() -> str:
        (finding,) = [each for each in folder.compile().findings if each.code == "IST0101"]
        return finding.message

    assert "did you mean" not in said()
    folder.put("entry", entry("reviews.test"))
    assert 'did you mean "reviews.test"?' in said()
    folder.put("entry", None)
    assert "did you mean" not in said()
