"""Rules that can never match, and what the findings say: product, section 3."""

from __future__ import annotations

import io

import pytest

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.findings import render
from gatewayd.resources.meta import ObjectMeta, Resource
from gatewayd.resources.virtual_service import (
    Destination,
    HeaderOperations,
    Headers,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    RegexRewrite,
    StringMatch,
    VirtualService,
)
from gatewayd.sources import load
from tests.compiler.support import BASE, Compiled, compile_yaml, routes_of, to, virtual_service

ALPHA = (HTTPRouteDestination(destination=Destination(host="alpha.test")),)


def rules(*matches: str, more: str = "") -> Compiled:
    """A rule for each ``match``."""
    listed = "\n".join(f"- match: {match}\n  {to('alpha.test')}" for match in matches)
    return compile_yaml(BASE + virtual_service(listed) + more)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /a}}]"),
        ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /ab}}]"),
        ("[{uri: {prefix: /a}}]", "[{uri: {exact: /ab}}]"),
        ("[{uri: {exact: /a}}]", "[{uri: {exact: /a}, method: {exact: GET}}]"),
        ("[{uri: {regex: '/a.*'}}]", "[{uri: {regex: '/a.*'}}]"),
        ("[{uri: {prefix: ''}}]", "[{uri: {exact: /x}}]"),
        ("[{headers: {x-a: {exact: b}}}]", "[{uri: {prefix: /a}, headers: {X-A: {exact: b}, x-c: {}}}]"),
        ("[{uri: {prefix: /a}, ignoreUriCase: true}]", "[{uri: {prefix: /A}, ignoreUriCase: true}]"),
        ("[{queryParams: {q: {}}}]", "[{queryParams: {q: {}}, withoutHeaders: {x: {}}}]"),
    ],
)
def test_a_rule_behind_an_equal_or_wider_one_can_never_match(first: str, second: str) -> None:
    (finding,) = rules(first, second).findings("IST0130")
    assert finding.startswith(
        "warning VirtualService default/routes spec.http[1]: rule http[1] can never match: http[0] (<stdin>:"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("[{uri: {prefix: /ab}}]", "[{uri: {prefix: /a}}]"),
        ("[{uri: {exact: /a}}]", "[{uri: {prefix: /a}}]"),
        ("[{uri: {prefix: /a}, method: {exact: GET}}]", "[{uri: {prefix: /a}}]"),
        ("[{headers: {x-a: {exact: b}}}]", "[{headers: {x-a: {exact: c}}}]"),
        ("[{headers: {x-a: {exact: b}}}]", "[{withoutHeaders: {x-a: {exact: b}}}]"),
        ("[{queryParams: {q: {}}}]", "[{queryParams: {Q: {}}}]"),
        ("[{uri: {prefix: /a}, ignoreUriCase: true}]", "[{uri: {prefix: /ab}}]"),
        ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /a}, ignoreUriCase: true}]"),
        ("[{port: 81}]", "[{uri: {prefix: /a}}]"),
    ],
)
def test_a_rule_that_may_still_match_is_left_in_peace(first: str, second: str) -> None:
    assert rules(first, second).findings("IST0130") == []


def test_the_sentence_names_both_rules_the_place_and_what_is_taken() -> None:
    text = virtual_service(
        f"- match: [{{uri: {{prefix: /}}}}]\n  {to('alpha.test')}\n"
        f"- name: reviews-v2\n  match: [{{uri: {{prefix: /v2}}}}]\n  {to('beta.test')}"
    )
    compiled = compile_yaml(BASE + text)
    finding = next(f for f in compiled.snapshot.findings if f.code == "IST0130")
    route = compiled.route("http://x.test/")
    assert route is not None
    assert route.source is not None
    assert finding.message == (
        f'rule http[1] "reviews-v2" can never match: http[0] (<stdin>:{route.source.line}) '
        'takes prefix "/" first'
    )
    assert (finding.line, finding.path) == (route.source.line + 2, "spec.http[1]")
    assert render(finding).startswith('warning[IST0130] rule http[1] "reviews-v2" can never match: ')


def test_one_dead_alternative_of_several_is_an_ineffective_match() -> None:
    compiled = rules("[{uri: {prefix: /a}}]", "[{uri: {prefix: /b}}, {uri: {prefix: /a/b}}]")
    assert compiled.findings("IST0130") == []
    (finding,) = compiled.findings("IST0131")
    assert finding.startswith(
        "info VirtualService default/routes spec.http[1].match[1]: match[1] of rule http[1] can never match: "
    )


def test_an_alternative_behind_a_catch_all_of_its_own_rule() -> None:
    compiled = rules("[{uri: {prefix: /}}, {uri: {prefix: /a}}]")
    (finding,) = compiled.findings("IST0131")
    assert "match[1] of rule http[0] can never match" in finding


def test_a_rule_hidden_by_another_virtual_service_on_every_host_it_has() -> None:
    def one(name: str, hosts: str, prefix: str) -> str:
        rule = f"- match: [{{uri: {{prefix: {prefix}}}}}]\n  {to('alpha.test')}"
        return virtual_service(rule, name=name, hosts=hosts)

    hidden = compile_yaml(BASE + one("a", "[a.test]", "/a") + "---" + one("b", "[a.test]", "/a/b"))
    (finding,) = hidden.findings("IST0130")
    assert finding.startswith(
        "warning VirtualService default/b spec.http[0]: rule http[0] can never match: http[0] of "
        "VirtualService default/a (<stdin>:"
    )
    partly = compile_yaml(BASE + one("a", "[a.test]", "/a") + "---" + one("b", "[a.test, b.test]", "/a/b"))
    assert partly.findings("IST0130") == []


def test_a_catch_all_hides_no_specific_rule_of_another_virtual_service() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- {to('alpha.test')}", name="a")
        + "---"
        + virtual_service(f"- match: [{{uri: {{prefix: /b}}}}]\n  {to('beta.test')}", name="b")
    )
    assert compiled.findings("IST0130") == []


def test_the_second_catch_all_of_a_host_can_never_match() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- {to('alpha.test')}", name="a")
        + "---"
        + virtual_service(f"- {to('beta.test')}", name="b")
    )
    (finding,) = compiled.findings("IST0130")
    assert finding.endswith("takes every request first")


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        (
            HTTPRoute(match=(HTTPMatchRequest(uri=StringMatch(regex="(")),), route=ALPHA),
            "IST0122",
            ".match[0]",
        ),
        (
            HTTPRoute(
                rewrite=HTTPRewrite(uri_regex_rewrite=RegexRewrite(match="(", rewrite="")), route=ALPHA
            ),
            "IST0122",
            ".rewrite",
        ),
        (HTTPRoute(), "GWD0104", ""),
        (HTTPRoute(route=ALPHA * 2), "GWD0104", ".route"),
        (HTTPRoute(redirect=HTTPRedirect(redirect_code=304)), "GWD0104", ".redirect.redirectCode"),
        (
            HTTPRoute(route=ALPHA, headers=Headers(request=HeaderOperations(set={"x-a": "50%"}))),
            "GWD0104",
            ".headers",
        ),
    ],
)
def test_a_rule_that_cannot_be_served_sets_its_virtual_service_aside(
    rule: HTTPRoute, code: str, path: str
) -> None:
    """Validation refuses most of these in files; the compiler takes nobody's word for it."""
    spec = VirtualService(hosts=("broken.test",), gateways=("istio-system/edge",), http=(rule,))
    broken: Resource[VirtualService] = Resource(
        kind="VirtualService", api_version="", metadata=ObjectMeta(name="broken"), spec=spec
    )
    text = BASE + virtual_service(f"- {to('beta.test')}")
    resources = [broken, *load(["-"], io.BytesIO(text.encode())).resources]
    compiled = Compiled(compile_snapshot(resources, CompileOptions(), adopt=lambda spec: spec), ())
    assert compiled.snapshot.set_aside == ("VirtualService default/broken",)
    assert compiled.call("http://broken.test/") == "beta.test:80"  # the others are served
    (finding,) = [f for f in compiled.snapshot.findings if f.code == code]
    assert (finding.level, finding.name, finding.path) == ("error", "broken", "spec.http[0]" + path)
    assert finding.message.startswith("VirtualService default/broken is not served: ")


def test_the_same_resources_give_the_same_snapshot_whatever_their_order() -> None:
    parts = [
        virtual_service(
            f"- match: [{{uri: {{prefix: /{name}}}}}]\n  {to(f'{host}.test')}",
            name=name,
            hosts=f"[{name}.test]",
        )
        for name, host in (("a", "alpha"), ("b", "beta"), ("c", "gamma"))
    ]
    one = compile_yaml(BASE + "---".join(parts))
    other = compile_yaml("---".join([*reversed(parts), BASE]).removesuffix("---"))
    assert _shape(one) == _shape(other)


def _shape(compiled: Compiled) -> object:
    return [
        (
            listener.name,
            [
                (host.name, [rule.route.destinations[0].cluster_name for rule in host.rules])
                for host in routes_of(listener).virtual_hosts
            ],
        )
        for listener in compiled.snapshot.listeners
    ]


def test_the_version_is_carried() -> None:
    assert compile_snapshot([], CompileOptions(), adopt=lambda spec: spec, version=7).version == 7
