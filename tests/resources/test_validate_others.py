"""DestinationRules, ServiceEntries, workloads, Sidecars, Kubernetes kinds (semantics 19.7, 19.8)."""

from typing import Any

import pytest

from gatewayd.resources.meta import format_path
from tests.resources.checks import errors, faults


def policy(**blocks: Any) -> dict[str, Any]:
    return {"host": "a.b", "trafficPolicy": blocks}


@pytest.mark.parametrize(
    "spec",
    [
        {"host": "*.a.b", "subsets": [{"name": "v1"}, {"name": "v2", "labels": {"version": "v2"}}]},
        policy(connectionPool={"tcp": {"maxConnections": 1, "idleTimeout": "0s"}}),
        policy(loadBalancer={"consistentHash": {}}),
        policy(loadBalancer={"consistentHash": {"maglev": {"tableSize": 65537}, "useSourceIp": True}}),
        policy(tls={"mode": "MUTUAL", "credentialName": "a"}),
        policy(portLevelSettings=[{"port": {"number": 80}, "tls": {}}]),
        policy(tunnel={"protocol": "CONNECT", "targetHost": "a.b", "targetPort": 443}),
    ],
)
def test_good_destination_rules(spec: Any) -> None:
    assert errors("DestinationRule", spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (policy(), "spec.trafficPolicy: a trafficPolicy may not be empty"),
        (policy(connectionPool={}), "spec.trafficPolicy.connectionPool: a connectionPool needs tcp or http"),
        (
            policy(connectionPool={"http": {"maxRetries": -1}}),
            "spec.trafficPolicy.connectionPool.http.maxRetries: maxRetries may not be negative (-1)",
        ),
        (
            policy(connectionPool={"tcp": {"connectTimeout": "1us"}}),
            "spec.trafficPolicy.connectionPool.tcp.connectTimeout: a duration must be at least 1ms",
        ),
        (
            policy(connectionPool={"http": {"useClientProtocol": True, "h2UpgradePolicy": "UPGRADE"}}),
            "spec.trafficPolicy.connectionPool.http.useClientProtocol: "
            "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other",
        ),
        (
            policy(loadBalancer={"simple": "RANDOM", "consistentHash": {}}),
            "spec.trafficPolicy.loadBalancer: simple and consistentHash exclude each other",
        ),
        (
            policy(loadBalancer={"consistentHash": {"useSourceIp": True, "httpHeaderName": "a"}}),
            "spec.trafficPolicy.loadBalancer.consistentHash: "
            "httpHeaderName and useSourceIp exclude each other",
        ),
        (
            policy(loadBalancer={"localityLbSetting": {"distribute": [{"from": "a", "to": {"b": 50}}]}}),
            "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: "
            "the weights must add up to 100, not 50",
        ),
        (
            policy(loadBalancer={"zoneAwareLbSetting": {}, "localityLbSetting": {}}),
            "spec.trafficPolicy.loadBalancer: localityLbSetting and zoneAwareLbSetting exclude each other",
        ),
        (
            policy(
                loadBalancer={"zoneAwareLbSetting": {"failoverPriority": ["topology.kubernetes.io/zone=a"]}},
                outlierDetection={},
            ),
            "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failoverPriority[0]: "
            "topology.kubernetes.io/zone=a has no place here: the region always counts, zones never",
        ),
        (
            policy(
                loadBalancer={"zoneAwareLbSetting": {"failover": [{"from": "a", "to": "a"}]}},
                outlierDetection={},
            ),
            "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failover[0]: "
            "a region cannot stand in for itself",
        ),
        (
            policy(outlierDetection={"maxEjectionPercent": 101}),
            "spec.trafficPolicy.outlierDetection.maxEjectionPercent: "
            "a percentage must be from 0 to 100, not 101",
        ),
        (
            policy(portLevelSettings=[{"tls": {}}]),
            "spec.trafficPolicy.portLevelSettings[0]: portLevelSettings need a port number",
        ),
        (
            policy(portLevelSettings=[{"port": {"number": 80}}]),
            "spec.trafficPolicy.portLevelSettings[0]: "
            "portLevelSettings need a loadBalancer, connectionPool, outlierDetection or tls",
        ),
        (
            policy(tls={"mode": "MUTUAL", "privateKey": "a"}),
            "spec.trafficPolicy.tls: MUTUAL TLS needs clientCertificate",
        ),
        (
            policy(tls={"mode": "SIMPLE", "insecureSkipVerify": True, "caCertificates": "a"}),
            "spec.trafficPolicy.tls.caCertificates: "
            "caCertificates cannot be checked with insecureSkipVerify: true",
        ),
        (
            policy(tunnel={"targetHost": "a", "targetPort": 1}, proxyProtocol={}),
            "spec.trafficPolicy.tunnel: tunnel and proxyProtocol exclude each other",
        ),
        (
            {"host": "a", "subsets": [{"name": "v 1"}]},
            'spec.subsets[0].name: "v 1" is not a subset name (a DNS label)',
        ),
        (
            {"host": "a", "subsets": [{"name": "v1"}, {"name": "v1"}]},
            'spec.subsets[1].name: subset "v1" is declared twice',
        ),
        (
            {"host": "a", "workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["*"]},
            'spec.exportTo[0]: with a workloadSelector only "." may be exported to',
        ),
    ],
)
def test_bad_destination_rules(spec: Any, expected: str) -> None:
    assert errors("DestinationRule", spec) == [expected]


def entry(**changes: Any) -> dict[str, Any]:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return {"hosts": ["a.b"], "ports": ports, "resolution": "STATIC", **changes}


@pytest.mark.parametrize(
    "spec",
    [
        entry(),
        entry(hosts=["short"]),
        entry(endpoints=[{"address": "10.0.0.1", "ports": {"http": 8080}}, {"address": "::1"}]),
        entry(endpoints=[{"address": "unix:///run/a"}]),
        entry(resolution="DNS"),
        entry(resolution="DNS", hosts=["*.a.b"], endpoints=[{"address": "c.d"}]),
        entry(resolution="DYNAMIC_DNS", hosts=["*.a.b"]),
        entry(resolution="NONE", addresses=["10.0.0.0/8"]),
        entry(workloadSelector={"labels": {"app": "a"}}),
        entry(endpoints=[{"network": "n"}]),
    ],
)
def test_good_service_entries(spec: Any) -> None:
    assert errors("ServiceEntry", spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (entry(hosts=["*"]), 'spec.hosts[0]: host "*" is not allowed'),
        (
            entry(endpoints=[{"address": "a.b"}]),
            'spec.endpoints[0].address: resolution STATIC needs IP addresses, not "a.b"',
        ),
        (
            entry(resolution="NONE", endpoints=[{"address": "1.2.3.4"}]),
            "spec.endpoints: resolution NONE cannot have endpoints",
        ),
        (
            entry(resolution="DNS", hosts=["*.a.b"]),
            'spec.hosts[0]: host "*.a.b" cannot be resolved by DNS without endpoints',
        ),
        (
            entry(resolution="DNS", addresses=["10.0.0.0/8"]),
            "spec.addresses[0]: networks are allowed only with resolution NONE or STATIC, not DNS",
        ),
        (
            entry(resolution="DYNAMIC_DNS"),
            "spec.hosts[0]: resolution DYNAMIC_DNS needs wildcard hosts",
        ),
        (
            entry(endpoints=[{"address": "1.2.3.4", "ports": {"htpp": 1}}]),
            'spec.endpoints[0].ports.htpp: unknown port "htpp" (did you mean "http"?)',
        ),
        (entry(endpoints=[{}]), 'spec.endpoints[0]: missing required field "address"'),
        (
            entry(endpoints=[{"address": "unix://a"}]),
            'spec.endpoints[0].address: "unix://a" must name an absolute path, or an abstract socket with @',
        ),
        (
            entry(workloadSelector={}, endpoints=[{"address": "1.2.3.4"}]),
            "spec.endpoints: workloadSelector and endpoints exclude each other",
        ),
        (
            entry(ports=[{"number": 80, "name": "a"}, {"number": 80, "name": "b"}]),
            "spec.ports[1].number: port number 80 is used twice",
        ),
        (
            entry(hosts=["a.b", "c.d"], ports=[{"number": 1, "name": "a", "protocol": "TCP"}]),
            "spec.ports[0].protocol: with protocol TCP several hosts cannot be told apart",
        ),
    ],
)
def test_bad_service_entries(spec: Any, expected: str) -> None:
    assert errors("ServiceEntry", spec) == [expected]


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("WorkloadEntry", {}, ['spec: missing required field "address"']),
        ("WorkloadEntry", {"address": "a.b", "ports": {"http": 80}}, []),
        ("WorkloadEntry", {"address": "*.b"}, ['spec.address: wildcard "*.b" is not allowed here']),
        (
            "WorkloadEntry",
            {"address": "unix:///a", "ports": {"b": 1}},
            ["spec.ports: a unix:// address has no ports"],
        ),
        (
            "WorkloadEntry",
            {"address": "a.b", "ports": {"b c": 1}},
            ['spec.ports["b c"]: "b c" is not a port name (a DNS label)'],
        ),
        ("WorkloadGroup", {"template": {}}, []),
        (
            "WorkloadGroup",
            {"template": {}, "probe": {}},
            ["spec.probe: a probe needs one of httpGet, tcpSocket, exec and grpc"],
        ),
        (
            "WorkloadGroup",
            {"template": {}, "probe": {"grpc": {}, "tcpSocket": {"port": 1}}},
            ["spec.probe: tcpSocket and grpc exclude each other"],
        ),
        ("Sidecar", {"egress": [{"hosts": ["./*", "~/a.b", "*/c.d"]}]}, []),
        ("Sidecar", {"egress": [{"hosts": ["a.b"]}]}, ['spec.egress[0].hosts[0]: "a.b" has no namespace']),
        (
            "Sidecar",
            {"egress": [{"hosts": ["*/*"]}, {"hosts": ["./*"], "port": {"number": 1, "protocol": "TCP"}}]},
            ["spec.egress[0]: the egress listener without a port must be the last one"],
        ),
        (
            "Sidecar",
            {"ingress": [{"port": {"number": 1, "protocol": "TCP"}, "defaultEndpoint": "10.0.0.1:1"}]},
            ['spec.ingress[0].defaultEndpoint: "10.0.0.1:1" is not an endpoint'],
        ),
        ("Service", {"ports": [{"port": 80}]}, []),
        (
            "Service",
            {"ports": [{"port": 80}, {"port": 81}]},
            ["spec.ports[1]: one of several ports has no name"],
        ),
        ("Service", {"type": "ExternalName"}, ["spec: a Service of type ExternalName needs externalName"]),
        (
            "Ingress",
            {
                "rules": [
                    {"http": {"paths": [{"path": "a", "pathType": "Exact", "backend": {"resource": {}}}]}}
                ]
            },
            ["spec.rules[0].http.paths[0].path: a path of type Exact must begin with /"],
        ),
        (
            "Ingress",
            {"rules": [{"http": {"paths": [{"path": "/", "backend": {"serviceName": "a"}}]}}]},
            ['spec.rules[0].http.paths[0].backend: the port of service "a" is missing'],
        ),
        (
            "Ingress",
            {"rules": [{"host": "a b", "http": {"paths": []}}]},
            ['spec.rules[0].host: "a b" is not a host name (label "a b")'],
        ),
    ],
)
def test_other_kinds(kind: str, spec: Any, expected: list[str]) -> None:
    assert errors(kind, spec) == expected


def test_endpoint_slices_belong_to_a_service_and_hold_addresses() -> None:
    spec = {"endpoints": [{"addresses": ["10.0.0.1", "x"]}]}
    owned = faults("EndpointSlice", spec, labels={"kubernetes.io/service-name": "a"})
    assert [(fault.level, format_path(fault.path)) for fault in owned] == [
        ("error", "endpoints[0].addresses[1]")
    ]
    alone = faults("EndpointSlice", {"endpoints": []})
    assert [(fault.level, format_path(fault.path)) for fault in alone] == [("warning", "metadata")]
    names = faults(
        "EndpointSlice", {**spec, "addressType": "FQDN"}, labels={"kubernetes.io/service-name": "a"}
    )
    assert [fault.level for fault in names] == ["warning"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"tracing": [{"customTags": {"t": {}}}]},
            'spec.tracing[0].customTags.t: tag "t" needs one of: literal, environment, header, formatter',
        ),
        (
            {"tracing": [{"customTags": {"t": {"literal": {"value": "a"}, "header": {"name": "b"}}}}]},
            'spec.tracing[0].customTags.t: tag "t" needs one of: literal, environment, header, formatter',
        ),
        (
            {"selector": {}, "targetRef": {"kind": "Gateway", "name": "g"}},
            "spec: only one of selector, targetRef and targetRefs can be given",
        ),
    ],
)
def test_bad_telemetries(spec: Any, expected: str) -> None:
    assert errors("Telemetry", spec) == [expected]
