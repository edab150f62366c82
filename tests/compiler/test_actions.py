"""What a rule does: semantics 6.2.4 to 6.2.8, 6.3 to 6.7, 14.3.5."""

from __future__ import annotations

import pytest

from gatewayd.http.message import Pair
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.routing.route import DEFAULT_RETRY, PathMatched, RetryPolicy, Route
from tests.compiler.support import BASE, Compiled, compile_yaml, to, virtual_service


def one(rule: str, **options: object) -> Compiled:
    """A VirtualService with one rule."""
    return compile_yaml(BASE + virtual_service(rule), **options)


def route(rule: str, path: str = "/", **options: object) -> Route:
    found = one(rule, **options).route(f"http://shop.test{path}")
    assert found is not None
    return found


def applied(ops: object, *pairs: Pair) -> list[Pair]:
    info = StreamInfo()
    return ops.apply(list(pairs), info)  # type: ignore[attr-defined, no-any-return]


# -- headers -------------------------------------------------------------------------------------------


def test_6_2_4_with_one_destination_the_destinations_set_wins() -> None:
    made = route(
        "- headers: {request: {set: {x-a: rule, x-r: rule}, add: {x-n: rule}}}\n"
        "  route:\n"
        "  - {destination: {host: alpha.test}, headers: {request: {set: {x-a: dest}, add: {x-n: dest}}}}"
    )
    pairs = applied(made.destinations[0].request_ops, (b"x-a", b"client"))
    assert sorted(pairs) == [(b"x-a", b"dest"), (b"x-n", b"dest"), (b"x-n", b"rule"), (b"x-r", b"rule")]


def test_6_2_5_with_several_destinations_the_rules_set_wins() -> None:
    made = route(
        "- headers: {request: {set: {x-a: rule}}, response: {set: {x-b: rule}}}\n"
        "  route:\n"
        "  - {destination: {host: alpha.test}, weight: 1, headers: {request: {set: {x-a: d, x-d: d}}}}\n"
        "  - {destination: {host: beta.test}, weight: 1}"
    )
    first, second = made.destinations
    assert sorted(applied(first.request_ops)) == [(b"x-a", b"rule"), (b"x-d", b"d")]
    assert applied(second.request_ops) == [(b"x-a", b"rule")]
    assert applied(second.response_ops, (b"x-b", b"upstream")) == [(b"x-b", b"rule")]


@pytest.mark.parametrize(
    ("rule", "authority"),
    [
        (f"- {to('alpha.test')}", None),
        (f"- rewrite: {{authority: w.test}}\n  {to('alpha.test')}", b"w.test"),
        (f"- headers: {{request: {{set: {{':authority': r.test}}}}}}\n  {to('alpha.test')}", b"r.test"),
        (f"- headers: {{request: {{add: {{Host: r.test}}}}}}\n  {to('alpha.test')}", b"r.test"),
        (
            f"- headers: {{request: {{add: {{host: a.test}}, set: {{host: s.test}}}}}}\n  {to('alpha.test')}",
            b"s.test",
        ),
        (
            "- route: [{destination: {host: alpha.test}, headers: {request: {set: {host: d.test}}}}]",
            b"d.test",
        ),
        # 6.2.7: the rule wins over the destination, also with a single one
        (
            "- headers: {request: {set: {host: r.test}}}\n"
            "  route: [{destination: {host: alpha.test}, headers: {request: {set: {host: d.test}}}}]",
            b"r.test",
        ),
        (
            "- rewrite: {authority: w.test}\n"
            "  route: [{destination: {host: alpha.test}, headers: {request: {set: {host: d.test}}}}]",
            b"w.test",
        ),
    ],
)
def test_6_2_6_6_2_7_the_upstream_authority(rule: str, authority: bytes | None) -> None:
    made = route(rule)
    assert made.destinations[0].authority == authority
    assert made.destinations[0].request_ops is None  # Host is no header operation


def test_6_2_7_several_destinations_may_have_an_authority_each() -> None:
    made = route(
        "- route:\n"
        "  - {destination: {host: alpha.test}, weight: 1, headers: {request: {set: {host: a.test}}}}\n"
        "  - {destination: {host: beta.test}, weight: 1}"
    )
    assert [d.authority for d in made.destinations] == [b"a.test", None]


def test_6_2_8_response_operations_reach_redirects_and_direct_responses() -> None:
    for action in ("redirect: {uri: /n}", "directResponse: {status: 200}"):
        made = route(f"- headers: {{response: {{set: {{x-a: b}}}}}}\n  {action}")
        assert applied(made.response_ops) == [(b"x-a", b"b")]


def test_6_2_3_a_value_envoy_would_refuse_sets_its_virtual_service_aside_alone() -> None:
    compiled = compile_yaml(
        BASE
        + virtual_service(
            f"- headers: {{request: {{set: {{x-a: '%NO_SUCH_VARIABLE%'}}}}}}\n  {to('alpha.test')}",
            name="broken",
            hosts="[a.test]",
        )
        + "---"
        + virtual_service(f"- {to('beta.test')}", name="fine", hosts="[b.test]")
    )
    assert compiled.call("http://a.test/") == "404"
    assert compiled.call("http://b.test/") == "beta.test:80"
    assert compiled.snapshot.set_aside == ("VirtualService default/broken",)
    (finding,) = compiled.findings("GWD0104")
    assert finding.startswith(
        "error VirtualService default/broken spec.http[0].headers: VirtualService default/broken is not "
        "served: the value of header 'x-a'"
    )


# -- rewrite, redirect, direct response ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "path", "sent"),
    [
        ("{uri: {prefix: /a}}", b"/a/x", b"/new/x"),
        ("{uri: {exact: /a}}", b"/a", b"/new"),
        ("{uri: {regex: '/a.*'}}", b"/abc", b"/new"),
        ("{method: {exact: GET}}", b"/a/x", b"/newa/x"),
        ("{uri: {prefix: ''}}", b"/a", b"/new/a"),
    ],
)
def test_6_3_1_what_was_matched_is_replaced(match: str, path: bytes, sent: bytes) -> None:
    made = route(f"- match: [{match}]\n  rewrite: {{uri: /new}}\n  {to('alpha.test')}", path.decode())
    assert made.rewrite is not None
    assert made.rewrite(path, b"q=1") == sent + b"?q=1"


def test_6_3_3_regex_rewrite() -> None:
    made = route(
        "- rewrite: {uriRegexRewrite: {match: '/(a+)/', rewrite: '/<\\1>/'}}\n  " + to("alpha.test"), "/aa/b"
    )
    assert made.rewrite is not None
    assert made.rewrite(b"/aa/b", None) == b"/<aa>/b"


def test_6_3_1_a_rule_without_rewrite_has_none() -> None:
    assert route(f"- {to('alpha.test')}").rewrite is None


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ("{uri: /n}", (301, None, None, None, b"/n")),
        ("{redirectCode: 308, authority: o.test}", (308, None, b"o.test", None, None)),
        ("{scheme: https, port: 8443}", (301, b"https", None, 8443, None)),
        ("{derivePort: FROM_REQUEST_PORT}", (301, None, None, 80, None)),
        ("{derivePort: FROM_PROTOCOL_DEFAULT, uri: /n}", (301, None, None, None, b"/n")),
    ],
)
def test_6_4_redirects(redirect: str, expected: tuple[object, ...]) -> None:
    made = route(f"- redirect: {redirect}").redirect
    assert made is not None
    assert (made.status, made.scheme, made.authority, made.port, made.uri) == expected


def test_6_4_5_prefix_rewrite_knows_what_was_matched() -> None:
    made = route("- match: [{uri: {prefix: /old/}}]\n  redirect: {prefixRewrite: /new/}", "/old/x")
    assert made.redirect is not None
    assert made.redirect.prefix_rewrite == b"/new/"
    assert made.path_matched == PathMatched("prefix", b"/old/")


@pytest.mark.parametrize(
    ("body", "sent"), [("{string: 'a%%b'}", b"a%%b"), ("{bytes: aGk=}", b"hi"), ("{string: ''}", b"")]
)
def test_6_5_direct_responses(body: str, sent: bytes) -> None:
    made = route(f"- directResponse: {{status: 503, body: {body}}}").direct
    assert made is not None
    assert (made.status, made.body) == (503, sent)


# -- timeout and retries -------------------------------------------------------------------------------


def test_6_6_1_no_timeout_means_none() -> None:
    assert route(f"- {to('alpha.test')}").timeout_s == 0.0
    assert route(f"- timeout: 1500ms\n  {to('alpha.test')}").timeout_s == 1.5


def test_6_7_1_every_route_retries_by_default() -> None:
    assert route(f"- {to('alpha.test')}").retry is DEFAULT_RETRY


@pytest.mark.parametrize(
    ("retries", "policy"),
    [
        ("{attempts: 0}", None),  # 6.7.2
        ("{attempts: 3}", RetryPolicy(attempts=3)),
        ("{attempts: 3, retryOn: ''}", RetryPolicy(attempts=3)),  # 6.7.3
        (
            "{attempts: 1, retryOn: '5xx, reset'}",
            RetryPolicy(attempts=1, retry_on=frozenset({"5xx", "reset"})),
        ),
        (
            "{attempts: 1, retryOn: 'connect-failure,503,429'}",
            RetryPolicy(
                attempts=1,
                retry_on=frozenset({"connect-failure", "retriable-status-codes"}),
                status_codes=frozenset({503, 429}),
            ),
        ),
        ("{attempts: 2, perTryTimeout: 250ms}", RetryPolicy(per_try_timeout_s=0.25)),  # 6.7.4
        ("{attempts: 2, backoff: 1s}", RetryPolicy(base_interval_s=1.0)),
        ("{attempts: 2, retryIgnorePreviousHosts: false}", RetryPolicy(ignore_previous_hosts=False)),
    ],
)
def test_6_7_2_to_6_7_6_retries(retries: str, policy: RetryPolicy | None) -> None:
    assert route(f"- retries: {retries}\n  {to('alpha.test')}").retry == policy


# -- x-envoy-decorator-operation -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "path", "operation"),
    [
        ("", "/", b"alpha.test:80/*"),
        ("match: [{uri: {exact: /e}}]", "/e", b"alpha.test:80/e"),
        ("match: [{uri: {prefix: /p}}]", "/p/x", b"alpha.test:80/p*"),
        ("match: [{uri: {prefix: ''}}]", "/p/x", b"alpha.test:80*"),
        ("match: [{uri: {regex: '/r/[0-9]+'}}]", "/r/1", b"alpha.test:80/r/[0-9]+"),
        ("match: [{uri: {exact: /Ic}, ignoreUriCase: true}]", "/IC", b"alpha.test:80/Ic"),
        ("match: [{method: {exact: GET}}]", "/x", b"alpha.test:80/*"),
    ],
)
def test_14_3_5_the_operation_names_the_destination_and_the_uri(
    match: str, path: str, operation: bytes
) -> None:
    rule = f"- {match}\n  {to('alpha.test')}" if match else f"- {to('alpha.test')}"
    assert route(rule, path).decorator == operation


def test_14_3_5_several_destinations_are_named_after_the_virtual_service() -> None:
    made = route(
        "- match: [{uri: {prefix: /w}}]\n  route:\n  - {destination: {host: alpha.test}, weight: 1}\n"
        "  - {destination: {host: beta.test}, weight: 1}",
        "/w",
    )
    assert made.decorator == b"routes:80/w*"


# -- lean routes ---------------------------------------------------------------------------------------


def test_equal_things_are_one_object() -> None:
    compiled = compile_yaml(
        BASE
        + "---".join(
            virtual_service(
                f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('alpha.test')}", name=name, hosts=f"[{name}.test]"
            )
            for name in ("x", "y")
        )
    )
    first, second = compiled.route("http://x.test/a"), compiled.route("http://y.test/a")
    assert first is not None
    assert second is not None
    assert first is not second
    assert first.destinations is second.destinations
    assert first.path_matched is second.path_matched
    assert first.decorator is second.decorator
    assert first.retry is second.retry
    assert first.plain


# -- statistics --------------------------------------------------------------------------------------------


def test_18_7_statistics_are_kept_by_host_port_and_prefix() -> None:
    rule = f"""- match:
  - {{uri: {{prefix: /a}}, statPrefix: my.a}}
  - {{uri: {{prefix: /b}}}}
  {to("alpha.test")}"""
    made = compile_yaml(BASE + virtual_service(rule, hosts='["*.shop.test", Other.test]'))

    def statistics(url: str) -> str:
        found = made.route(url)
        assert found is not None
        return found.statistics

    assert statistics("http://x.shop.test/a") == "vhost.*.shop.test:80.route.my.a"
    assert statistics("http://other.test/a") == "vhost.other.test:80.route.my.a"
    assert statistics("http://other.test/b") == ""


def test_18_7_a_table_tells_whether_anything_is_counted() -> None:
    def counted(match: str) -> list[bool]:
        rule = f"- match: [{{uri: {{prefix: /a}}{match}}}]\n  {to('alpha.test')}"
        tables = [
            chain.routes
            for listener in one(rule).snapshot.listeners
            for chain in listener.chains
            if chain.routes is not None
        ]
        return [table.counted for table in tables]

    assert counted(", statPrefix: a") == [True]
    assert counted("") == [False]
