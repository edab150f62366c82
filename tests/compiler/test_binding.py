"""Which VirtualService answers where, and in which order: semantics 1.2 to 1.11, 2.2, 4.1 to 4.12."""

from __future__ import annotations

import itertools

import pytest

from tests.compiler.support import BASE, SERVICES, compile_yaml, routes_of, to, virtual_service


def test_4_1_without_gateways_a_gateway_ignores_it() -> None:
    compiled = compile_yaml(BASE + virtual_service(f"- {to('alpha.test')}", hosts="[a.test]", gateways=""))
    assert compiled.call("http://a.test/") == "404"
    assert compiled.findings("GWD0105")[-1] == (
        "info VirtualService default/routes: VirtualService default/routes names no gateway, so it is for "
        "sidecars only"
    )


def test_4_1_mesh_beside_a_gateway_serves_both() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- {to('alpha.test')}", hosts="[a.test]", gateways="[mesh, istio-system/edge]")
    )
    assert compiled.call("http://a.test/") == "alpha.test:80"


def test_1_6_a_short_host_answers_only_for_its_full_name() -> None:
    compiled = compile_yaml(BASE + virtual_service(f"- {to('alpha.test')}", hosts="[b]"))
    assert compiled.call("http://b/") == "404"
    assert compiled.call("http://b.default.svc.cluster.local/") == "alpha.test:80"


@pytest.mark.parametrize("reference", ["istio-system/edge", "edge.istio-system", "edge.istio-system.svc"])
def test_1_7_references_to_a_gateway_elsewhere(reference: str) -> None:
    compiled = compile_yaml(BASE + virtual_service(f"- {to('alpha.test')}", gateways=f"[{reference}]"))
    assert compiled.call("http://a.test/") == "alpha.test:80"


def test_1_7_an_unknown_gateway_is_an_error_that_suggests_the_nearest() -> None:
    compiled = compile_yaml(BASE + virtual_service(f"- {to('alpha.test')}", gateways="[istio-system/egde]"))
    assert compiled.call("http://a.test/") == "404"
    assert compiled.findings("IST0101") == [
        "error VirtualService default/routes spec.gateways[0]: gateway istio-system/egde does not exist "
        '(did you mean "istio-system/edge"?)'
    ]


def _server(hosts: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  servers:
  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: {hosts}}}
---{SERVICES}---"""


def test_2_2_2_a_server_host_may_be_open_to_one_namespace_only() -> None:
    compiled = compile_yaml(
        _server('["team/a.test", "./b.test", "*/c.test"]')
        + virtual_service(f"- {to('alpha.test')}", namespace="team", hosts="[a.test, b.test, c.test]")
        + "---"
        + virtual_service(f"- {to('beta.test')}", namespace="istio-system", hosts="[a.test, b.test]")
    )
    assert compiled.call("http://a.test/") == "alpha.test:80"
    assert compiled.call("http://b.test/") == "beta.test:80"
    assert compiled.call("http://c.test/") == "alpha.test:80"


def test_2_2_3_the_virtual_hosts_are_the_narrower_names() -> None:
    compiled = compile_yaml(
        _server('["*.shop.test", "one.test"]')
        + virtual_service(f"- {to('alpha.test')}", name="wide", hosts='["*"]')
        + "---"
        + virtual_service(f"- {to('beta.test')}", name="narrow", hosts='["a.shop.test"]')
    )
    listener = compiled.listener()
    assert listener is not None
    assert [host.name for host in routes_of(listener).virtual_hosts] == [
        "a.shop.test",
        "one.test",
        "*.shop.test",
    ]
    assert compiled.call("http://a.shop.test/") == "beta.test:80"
    assert compiled.call("http://b.shop.test/") == "alpha.test:80"
    assert compiled.call("http://one.test/") == "alpha.test:80"
    assert compiled.call("http://shop.test/") == "404"


def test_2_2_4_hosts_meet_as_written_and_answer_in_any_case() -> None:
    compiled = compile_yaml(
        _server('["Foo.test", "bar.test"]')
        + virtual_service(f"- {to('alpha.test')}", hosts="[Foo.test, Bar.test]")
    )
    assert compiled.call("http://foo.test/") == "alpha.test:80"
    assert compiled.call("http://bar.test/") == "404"
    assert compiled.findings("IST0132") == [
        'warning VirtualService default/routes spec.hosts[1]: host "Bar.test" is not among the hosts that '
        "gateway istio-system/edge opens to namespace default"
    ]


def test_2_2_3_a_host_no_server_has_is_a_warning_that_suggests_the_nearest() -> None:
    compiled = compile_yaml(
        _server("[shop.test]") + virtual_service(f"- {to('alpha.test')}", hosts="[shopp.test]")
    )
    (finding,) = compiled.findings("IST0132")
    assert finding.endswith('opens to namespace default (did you mean "shop.test"?)')


def test_2_2_3_each_gateway_should_take_some_host() -> None:
    second = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second, namespace: istio-system}
spec:
  servers:
  - {port: {number: 81, name: http, protocol: HTTP}, hosts: [c.test]}
---"""
    compiled = compile_yaml(
        second
        + _server("[a.test, b.test]")
        + virtual_service(
            f"- {to('alpha.test')}",
            hosts="[a.test, x.test]",
            gateways="[istio-system/edge, istio-system/second]",
        )
    )
    assert compiled.call("http://a.test/") == "alpha.test:80"
    assert sorted(compiled.findings("IST0132")) == [
        'warning VirtualService default/routes spec.hosts: hosts "a.test", "x.test" are not among the hosts '
        "that gateway istio-system/second opens to namespace default",
        'warning VirtualService default/routes spec.hosts[1]: host "x.test" is not among the hosts that '
        "gateway istio-system/edge opens to namespace default",
    ]


OLD = ', creationTimestamp: "2024-01-01T00:00:00Z"'
NEW = ', creationTimestamp: "2024-01-02T00:00:00Z"'


def test_1_2_the_older_goes_first_whatever_its_name() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('alpha.test')}", name="a", metadata=NEW)
        + "---"
        + virtual_service(f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('beta.test')}", name="z", metadata=OLD)
    )
    assert compiled.call("http://a.test/a") == "beta.test:80"


def test_1_3_no_timestamp_is_older_than_any() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('alpha.test')}", name="a", metadata=OLD)
        + "---"
        + virtual_service(f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('beta.test')}", name="z")
    )
    assert compiled.call("http://a.test/a") == "beta.test:80"


def test_1_2_equal_ages_fall_back_to_name_then_namespace_and_never_to_file_order() -> None:
    documents = [
        virtual_service(
            f"- match: [{{uri: {{prefix: /a}}}}]\n  {to(host)}", name=name, namespace=namespace, metadata=OLD
        )
        for host, name, namespace in [
            ("gamma.test", "b", "aaa"),
            ("beta.test", "a", "zzz"),
            ("alpha.test", "a", "bbb"),
        ]
    ]
    for order in itertools.permutations(documents):
        assert compile_yaml(BASE + "---".join(order)).call("http://a.test/a") == "alpha.test:80"


def test_1_10_export_to() -> None:
    def one(host: str, export_to: str) -> str:
        return virtual_service(
            f"- {to('alpha.test')}",
            name=host,
            namespace="team",
            hosts=f"[{host}.test]",
            more=f"  exportTo: {export_to}\n",
        )

    compiled = compile_yaml(
        BASE
        + "---".join(
            one(host, export_to)
            for host, export_to in [
                ("private", '["."]'),
                ("public", '["*"]'),
                ("both", '["other", "*"]'),
                ("named", "[istio-system]"),
                ("elsewhere", "[other]"),
                ("nobody", '["~"]'),
            ]
        )
    )
    answers = {
        host: compiled.call(f"http://{host}.test/")
        for host in ("private", "public", "both", "named", "elsewhere", "nobody")
    }
    assert answers == {
        "private": "404",
        "public": "alpha.test:80",
        "both": "alpha.test:80",
        "named": "alpha.test:80",
        "elsewhere": "404",
        "nobody": "404",
    }
    assert compiled.findings("GWD0105")[0] == (
        "info VirtualService team/private spec.exportTo: VirtualService team/private is not exported to "
        "namespace istio-system"
    )


def test_1_11_private_then_named_then_public_each_by_age() -> None:
    def one(name: str, namespace: str, host: str, export_to: str, metadata: str) -> str:
        return virtual_service(
            f"- match: [{{uri: {{prefix: /a}}}}]\n  {to(host)}",
            name=name,
            namespace=namespace,
            metadata=metadata,
            more=f"  exportTo: {export_to}\n",
        )

    public = one("public", "istio-system", "alpha.test", '["*"]', OLD)
    named = one("named", "team", "beta.test", "[istio-system]", OLD)
    private = one("private", "istio-system", "gamma.test", '["."]', NEW)
    assert compile_yaml(BASE + "---".join([public, named])).call("http://a.test/a") == "beta.test:80"
    assert (
        compile_yaml(BASE + "---".join([public, named, private])).call("http://a.test/a") == "gamma.test:80"
    )


def test_4_3_routes_are_appended_and_catch_alls_come_last() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- {to('alpha.test')}", name="oldest", metadata=OLD)
        + "---"
        + virtual_service(
            f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('beta.test')}\n- {to('gamma.test')}",
            name="younger",
            metadata=NEW,
        )
        + "---"
        + virtual_service(
            f"- match: [{{uri: {{exact: /a/b}}}}]\n  {to('delta.test')}", name="youngest", metadata=NEW
        )
    )
    assert compiled.call("http://a.test/a") == "beta.test:80"
    assert compiled.call("http://a.test/zzz") == "alpha.test:80"  # the catch-all of the oldest
    assert compiled.call("http://a.test/a/b") == "beta.test:80"  # first in list, not most specific


CATCH_ALLS = ["[{uri: {prefix: /}}]", '[{uri: {regex: ".*"}}]', "[{uri: {prefix: /x}}, {uri: {prefix: /}}]"]


@pytest.mark.parametrize("match", CATCH_ALLS)
def test_4_4_4_5_nothing_is_generated_behind_a_catch_all(match: str) -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(
            f"- match: {match}\n  {to('alpha.test')}\n- match: [{{uri: {{prefix: /b}}}}]\n  {to('beta.test')}"
        )
    )
    assert compiled.call("http://a.test/b") == "alpha.test:80"
    assert [finding for finding in compiled.findings("IST0130") if "spec.http[1]" in finding]


NOT_CATCH_ALLS = [
    '[{uri: {prefix: ""}}]',
    '[{uri: {regex: "/.*"}}]',
    "[{uri: {prefix: /}, headers: {x-a: {exact: b}}}]",
    "[{withoutHeaders: {x-a: {}}}]",
    "[{queryParams: {q: {exact: b}}}]",
    "[{method: {exact: GET}}]",
]


@pytest.mark.parametrize("match", NOT_CATCH_ALLS)
def test_4_4_conditions_keep_a_rule_from_being_a_catch_all(match: str) -> None:
    """Seen by the merge: what is no catch-all is not moved behind a younger VirtualService's rules (4.3)."""
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- match: {match}\n  {to('alpha.test')}", name="a")
        + "---"
        + virtual_service(f"- match: [{{uri: {{prefix: /b}}}}]\n  {to('beta.test')}", name="b")
    )
    headers = {"x_a": "b"} if "{headers:" in match or ", headers" in match else {}
    assert compiled.call("http://a.test/b?q=b", **headers) == "alpha.test:80"


def test_4_6_a_match_on_the_port_alone_is_a_catch_all_there_and_nothing_elsewhere() -> None:
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 8080, name: http-alt, protocol: HTTP}, hosts: ["*"]}
---"""
    compiled = compile_yaml(
        f"{gateway}{SERVICES}---"
        + virtual_service(
            f"- match: [{{port: 8080}}]\n  {to('alpha.test')}\n"
            f"- match: [{{uri: {{prefix: /b}}}}]\n  {to('beta.test')}"
        )
    )
    assert compiled.call("http://a.test:8080/b") == "alpha.test:80"
    assert compiled.call("http://a.test/b") == "beta.test:80"
    assert compiled.call("http://a.test/") == "404"
    assert compiled.findings("IST0130") == []  # it is reached on port 80


def test_4_7_alternatives_become_routes_in_rule_order_then_alternative_order() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(
            f"- match: [{{uri: {{prefix: /a}}}}, {{uri: {{prefix: /c}}}}]\n  {to('alpha.test')}\n"
            f"- match: [{{uri: {{prefix: /a/b}}}}, {{uri: {{prefix: /b}}}}]\n  {to('beta.test')}"
        )
    )
    assert compiled.call("http://a.test/a/b") == "alpha.test:80"
    assert compiled.call("http://a.test/c") == "alpha.test:80"
    assert compiled.call("http://a.test/b") == "beta.test:80"


def test_4_8_a_virtual_service_without_a_route_here_declares_no_host_here() -> None:
    """Its exact host would otherwise hide the wildcard one (4.11)."""
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- match: [{{port: 9999}}]\n  {to('alpha.test')}", name="a", hosts="[a.test]")
        + "---"
        + virtual_service(f"- {to('beta.test')}", name="b")
    )
    assert compiled.call("http://a.test/") == "beta.test:80"


def test_4_9_reached_through_two_gateways_it_routes_once_and_the_same() -> None:
    second = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
---"""
    compiled = compile_yaml(
        BASE
        + second
        + virtual_service(f"- {to('alpha.test')}", gateways="[istio-system/edge, istio-system/second]")
    )
    listener = compiled.listener()
    assert listener is not None
    assert len(routes_of(listener).virtual_hosts[0].rules) == 1
    assert compiled.call("http://a.test/") == "alpha.test:80"


def test_4_11_a_more_specific_host_hides_a_wildcard_completely() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(
            f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('alpha.test')}", name="a", hosts="[a.shop.test]"
        )
        + "---"
        + virtual_service(f"- {to('beta.test')}", name="b", hosts='["*.shop.test"]')
    )
    assert compiled.call("http://a.shop.test/other") == "404"
    assert compiled.call("http://b.shop.test/other") == "beta.test:80"


def test_several_virtual_services_on_one_host_are_named_with_both_places() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('alpha.test')}", name="a")
        + "---"
        + virtual_service(f"- match: [{{uri: {{prefix: /b}}}}]\n  {to('beta.test')}", name="b")
    )
    (finding,) = compiled.findings("GWD0103")
    assert finding.startswith(
        'info VirtualService default/b: host "*" is shared with VirtualService default/a (<stdin>:'
    )
