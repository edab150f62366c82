"""Delegation: semantics 4.16 to 4.21."""

from __future__ import annotations

import io

import pytest

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.compiler.delegates import compatible, merge_match, merge_rules
from gatewayd.resources.meta import ObjectMeta, Resource
from gatewayd.resources.virtual_service import (
    Delegate,
    HTTPMatchRequest,
    HTTPRewrite,
    HTTPRoute,
    StringMatch,
    VirtualService,
)
from gatewayd.sources import load
from tests.compiler.support import BASE, Compiled, compile_yaml, to, virtual_service


def delegate(http: str, name: str = "part", namespace: str = "team", more: str = "") -> str:
    return virtual_service(http, name=name, namespace=namespace, hosts="", gateways="", more=more)


def delegating(rule: str, *delegates: str) -> Compiled:
    return compile_yaml(BASE + "---".join([virtual_service(rule), *delegates]))


ROOT_A = (
    f"- match: [{{uri: {{prefix: /a}}}}]\n  delegate: {{name: part, namespace: team}}\n- {to('delta.test')}"
)


def test_4_16_the_delegates_rules_take_the_rules_place() -> None:
    compiled = delegating(
        ROOT_A,
        delegate(
            f"- match: [{{uri: {{prefix: /a/b}}}}]\n  {to('alpha.test')}\n- {to('beta.test')}",
        ),
    )
    assert compiled.call("http://x.test/a/b") == "alpha.test:80"
    assert compiled.call("http://x.test/a/c") == "beta.test:80"
    assert compiled.call("http://x.test/c") == "delta.test:80"


def test_4_16_the_namespace_defaults_to_the_roots() -> None:
    compiled = delegating(
        "- match: [{uri: {prefix: /a}}]\n  delegate: {name: part}",
        delegate(f"- {to('alpha.test')}", namespace="default"),
    )
    assert compiled.call("http://x.test/a") == "alpha.test:80"


def test_4_16_short_names_in_a_delegate_belong_to_its_own_namespace() -> None:
    service = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: team}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: cart, namespace: team}
subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 8080}]}]
"""
    compiled = delegating(ROOT_A, delegate(f"- {to('cart')}"), service)
    assert compiled.call("http://x.test/a") == "cart.team.svc.cluster.local:80"


def test_4_16_one_level_only() -> None:
    """Validation refuses such a document; what comes another way is left out."""
    part = VirtualService(http=(HTTPRoute(delegate=Delegate(name="deeper")),))
    loaded = load(["-"], io.BytesIO((BASE + virtual_service(ROOT_A)).encode()))
    resource: Resource[VirtualService] = Resource(
        kind="VirtualService", api_version="", metadata=ObjectMeta(name="part", namespace="team"), spec=part
    )
    snapshot = compile_snapshot([*loaded.resources, resource], CompileOptions(), adopt=lambda spec: spec)
    compiled = Compiled(snapshot, ())
    assert compiled.call("http://x.test/a") == "delta.test:80"
    assert "rule http[0] is left out: a delegate cannot delegate again" in compiled.findings("GWD0103")[0]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (delegate(f"- {to('alpha.test')}", name="other"), "does not exist"),
        (
            delegate(f"- {to('alpha.test')}", more='  exportTo: ["."]\n'),
            "is not exported to namespace default",
        ),
        (
            virtual_service(f"- {to('alpha.test')}", name="part", namespace="team", hosts="[q.test]"),
            "has hosts, so it is no delegate",
        ),
    ],
)
def test_4_17_without_its_delegate_only_that_rule_vanishes(part: str, reason: str) -> None:
    compiled = delegating(ROOT_A, part)
    assert compiled.call("http://x.test/a") == "delta.test:80"
    (finding,) = compiled.findings("IST0101")
    assert finding.startswith(
        "error VirtualService default/routes spec.http[0].delegate: delegate team/part " + reason
    )


def test_4_17_exported_to_the_roots_namespace_is_enough() -> None:
    compiled = delegating(ROOT_A, delegate(f"- {to('alpha.test')}", more="  exportTo: [default]\n"))
    assert compiled.call("http://x.test/a") == "alpha.test:80"


def test_a_delegate_nobody_uses_is_named() -> None:
    compiled = delegating(f"- {to('alpha.test')}", delegate(f"- {to('beta.test')}"))
    assert compiled.findings("GWD0105") == [
        "info VirtualService team/part: VirtualService team/part has no hosts and no rule delegates to it"
    ]


def match(**fields: object) -> HTTPMatchRequest:
    return HTTPMatchRequest(**fields)  # type: ignore[arg-type]


def exact(text: str) -> StringMatch:
    return StringMatch(exact=text)


def prefix(text: str) -> StringMatch:
    return StringMatch(prefix=text)


def regex(text: str) -> StringMatch:
    return StringMatch(regex=text)


@pytest.mark.parametrize(
    ("root", "narrow", "answer"),
    [
        (match(), match(uri=prefix("/a")), True),
        (match(uri=prefix("/a")), match(), True),
        (match(uri=prefix("/a")), match(uri=prefix("/a/b")), True),
        (match(uri=prefix("/a")), match(uri=exact("/ab")), True),
        (match(uri=prefix("/a")), match(uri=prefix("/b")), False),
        (match(uri=prefix("/a/b")), match(uri=prefix("/a")), False),
        (match(uri=exact("/a")), match(uri=exact("/a")), True),
        (match(uri=exact("/a")), match(uri=exact("/b")), False),
        (match(uri=exact("/a")), match(uri=prefix("/a")), False),
        (match(uri=regex("/a")), match(), True),
        (match(uri=regex("/a")), match(uri=regex("/a")), False),
        (match(uri=regex("/a.*")), match(uri=prefix("/a")), False),
        (match(uri=prefix("/a")), match(uri=regex("/a.*")), False),
        (match(method=exact("GET")), match(method=exact("POST")), False),
        (match(scheme=exact("http")), match(scheme=exact("http")), True),
        (match(authority=prefix("a")), match(authority=exact("b")), False),
        (match(headers={"x": exact("a")}), match(headers={"x": exact("b")}), False),
        (match(headers={"x": exact("a")}), match(headers={"y": exact("b")}), True),
        (match(without_headers={"x": prefix("a")}), match(without_headers={"x": prefix("ab")}), True),
        (match(query_params={"q": exact("a")}), match(query_params={"q": exact("b")}), False),
        (match(uri=prefix("/a"), ignore_uri_case=True), match(uri=prefix("/a")), False),
        (match(ignore_uri_case=True), match(ignore_uri_case=True), True),
        (match(port=80), match(port=81), False),
        (match(port=80), match(), True),
        (match(source_namespace="a"), match(), False),
        (match(source_namespace="a"), match(source_namespace="a"), True),
        (match(source_labels={"a": "1"}), match(source_labels={"a": "2"}), False),
        (match(source_labels={"a": "1"}), match(source_labels={"b": "2"}), True),
        (match(gateways=("n/a", "n/b")), match(gateways=("n/a",)), True),
        (match(gateways=("n/a",)), match(gateways=("n/a", "n/b")), False),
        (match(gateways=("n/a",)), match(), True),
        (match(), match(gateways=("n/a",)), True),
    ],
)
def test_4_19_a_delegates_condition_must_narrow_the_roots(
    root: HTTPMatchRequest, narrow: HTTPMatchRequest, answer: bool
) -> None:
    assert compatible(root, narrow) is answer


def test_4_18_every_delegate_alternative_needs_a_compatible_one_of_the_root() -> None:
    root = HTTPRoute(match=(match(uri=prefix("/a")), match(uri=prefix("/b"))))
    both = HTTPRoute(match=(match(uri=prefix("/a/1")), match(uri=exact("/b/2"))))
    one = HTTPRoute(match=(match(uri=prefix("/a/1")), match(uri=exact("/c"))))
    merged = merge_rules(root, [both, one])
    assert merged[0] is not None
    assert [alternative.uri for alternative in merged[0].match] == [prefix("/a/1"), exact("/b/2")]
    assert merged[1] is None


def test_4_18_each_compatible_pair_becomes_an_alternative() -> None:
    root = HTTPRoute(match=(match(port=80), match(port=81)))
    (merged,) = merge_rules(root, [HTTPRoute(match=(match(uri=prefix("/x")),))])
    assert merged is not None
    assert [(alternative.port, alternative.uri) for alternative in merged.match] == [
        (80, prefix("/x")),
        (81, prefix("/x")),
    ]


def test_4_18_an_empty_list_takes_the_other_side() -> None:
    conditions = (match(uri=prefix("/a")),)
    (from_root,) = merge_rules(HTTPRoute(match=conditions), [HTTPRoute()])
    (from_delegate,) = merge_rules(HTTPRoute(), [HTTPRoute(match=conditions)])
    assert from_root is not None
    assert from_delegate is not None
    assert from_root.match == from_delegate.match == conditions


def test_4_18_a_rule_that_fits_nowhere_is_left_out_with_a_finding() -> None:
    compiled = delegating(
        ROOT_A,
        delegate(
            f"- match: [{{uri: {{prefix: /b}}}}]\n  {to('alpha.test')}\n"
            f"- match: [{{uri: {{prefix: /a/b}}}}]\n  {to('beta.test')}"
        ),
    )
    assert compiled.call("http://x.test/a/b") == "beta.test:80"
    assert compiled.call("http://x.test/b") == "delta.test:80"
    assert compiled.findings("GWD0103") == [
        "warning VirtualService team/part spec.http[0]: rule http[0] is left out: its match is not within "
        "that of http[0] of default/routes, its root"
    ]


def test_4_20_scalars_of_the_delegate_win_and_maps_are_merged_by_key() -> None:
    merged = merge_match(
        match(
            name="r",
            uri=prefix("/a"),
            method=exact("GET"),
            headers={"x": prefix("1"), "y": exact("2")},
            port=80,
        ),
        match(name="d", uri=prefix("/a/b"), headers={"x": exact("1a"), "z": exact("3")}),
    )
    assert merged.uri == prefix("/a/b")
    assert merged.method == exact("GET")
    assert merged.port == 80
    assert merged.headers == {"x": exact("1a"), "y": exact("2"), "z": exact("3")}
    assert merged.name == "r-d"


def test_4_21_whole_fields_come_from_the_delegate_else_from_the_root() -> None:
    rewrite = HTTPRewrite(uri="/root")
    root = HTTPRoute(name="root", rewrite=rewrite, timeout=3.0)  # type: ignore[arg-type]
    (own, inherited, named) = merge_rules(
        root, [HTTPRoute(rewrite=HTTPRewrite(authority="d")), HTTPRoute(), HTTPRoute(name="own")]
    )
    assert own is not None
    assert inherited is not None
    assert named is not None
    assert own.rewrite == HTTPRewrite(authority="d")  # never the root's uri as well
    assert (inherited.rewrite, inherited.timeout) == (rewrite, 3.0)
    assert (own.name, named.name) == ("root", "root-own")


def test_routes_of_a_delegate_name_the_delegate_as_their_source() -> None:
    compiled = delegating(ROOT_A, delegate(f"- {to('alpha.test')}"))
    route = compiled.route("http://x.test/a")
    assert route is not None
    assert route.source is not None
    assert (route.source.namespace, route.source.name, route.source.rule) == ("team", "part", 0)


def test_a_delegate_that_cannot_be_served_takes_only_its_rules_along() -> None:
    broken = '- headers: {request: {set: {x-a: "%NO_SUCH_VARIABLE%"}}}\n  ' + to("alpha.test")
    compiled = delegating(ROOT_A, delegate(broken))
    assert compiled.call("http://x.test/a") == "delta.test:80"
    assert compiled.snapshot.set_aside == ("VirtualService team/part",)
