"""The table of supported fields is complete, without contradiction, and used."""

from pathlib import Path
from typing import Any

import pytest

from gatewayd import __version__
from gatewayd.resources import unsupported
from gatewayd.resources.decode import decode
from gatewayd.resources.destination_rule import DestinationRule
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.kinds import KINDS, MESH_GROUPS
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.meta import format_path
from gatewayd.resources.sidecar import Sidecar
from gatewayd.resources.support_evidence import SINCE, TESTS
from gatewayd.resources.support_evidence import covering as covering_entry
from gatewayd.resources.support_table import render
from gatewayd.resources.unsupported import entries, expand, field_paths, find_unsupported
from gatewayd.resources.virtual_service import VirtualService
from gatewayd.resources.workload import WorkloadEntry

TOPS: list[tuple[Any, str]] = [
    *((kind.model, f"{name}.spec") for name, kind in KINDS.items() if kind.group in MESH_GROUPS),
    (MeshConfig, "MeshConfig"),
]


def ancestors(path: str) -> list[str]:
    """A path and what it is below of: `a.b[].c` -> `a.b[].c`, `a.b[]`, `a.b`, `a`."""
    found = []
    while path:
        found.append(path)
        shorter = path.removesuffix("[]").removesuffix("{}")
        path = shorter if shorter != path else path.rpartition(".")[0]
    return found


def covering(path: str) -> list[str]:
    return [
        entry.path
        for ancestor in ancestors(path)
        for entry in entries().get(ancestor, ())
        if not entry.value and not entry.key_prefix
    ]


@pytest.mark.parametrize(("model", "top"), TOPS)
def test_every_field_is_covered_by_exactly_one_entry(model: Any, top: str) -> None:
    leaves = [path for path, is_leaf in field_paths(model, top) if is_leaf]
    assert leaves
    assert {path: covering(path) for path in leaves if len(covering(path)) != 1} == {}


def test_every_entry_covers_a_field() -> None:
    existing = {top for _, top in TOPS} | {path for model, top in TOPS for path, _ in field_paths(model, top)}
    assert set(entries()) - existing == set()


def test_no_entry_is_written_twice() -> None:
    doubles = [
        path for path, found in entries().items() if len({tuple(entry) for entry in found}) != len(found)
    ]
    assert doubles == []


def test_choices_are_expanded() -> None:
    assert expand("a.<b|c>.d") == ["a.b.d", "a.c.d"]
    assert expand("<|x.>y") == ["y", "x.y"]


def used(model: Any, tree: Any, top: str) -> list[str]:
    spec, faults = decode(tree, model)
    assert faults == []
    return [
        f"{format_path((*fault.path, *([fault.key] if fault.key else [])))}: {fault.message}"
        for fault in find_unsupported(spec, top)
    ]


def test_a_field_without_effect_is_named_with_its_place() -> None:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    odd = {**server, "defaultEndpoint": "127.0.0.1:80"}
    assert used(Gateway, {"servers": [server, odd]}, "Gateway.spec") == [
        'spec.servers[1].defaultEndpoint: "defaultEndpoint" is without effect: it is read for sidecars only'
    ]


def test_fields_side_by_side_share_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    port = {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}
    server = {"port": port, "hosts": ["*"], "defaultEndpoint": "127.0.0.1:80"}
    assert used(Gateway, {"servers": [server]}, "Gateway.spec") == [
        'spec.servers[0].defaultEndpoint: "defaultEndpoint" is without effect: it is read for sidecars only',
        'spec.servers[0].port.targetPort: "targetPort" is without effect: '
        "it is deprecated; the number says where the server listens",
    ]
    reason = "not there yet"
    made = {"WorkloadEntry.spec.labels": [unsupported.Entry("WorkloadEntry.spec.labels", reason)]}
    made["WorkloadEntry.spec.weight"] = [unsupported.Entry("WorkloadEntry.spec.weight", reason)]
    monkeypatch.setattr(unsupported, "entries", lambda: made)
    unsupported._plan.cache_clear()
    try:
        (found,) = used(
            WorkloadEntry, {"address": "1.1.1.1", "labels": {"a": "b"}, "weight": 2}, "WorkloadEntry.spec"
        )
    finally:
        unsupported._plan.cache_clear()
    assert found == 'spec.labels: "labels", "weight" are accepted, but not honoured yet: not there yet'


def test_a_value_without_effect_is_named() -> None:
    def findings(simple: str) -> list[str]:
        tree = {"host": "a.test", "trafficPolicy": {"loadBalancer": {"simple": simple}}}
        return used(DestinationRule, tree, "DestinationRule.spec")

    (found,) = findings("PASSTHROUGH")
    assert found.startswith(
        'spec.trafficPolicy.loadBalancer.simple: simple "PASSTHROUGH" is without effect: '
    )
    assert findings("RANDOM") == []


def test_claims_are_named_other_headers_are_not() -> None:
    headers = {"x-a": {"exact": "b"}, "@request.auth.claims.sub": {"exact": "c"}}
    (found,) = used(VirtualService, {"http": [{"match": [{"headers": headers}]}]}, "VirtualService.spec")
    assert found.startswith('spec.http[0].match[0].headers["@request.auth.claims.sub"]: ')


def test_subsets_and_ports_are_looked_into() -> None:
    balancer = {"zoneAwareLbSetting": {"enabled": True, "minClusterSize": 3}}
    policy = {"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": balancer}]}
    tree = {"host": "a", "subsets": [{"name": "v1", "trafficPolicy": policy}]}
    (found,) = used(DestinationRule, tree, "DestinationRule.spec")
    assert found.startswith(
        "spec.subsets[0].trafficPolicy.portLevelSettings[0].loadBalancer.zoneAwareLbSetting.minClusterSize: "
    )


def test_a_kind_without_effect_is_one_warning() -> None:
    (fault,) = find_unsupported(decode({}, Sidecar)[0], "Sidecar.spec")
    assert (fault.path, fault.level, fault.code) == (("kind",), "warning", "GWD0014")


def test_what_has_its_default_is_not_in_use() -> None:
    rule = {"route": [{"destination": {"host": "a"}}], "mirrors": [], "fault": None}
    pool = {"http": {"maxRetries": 0, "idleTimeout": "3s"}, "tcp": {"connectTimeout": "1s"}}
    assert used(VirtualService, {"http": [rule]}, "VirtualService.spec") == []
    tree = {"host": "a", "trafficPolicy": {"connectionPool": pool, "loadBalancer": {"simple": "RANDOM"}}}
    assert used(DestinationRule, tree, "DestinationRule.spec") == []


def test_a_field_that_does_nothing_in_istio_either_is_information() -> None:
    policy = {"outlierDetection": {"consecutiveErrors": 3}, "loadBalancer": {"simple": "PASSTHROUGH"}}
    spec, _ = decode({"host": "a.test", "trafficPolicy": policy}, DestinationRule)
    found = find_unsupported(spec, "DestinationRule.spec")
    assert [(fault.level, fault.code) for fault in found] == [("info", "GWD0014")] * 2
    assert "gateway knows no original destination" in found[0].message
    assert '"consecutiveErrors" is without effect' in found[1].message


#: What later work brings: HTTP/2, tokens.
LATER = {
    "VirtualService.spec.http[].match[].headers{@request.auth.claims",
    "VirtualService.spec.http[].match[].withoutHeaders{@request.auth.claims",
    "connectionPool.http.h2UpgradePolicy",
    "connectionPool.http.useClientProtocol",
    "connectionPool.http.http2KeepAlive",
    "connectionPool.http.maxConcurrentStreams",
}


def test_nothing_of_the_five_kinds_is_missing_but_what_later_work_brings() -> None:
    kinds = ("Gateway", "VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry")
    missing = {
        f"{path}{{{entry.key_prefix}" if entry.key_prefix else path
        for path, found in entries().items()
        for entry in found
        if path.partition(".")[0] in kinds and entry.reason and entry.later
    }
    assert {path for path in missing if not path.endswith(tuple(LATER))} == set()


def test_every_honoured_field_has_a_version_and_a_test_that_exists() -> None:
    root = Path(__file__).parents[2]
    newest = [int(part) for part in __version__.split(".")[:2]]
    for path, found in entries().items():
        if any(entry.reason for entry in found) and len(found) == 1:
            continue
        since, file = covering_entry(path, SINCE), covering_entry(path, TESTS)
        assert since, path
        assert [int(part) for part in since.split(".")] <= newest, path
        assert file, path
        assert "def test_" in (root / file).read_text(), path


def test_the_longest_entry_counts() -> None:
    table = {"a.<b|c>": "short", "a.b.d": "long"}
    assert [covering_entry(path, table) for path in ("a.b", "a.c[].x", "a.b.d.e", "a.bb")] == [
        "short",
        "short",
        "long",
        "",
    ]


def test_the_document_about_support_is_what_the_table_says() -> None:
    document = Path(__file__).parents[2] / "docs" / "istio_support.md"
    assert document.read_text() == render(), (
        "run: python -m gatewayd.resources.support_table > docs/istio_support.md"
    )
