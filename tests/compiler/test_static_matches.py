"""Match conditions answered at compile time, and route names: semantics 5.12 to 5.15, 5.18, 5.19."""

from __future__ import annotations

import pytest

from tests.compiler.support import BASE, Compiled, compile_yaml, to, virtual_service

LABELS = {"istio": "ingressgateway", "zone": "blue"}


def matching(match: str, **options: object) -> Compiled:
    """A rule with ``match`` to alpha, and one for everything to beta."""
    return compile_yaml(
        BASE + virtual_service(f"- match: {match}\n  {to('alpha.test')}\n- {to('beta.test')}"), **options
    )


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ("[{port: 80}]", True),
        ("[{port: 8080}]", False),  # 5.12
        ("[{gateways: [istio-system/edge]}]", True),
        ("[{gateways: [edge.istio-system]}]", True),  # 5.13: names as in 1.7
        ("[{gateways: [mesh]}]", False),
        ("[{gateways: [edge]}]", False),  # default/edge
        ("[{sourceLabels: {zone: blue}}]", True),  # 5.14: the proxy's own
        ("[{sourceLabels: {zone: green}}]", False),
        ("[{sourceNamespace: istio-system}]", True),
        ("[{sourceNamespace: default}]", False),
        # 5.13: a match that lists the gateway is not asked about its source
        ("[{gateways: [istio-system/edge], sourceLabels: {zone: green}, sourceNamespace: x}]", True),
        ("[{port: 8080}, {port: 80}]", True),
    ],
)
def test_5_12_to_5_14_an_alternative_exists_only_where_it_applies(match: str, applies: bool) -> None:
    compiled = matching(match, labels=LABELS)
    assert compiled.call("http://a.test/") == ("alpha.test:80" if applies else "beta.test:80")


def test_5_15_a_rule_whose_alternatives_all_fail_never_becomes_match_all() -> None:
    compiled = compile_yaml(
        BASE + virtual_service(f"- match: [{{port: 1}}, {{port: 2}}]\n  {to('alpha.test')}")
    )
    assert compiled.call("http://a.test/") == "404"
    assert compiled.findings("GWD0105") == [
        "info VirtualService default/routes spec.http[0]: rule http[0] applies nowhere: its port, gateways "
        "or source conditions fit no server this VirtualService is bound to"
    ]


def test_5_14_without_labels_no_source_label_is_the_proxys() -> None:
    assert matching("[{sourceLabels: {zone: blue}}]").call("http://a.test/") == "beta.test:80"


@pytest.mark.parametrize("name", ["@request.auth.claims.group", "@request.auth.claims[a][b]"])
def test_5_18_a_claim_is_never_there_without_a_validated_token(name: str) -> None:
    assert matching(f'[{{headers: {{"{name}": {{exact: x}}}}}}]').call("http://a.test/") == "beta.test:80"
    without = matching(f'[{{withoutHeaders: {{"{name}": {{exact: x}}}}}}]')
    assert without.call("http://a.test/") == "alpha.test:80"


@pytest.mark.parametrize(
    ("rule_name", "match_name", "logged"),
    [("r", "m", "r.m"), ("r", "", "r"), ("", "m", ".m"), ("", "", "")],
)
def test_5_19_route_names(rule_name: str, match_name: str, logged: str) -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(
            f"- name: '{rule_name}'\n  match: [{{name: '{match_name}', uri: {{prefix: /a}}}}]\n"
            f"  {to('alpha.test')}"
        )
    )
    route = compiled.route("http://a.test/a")
    assert route is not None
    assert route.name == logged


def test_5_1_all_fields_of_an_entry_must_hold() -> None:
    compiled = matching(
        "[{uri: {prefix: /a}, method: {exact: GET}, headers: {x-a: {exact: b}}, "
        "withoutHeaders: {x-no: {}}, queryParams: {q: {regex: '[0-9]+'}}, scheme: {exact: http}, "
        "authority: {prefix: a.}}]"
    )
    assert compiled.call("http://a.test/a?q=1", x_a="b") == "alpha.test:80"
    assert compiled.call("http://a.test/a?q=x", x_a="b") == "beta.test:80"
    assert compiled.call("http://a.test/a?q=1", x_a="c") == "beta.test:80"
    assert compiled.call("http://a.test/a?q=1", x_a="b", x_no="") == "beta.test:80"
    assert compiled.call("http://a.test/a?q=1", method="POST", x_a="b") == "beta.test:80"
    assert compiled.call("http://a.test/a?q=1", scheme="https", x_a="b") == "beta.test:80"
    assert compiled.call("http://b.test/a?q=1", x_a="b") == "beta.test:80"
    assert compiled.call("http://a.test/b?q=1", x_a="b") == "beta.test:80"


def test_5_7_case_is_ignored_in_the_uri_alone() -> None:
    compiled = matching("[{uri: {prefix: /Ab}, ignoreUriCase: true, headers: {x-a: {exact: B}}}]")
    assert compiled.call("http://a.test/aBc", x_a="B") == "alpha.test:80"
    assert compiled.call("http://a.test/aBc", x_a="b") == "beta.test:80"


def test_every_route_says_where_it_was_written() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('alpha.test')}\n- {to('beta.test')}")
    )
    first, second = compiled.route("http://a.test/a"), compiled.route("http://a.test/b")
    assert first is not None
    assert second is not None
    assert first.source is not None
    assert second.source is not None
    assert (first.source.kind, first.source.namespace, first.source.name) == (
        "VirtualService",
        "default",
        "routes",
    )
    assert (first.source.rule, second.source.rule) == (0, 1)
    assert first.source.file == "<stdin>"
    assert second.source.line == first.source.line + 2
