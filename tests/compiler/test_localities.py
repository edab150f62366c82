"""Priorities and weights by locality: semantics 9.14 to 9.16."""

from __future__ import annotations

import pytest

from gatewayd.compiler.locality_labels import locality_of
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.traffic_policy import LocalityFailover, LocalityLbSetting
from gatewayd.upstream.balancers import Balancer
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.localities import balance
from gatewayd.upstream.spec import ClusterSpec
from tests.compiler.support import EDGE, compile_yaml, to, virtual_service
from tests.compiler.test_destination_rules import rule

REGION, ZONE, SUBZONE = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)
HERE = {REGION: "r1", ZONE: "z1", SUBZONE: "s1"}
PLACES = ("r1/z1/s1", "r1/z1/s2", "r1/z2", "r2/z9", "r3")
OUTLIERS = ", outlierDetection: {}"


def spec_of(
    policy: str = "",
    *,
    places: tuple[str, ...] = PLACES,
    labels: dict[str, str] | None = None,
    annotation: str = "",
    members: str = "",
    mesh: MeshConfig | None = None,
) -> ClusterSpec:
    """The cluster of a service with an endpoint in each of ``places``, seen from ``labels``."""
    endpoints = members or ", ".join(
        f"{{address: 10.0.0.{number}, locality: '{place}'}}" for number, place in enumerate(places, 1)
    )
    service = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: cart, namespace: shop{annotation}}}
spec:
  hosts: [cart.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{endpoints}]
"""
    documents = [EDGE, service, virtual_service(f"- {to('cart.test')}")]
    if policy:
        documents.append(rule("a", f"{{host: cart.test, trafficPolicy: {{{policy}}}}}"))
    options = {} if mesh is None else {"mesh": mesh}
    compiled = compile_yaml("---".join(documents), labels=HERE if labels is None else labels, **options)
    return compiled.cluster("outbound|80||cart.test")


def priorities(*arguments: str, **options: object) -> list[int]:
    return [endpoint.priority for endpoint in spec_of(*arguments, **options).endpoints]  # type: ignore[arg-type]


def setting(written: str, outliers: str = OUTLIERS) -> str:
    return f"loadBalancer: {{localityLbSetting: {written}}}{outliers}"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, ""),
        ({REGION: "r"}, "r"),
        ({REGION: "r", ZONE: "z"}, "r/z"),
        ({REGION: "r", ZONE: "z", SUBZONE: "s"}, "r/z/s"),
        ({ZONE: "z"}, "/z"),
        ({"istio-locality": "r.z.s", REGION: "other"}, "r/z/s"),
        ({"istio-locality": "r/z.1"}, "r/z.1"),
    ],
)
def test_where_something_is_by_its_labels(labels: dict[str, str], expected: str) -> None:
    assert locality_of(labels) == expected


def test_9_14_near_endpoints_come_first_once_there_is_outlier_detection() -> None:
    assert priorities("outlierDetection: {}") == [0, 1, 2, 3, 3]
    assert priorities() == [0, 0, 0, 0, 0]
    assert priorities("loadBalancer: {simple: RANDOM}") == [0, 0, 0, 0, 0]


def test_9_14_priorities_have_no_gaps() -> None:
    assert priorities("outlierDetection: {}", places=("r9", "r1/z2", "r8")) == [1, 0, 1]
    assert priorities("outlierDetection: {}", labels={REGION: "r5"}) == [0, 0, 0, 0, 0]


def test_9_14_failover_says_who_stands_in() -> None:
    assert priorities(setting("{failover: [{from: r1, to: r3}]}")) == [0, 1, 2, 4, 3]
    assert priorities(setting("{failover: [{from: r2, to: r3}]}")) == [0, 1, 2, 3, 3]


def test_9_14_a_label_for_all_of_it_says_where_the_proxy_is() -> None:
    assert priorities("outlierDetection: {}", labels={"istio-locality": "r2.z9"}) == [1, 1, 1, 0, 1]


def test_9_15_failover_priority_ranks_by_leading_labels() -> None:
    members = ", ".join(
        f"{{address: 10.0.0.{number}, locality: '{place}', labels: {{tier: {tier}}}}}"
        for number, (place, tier) in enumerate([("r1", "a"), ("r1", "b"), ("r2", "a"), ("r2", "b")], 1)
    )
    proxy = {**HERE, "tier": "a"}

    def ranked(labels: str) -> list[int]:
        return priorities(setting(f"{{failoverPriority: [{labels}]}}"), members=members, labels=proxy)

    assert ranked(f"tier, {REGION}") == [0, 2, 1, 2]
    assert ranked(f"{REGION}, tier") == [0, 1, 2, 2]
    assert ranked("tier=b") == [1, 0, 1, 0]
    assert ranked("unheard-of") == [0, 0, 0, 0]


def test_9_15_failover_priority_and_failover_together() -> None:
    found = priorities(
        setting("{failoverPriority: [tier], failover: [{from: r1, to: r3}]}"),
        places=("r1/z1/s1", "r2", "r3"),
    )
    assert found == [0, 2, 1]


@pytest.mark.parametrize(
    ("distribute", "expected"),
    [
        ("{from: r1/z1/s1, to: {r1/z1/s1: 80, r2/z9: 20}}", {"r1/z1/s1": 80, "r2/z9": 20}),
        ("{from: 'r1/*', to: {'r1/*': 70, r3: 30}}", {"r1/z1/s1": 24, "r1/z1/s2": 24, "r1/z2": 24, "r3": 30}),
        ("{from: '*', to: {r1/z1: 100}}", {"r1/z1/s1": 50, "r1/z1/s2": 50}),
        ("{from: r1, to: {'*': 100}}", dict.fromkeys(PLACES, 20)),
        ("{from: r1, to: {r3: 100, r2: 0}}", {"r3": 100, "r2/z9": 1}),
        ("{from: r2, to: {r3: 100}}", {}),
    ],
)
def test_9_15_distribute(distribute: str, expected: dict[str, int]) -> None:
    spec = spec_of(setting(f"{{distribute: [{distribute}]}}", ""))
    assert dict(spec.locality_weights) == expected
    assert {endpoint.locality for endpoint in spec.endpoints} == set(expected or PLACES)
    assert spec.locality_weighted
    assert {endpoint.priority for endpoint in spec.endpoints} == {0}


def test_9_15_the_first_entry_for_the_proxys_place_holds() -> None:
    entries = "[{from: r9, to: {r1: 100}}, {from: r1/z1, to: {r2: 100}}, {from: r1, to: {r3: 100}}]"
    assert dict(spec_of(setting(f"{{distribute: {entries}}}", "")).locality_weights) == {"r2/z9": 100}


ZONES = "loadBalancer: {zoneAwareLbSetting: "


def test_9_18_zone_awareness_puts_the_own_region_first_and_its_zones_alike() -> None:
    assert priorities(f"{ZONES}{{enabled: true}}}}") == [0, 0, 0, 1, 1], "without outlier detection too"
    spec = spec_of(f"{ZONES}{{enabled: true}}}}", places=("r1/z1", "r1/z2", "r1/z2", "/z7"))
    assert not spec.locality_weighted, "four endpoints, however they lie"
    assert [(each.priority, each.locality) for each in spec.endpoints][-1] == (0, "r1/z7")


def test_9_18_zone_awareness_has_to_be_switched_on() -> None:
    for written in ("{}", "{enabled: false}", "{failoverPriority: [tier]}"):
        assert priorities(f"{ZONES}{written}}}{OUTLIERS}") == [0, 1, 2, 3, 3], written


def test_9_18_a_proxy_that_is_nowhere_has_no_region() -> None:
    assert priorities(f"{ZONES}{{enabled: true}}}}", labels={"tier": "a"}) == [0, 0, 0, 0, 0]


def test_9_18_which_region_stands_in() -> None:
    found = priorities(f"{ZONES}{{enabled: true, failover: [{{from: r1, to: r3}}]}}}}{OUTLIERS}")
    assert found == [0, 0, 0, 2, 1]


def test_9_18_labels_come_before_regions() -> None:
    members = ", ".join(
        f"{{address: 10.0.0.{number}, locality: '{place}', labels: {{tier: {tier}}}}}"
        for number, (place, tier) in enumerate([("r1", "a"), ("r1", "b"), ("r2", "a"), ("r2", "b")], 1)
    )
    found = priorities(
        f"{ZONES}{{enabled: true, failoverPriority: [tier]}}}}{OUTLIERS}",
        members=members,
        labels={**HERE, "tier": "a"},
    )
    assert found == [0, 2, 1, 3]


def test_9_16_switched_off_in_the_rule() -> None:
    assert priorities(setting("{enabled: false}")) == [0, 0, 0, 0, 0]


def test_9_16_the_meshs_setting_holds_where_the_rule_has_none() -> None:
    off = MeshConfig(locality_lb_setting=LocalityLbSetting(enabled=False))
    assert priorities("outlierDetection: {}", mesh=off) == [0, 0, 0, 0, 0]
    pair = LocalityFailover(from_="r1", to="r3")
    mesh = MeshConfig(locality_lb_setting=LocalityLbSetting(failover=(pair,)))
    assert priorities("outlierDetection: {}", mesh=mesh) == [0, 1, 2, 4, 3]
    assert priorities(setting("{enabled: true}"), mesh=mesh) == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("word", ["PreferClose", "PreferSameZone", "PreferSameNode"])
def test_9_16_a_services_own_distribution_needs_no_outlier_detection(word: str) -> None:
    annotation = f", annotations: {{networking.istio.io/traffic-distribution: {word}}}"
    assert priorities(annotation=annotation) == [0, 1, 2, 3, 3]
    off = MeshConfig(locality_lb_setting=LocalityLbSetting(enabled=False))
    assert priorities(annotation=annotation, mesh=off) == [0, 1, 2, 3, 3]
    assert priorities(setting("{enabled: false}"), annotation=annotation) == [0, 0, 0, 0, 0]


def test_9_16_the_zone_of_a_slice_is_in_the_proxys_region() -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: http, port: 80}], trafficDistribution: PreferClose}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], zone: z1}
- {addresses: [10.0.0.2], zone: z2}
"""
    host = "cart.shop.svc.cluster.local"
    documents = "---".join([EDGE, text, virtual_service(f"- {to(host)}")])
    for labels in ({REGION: "r1", ZONE: "z1"}, {ZONE: "z1"}):
        spec = compile_yaml(documents, labels=labels).cluster(f"outbound|80||{host}")
        assert [endpoint.priority for endpoint in spec.endpoints] == [0, 1]


# -- what balancers make of it -------------------------------------------------------------------------


def balancer_of(spec: ClusterSpec, out: tuple[str, ...] = ()) -> Balancer[Endpoint]:
    endpoints = []
    for member in spec.endpoints:
        endpoint = Endpoint(None, spec, member.address, member.port)  # type: ignore[arg-type]
        endpoint.use(member)
        endpoint.ready = member.address not in out
        endpoints.append(endpoint)
    return balance(spec, endpoints)


def picked(balancer: Balancer[Endpoint], count: int = 400) -> set[str]:
    return {endpoint.address for endpoint in (balancer.pick() for _ in range(count)) if endpoint is not None}


def test_9_14_the_next_priority_takes_over_when_the_first_is_gone() -> None:
    spec = spec_of("outlierDetection: {}", places=("r1/z1/s1", "r1/z1/s1", "r2", "r3"))
    assert picked(balancer_of(spec)) == {"10.0.0.1", "10.0.0.2"}
    assert picked(balancer_of(spec, ("10.0.0.1", "10.0.0.2"))) == {"10.0.0.3", "10.0.0.4"}
    half = balancer_of(spec, ("10.0.0.1",))
    assert picked(half) == {"10.0.0.2", "10.0.0.3", "10.0.0.4"}, "70 per cent stay where half is left"


def test_9_15_shares_are_kept() -> None:
    spec = spec_of(setting("{distribute: [{from: r1, to: {r1/z1/s1: 80, r2: 20}}]}", ""))
    balancer = balancer_of(spec)
    near = sum(
        endpoint.address == "10.0.0.1" for endpoint in (balancer.pick() for _ in range(1000)) if endpoint
    )
    assert 750 <= near <= 850
    assert picked(balancer) == {"10.0.0.1", "10.0.0.4"}
