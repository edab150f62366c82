"""Every problem of a tree is found, each with words that help."""

from typing import Any

import pytest

from gatewayd.resources.collect import MAX_FAULTS, collect, unknown_fields
from gatewayd.resources.decode import decode, drop_nulls
from gatewayd.resources.destination_rule import DestinationRule
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.ingress import Ingress
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.meta import format_path, parse_path
from gatewayd.resources.service import Service
from gatewayd.resources.service_entry import ServiceEntry
from gatewayd.resources.virtual_service import VirtualService


def messages(tree: Any, model: Any) -> list[str]:
    faults = collect(tree, model, ())
    assert (decode(tree, model)[0] is None) == any(fault.level == "error" for fault in faults)
    return [f"{format_path(fault.path)}: {fault.message}" for fault in faults]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"hosts": "a"}, 'hosts: "hosts" must be a list, not the text "a"'),
        ({"hosts": [1]}, 'hosts[0]: "hosts[0]" must be text, not the number 1'),
        ({"hosts": [True]}, 'hosts[0]: "hosts[0]" must be text, not true'),
        ({"hosts": [None]}, 'hosts[0]: "hosts[0]" must be text, not empty'),
        ({"http": [7]}, 'http[0]: "http[0]" must be a mapping, not the number 7'),
        ({"http": {}}, 'http: "http" must be a list, not a mapping'),
        ({"http": [{"timeout": "soon"}]}, 'http[0].timeout: "soon" is not a duration'),
        ({"http": [{"timeout": []}]}, "http[0].timeout: this is not a duration"),
        ({"http": [{"route": [{}]}]}, 'http[0].route[0]: missing required field "destination"'),
        (
            {"http": [{"route": [{"destination": {"host": "a"}, "weight": 1.5}]}]},
            'http[0].route[0].weight: "weight" must be a whole number, not the number 1.5',
        ),
        (
            {"http": [{"match": [{"ignoreUriCase": "yes"}]}]},
            'http[0].match[0].ignoreUriCase: "ignoreUriCase" must be true or false, not the text "yes"',
        ),
        (
            {"http": [{"match": [{"headers": {"x-a": "b"}}]}]},
            'http[0].match[0].headers["x-a"]: "x-a" must be a mapping, not the text "b"',
        ),
        (
            {"http": [{"redirect": {"derivePort": "from_request_port"}}]},
            'http[0].redirect.derivePort: unknown value "from_request_port" '
            '(did you mean "FROM_REQUEST_PORT"?)',
        ),
        (
            {"http": [{"directResponse": {"status": 200, "body": {"bytes": "*"}}}]},
            'http[0].directResponse.body.bytes: "bytes" is not valid base64',
        ),
        ({"gatway": []}, ': unknown field "gatway" (did you mean "gateways"?)'),
        ({"export_to": []}, ': unknown field "export_to" (did you mean "exportTo"?)'),
        ({"zzz": 1}, ': unknown field "zzz"'),
        (7, ': "" must be a mapping, not the number 7'),
    ],
)
def test_virtual_services(tree: Any, expected: str) -> None:
    assert messages(tree, VirtualService) == [expected]


@pytest.mark.parametrize(
    ("model", "tree", "expected"),
    [
        (
            Gateway,
            {"servers": [{"port": {"number": -1, "protocol": "HTTP", "name": "a"}, "hosts": []}]},
            'servers[0].port.number: "number" must be from 0 to 4294967295, not -1',
        ),
        (ServiceEntry, {"hosts": []}, 'hosts: "hosts" must have at least 1 items'),
        (
            ServiceEntry,
            {"hosts": ["a.b"], "addresses": ["1" * 65]},
            'addresses[0]: "addresses[0]" must have at most 64 characters, not 65',
        ),
        (
            DestinationRule,
            {
                "host": "a",
                "trafficPolicy": {"loadBalancer": {"warmup": {"duration": "1s", "aggression": -1}}},
            },
            'trafficPolicy.loadBalancer.warmup.aggression: "aggression" must be 0 or more, not -1',
        ),
        (
            DestinationRule,
            {"host": "a", "trafficPolicy": {"outlierDetection": {"outlierDetectionHttpErrorCodes": [99]}}},
            "trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]: "
            '"outlierDetectionHttpErrorCodes[0]" must be from 100 to 599, not 99',
        ),
        (
            Service,
            {"ports": [{"port": 80, "targetPort": [1]}]},
            'ports[0].targetPort: "targetPort" must be a number or a name, not a list',
        ),
    ],
)
def test_other_kinds(model: Any, tree: Any, expected: str) -> None:
    assert messages(tree, model) == [expected]


def test_help_says_what_was_expected() -> None:
    def helps(tree: Any) -> list[str]:
        return [fault.help for fault in collect(tree, VirtualService, ())]

    assert helps({"http": [{"route": [{"wieght": 1, "destination": {"host": "a"}}]}]}) == [
        "expected one of: destination, headers, weight"
    ]
    assert helps({"hosts": [1]}) == ["put it in quotes"]
    assert helps({"http": [{"match": [{"port": "80"}]}]}) == ["write it without quotes"]
    assert helps({"http": [{"timeout": "1"}]}) == [
        "expected a number with a unit, such as 3s, 500ms or 1m30s"
    ]


def test_problems_are_found_all_at_once_in_the_order_of_the_text() -> None:
    tree = {"http": [{"a": 1}, {"route": 2}, {"timeout": "x"}], "b": 3, "hosts": 4}
    assert [fault.path for fault in collect(tree, VirtualService, ("spec",))] == [
        ("spec", "http", 0),
        ("spec", "http", 1, "route"),
        ("spec", "http", 2, "timeout"),
        ("spec",),
        ("spec", "hosts"),
    ]


def test_a_flood_of_problems_is_cut_off() -> None:
    assert len(collect({"hosts": list(range(10_000))}, VirtualService, ())) == MAX_FAULTS


def test_fields_of_kubernetes_kinds_we_do_not_use_are_the_platforms() -> None:
    service, faults = decode({"ports": [{"port": 80}], "sessionAffinity": "None", "x": 1}, Service)
    assert faults == []
    assert service.ports[0].port == 80


def test_target_ports_are_numbers_or_names() -> None:
    service, _ = decode({"ports": [{"port": 1, "targetPort": 2}, {"port": 3, "targetPort": "web"}]}, Service)
    assert [port.target_port for port in service.ports] == [2, "web"]


@pytest.mark.parametrize(
    ("backend", "name", "port"),
    [
        ({"service": {"name": "a", "port": {"number": 80}}}, "a", 80),
        ({"service": {"name": "a", "port": {"name": "http"}}}, "a", "http"),
        ({"serviceName": "a", "servicePort": 80}, "a", 80),
        ({"serviceName": "a", "servicePort": "80"}, "a", 80),
        ({"serviceName": "a", "servicePort": "http"}, "a", "http"),
    ],
)
def test_old_and_new_ingress_backends_mean_the_same(backend: Any, name: str, port: Any) -> None:
    ingress, faults = decode({"rules": [{"http": {"paths": [{"path": "/", "backend": backend}]}}]}, Ingress)
    assert faults == []
    service = ingress.rules[0].http.paths[0].backend.service_of()
    assert (service.name, service.port.number or service.port.name) == (name, port)


def test_null_in_an_untyped_value_stays_when_nothing_else_is_null() -> None:
    assert drop_nulls({"a": None, "b": [None, {"c": None}]}) == {"b": [None, {}]}


def test_unknown_fields_of_the_mesh_configuration() -> None:
    tree = {
        "rootNamespace": "x",
        "foo": 1,
        "defaultConfig": {"bar": 2, "proxyHeaders": {"server": {"baz": 3}}},
    }
    found = [(path, key) for path, key, _ in unknown_fields(tree, MeshConfig)]
    assert found == [
        ((), "foo"),
        (("defaultConfig",), "bar"),
        (("defaultConfig", "proxyHeaders", "server"), "baz"),
    ]


@pytest.mark.parametrize(
    "path",
    ["", "spec", "spec.http[3]", 'spec.http[0].match[1].headers["x-id"].exact', 'a["b.c"][0].d', "a_b.c1"],
)
def test_paths_are_written_and_read_alike(path: str) -> None:
    assert format_path(parse_path(path)) == path
