"""VirtualServices (semantics 19.3 to 19.6): each fact is a row, the path says where, the message why."""

from typing import Any

import pytest

from tests.resources.checks import errors, faults, warnings

ROUTE = {"destination": {"host": "reviews.shop"}}


def service(**changes: Any) -> dict[str, Any]:
    return {"hosts": ["shop.example"], "gateways": ["edge"], "http": [{"route": [ROUTE]}], **changes}


def rule(**changes: Any) -> dict[str, Any]:
    return service(http=[{"route": [ROUTE], **changes}])


@pytest.mark.parametrize(
    "spec",
    [
        service(),
        service(gateways=["mesh", "ns/edge", "./edge", "edge.ns.svc.cluster.local"]),
        service(hosts=["*"]),
        service(hosts=["*.a.com", "b.com", "10.0.0.1"]),
        service(hosts=["outbound_.80_.v1_.a.b.svc.cluster.local"]),
        {"http": [{"route": [ROUTE]}]},
        rule(match=[{"uri": {"prefix": ""}}, {"headers": {"x-a": {}, "x-b": {"regex": "*"}}}]),
        rule(match=[{"headers": {":method": {"exact": "GET"}}, "queryParams": {"q": {}}}]),
        rule(match=[{"headers": {"@request.auth.claims[a][b]": {"exact": "c"}}}]),
        rule(headers={"request": {"set": {"Host": "a", "x": "%REQ(x-id)% 100%%"}, "remove": ["y"]}}),
        rule(headers={"response": {"set": {"x": "%START_TIME(%s)%"}}}),
        rule(retries={"attempts": 0}),
        rule(retries={"attempts": 2, "retryOn": "5xx, 503,reset", "perTryTimeout": "1s"}),
        rule(rewrite={"uri": ""}),
        rule(mirrors=[{"destination": {"host": "a"}, "percentage": {"value": 0.5}}]),
        rule(corsPolicy={"allowOrigins": [{"exact": "*"}], "allowMethods": ["*"], "maxAge": "24h"}),
        rule(fault={"delay": {"fixedDelay": "1s"}, "abort": {"grpcStatus": "UNAVAILABLE"}}),
        service(http=[{"redirect": {"uri": "/b", "redirectCode": 308}}]),
        service(http=[{"match": [{"uri": {"prefix": "/a"}}], "redirect": {"prefixRewrite": "/b"}}]),
        service(http=[{"directResponse": {"status": 200, "body": {"string": "ok"}}}]),
        service(http=[{"delegate": {"name": "a", "namespace": "b"}}]),
    ],
)
def test_good_virtual_services(spec: Any) -> None:
    assert errors("VirtualService", spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (service(http=[]), "spec: a VirtualService needs at least one of http, tls and tcp"),
        (
            service(hosts=["*"], gateways=[]),
            'spec.hosts[0]: host "*" is not allowed without a Gateway (for the mesh)',
        ),
        (
            service(hosts=["*"], gateways=["edge", "mesh"]),
            'spec.hosts[0]: host "*" is not allowed without a Gateway (for the mesh)',
        ),
        (
            service(hosts=["*.b.com", "a.b.com"]),
            'spec.hosts[1]: host "a.b.com" is already covered by "*.b.com" in this list',
        ),
        (service(hosts=["a.b", "a.b"]), 'spec.hosts[1]: host "a.b" is in the list twice'),
        (service(gateways=["*/a"]), 'spec.gateways[0]: "*/a" is not a Gateway'),
        (
            {"gateways": ["a"], "http": [{"route": [ROUTE]}]},
            "spec.gateways: a delegate (a VirtualService without hosts) cannot have gateways",
        ),
        (service(http=[{}]), "spec.http[0]: a rule needs an action"),
        (
            rule(redirect={"uri": "/"}),
            "spec.http[0].redirect: a rule can have only one action, not route and redirect",
        ),
        (
            {"http": [{"delegate": {"name": "a"}}]},
            "spec.http[0].delegate: a delegate cannot delegate again",
        ),
        (
            service(http=[{"redirect": {"uri": "/"}, "rewrite": {"uri": "/"}}]),
            "spec.http[0].rewrite: a rule with redirect cannot have rewrite",
        ),
        (
            rule(match=[{"method": {"prefix": ""}}]),
            "spec.http[0].match[0].method.prefix: an empty prefix is not allowed here",
        ),
        (
            rule(match=[{"uri": {"regex": ""}}]),
            "spec.http[0].match[0].uri.regex: a regular expression may not be empty",
        ),
        (
            rule(match=[{"uri": {"regex": "a" * 1025}}]),
            "spec.http[0].match[0].uri.regex: "
            "a regular expression may have at most 1024 characters, not 1025",
        ),
        (
            rule(match=[{"uri": {"exact": "a", "prefix": "b"}}]),
            "spec.http[0].match[0].uri: only one of exact, prefix and regex may be set, not exact and prefix",
        ),
        (
            rule(match=[{"headers": {"a b": {}}}]),
            'spec.http[0].match[0].headers["a b"]: "a b" is not a header name',
        ),
        (
            rule(match=[{"port": 70000}]),
            "spec.http[0].match[0].port: port number must be from 1 to 65535, not 70000",
        ),
        (
            rule(match=[{"sourceLabels": {"a b": "c"}}]),
            'spec.http[0].match[0].sourceLabels["a b"]: "a b" is not a label key',
        ),
        (
            rule(headers={"response": {"set": {"host": "a"}}}),
            'spec.http[0].headers.response.set.host: header "host" cannot be changed here',
        ),
        (
            rule(headers={"request": {"remove": [":authority"]}}),
            'spec.http[0].headers.request.remove[0]: header ":authority" cannot be changed here',
        ),
        (
            rule(headers={"request": {"set": {"x": "50%"}}}),
            'spec.http[0].headers.request.set.x: "50%": a single % begins a variable such as %REQ(x-id)%',
        ),
        (
            rule(headers={"request": {"add": {"x": "a\nb"}}}),
            "spec.http[0].headers.request.add.x: a header value may not contain line ends or NUL",
        ),
        (
            rule(rewrite={"authority": "a"}, headers={"request": {"set": {"host": "b"}}}),
            "spec.http[0].rewrite.authority: the authority is set twice: here and in headers.request.set",
        ),
        (
            rule(rewrite={"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}),
            "spec.http[0].rewrite.uriRegexRewrite: uri and uriRegexRewrite exclude each other",
        ),
        (rule(timeout="0s"), "spec.http[0].timeout: a duration must be at least 1ms"),
        (rule(timeout="1.0000005s"), "spec.http[0].timeout: a duration may not be finer than a millisecond"),
        (
            rule(retries={"attempts": 1, "retryOn": "5xx,gateway_error"}),
            "spec.http[0].retries.retryOn: "
            'unknown retry condition "gateway_error" (did you mean "gateway-error"?)',
        ),
        (
            rule(retries={"retryOn": "5xx"}),
            "spec.http[0].retries: a retry policy is given, but attempts is 0, which switches retries off",
        ),
        (
            rule(route=[{"destination": {"host": "*"}}]),
            'spec.http[0].route[0].destination.host: destination host "*" is not allowed',
        ),
        (
            rule(route=[{**ROUTE, "weight": -1}]),
            "spec.http[0].route[0].weight: a weight may not be negative (-1)",
        ),
        (rule(route=[ROUTE, ROUTE]), "spec.http[0].route: the weights of several destinations add up to 0"),
        (
            rule(mirror={"host": "a"}, mirrors=[{"destination": {"host": "a"}}]),
            "spec.http[0].mirrors: mirror and mirrors exclude each other",
        ),
        (rule(mirrorPercent=101), "spec.http[0].mirrorPercent: a percentage must be from 0 to 100, not 101"),
        (
            rule(mirrorPercentage={"value": 0.00001}),
            "spec.http[0].mirrorPercentage.value: 1e-05 is below the smallest percentage, 0.0001",
        ),
        (
            rule(corsPolicy={"allowMethods": ["get"]}),
            'spec.http[0].corsPolicy.allowMethods[0]: unknown method "get" (did you mean "GET"?)',
        ),
        (
            rule(corsPolicy={"maxAge": "1500ms"}),
            "spec.http[0].corsPolicy.maxAge: maxAge must be whole seconds",
        ),
        (rule(fault={}), "spec.http[0].fault: a fault needs a delay or an abort"),
        (
            rule(fault={"abort": {"httpStatus": 700}}),
            "spec.http[0].fault.abort.httpStatus: httpStatus must be from 200 to 599, not 700",
        ),
        (
            rule(fault={"abort": {"grpcStatus": "UNAVAIL"}}),
            "spec.http[0].fault.abort.grpcStatus: "
            'unknown gRPC status "UNAVAIL" (did you mean "UNAVAILABLE"?)',
        ),
        (
            service(http=[{"redirect": {"redirectCode": 200, "uri": "/"}}]),
            "spec.http[0].redirect.redirectCode: redirectCode must be from 300 to 399, not 200",
        ),
        (
            service(http=[{"redirect": {"scheme": "ftp"}}]),
            'spec.http[0].redirect.scheme: unknown scheme "ftp"',
        ),
        (
            service(http=[{"match": [{"uri": {"exact": "/a"}}], "redirect": {"prefixRewrite": "/b"}}]),
            "spec.http[0].redirect.prefixRewrite: prefixRewrite needs every uri of the rule to be a prefix",
        ),
        (
            service(http=[{"directResponse": {"status": 100}}]),
            "spec.http[0].directResponse.status: status must be from 200 to 599, not 100",
        ),
        (
            service(http=[{"directResponse": {"status": 200, "body": {"string": "x" * (1024 * 1024 + 1)}}}]),
            "spec.http[0].directResponse.body: a body may have at most 1048576 bytes, not 1048577",
        ),
        (
            service(tls=[{"match": [{"sniHosts": ["other.example"]}], "route": [ROUTE]}]),
            'spec.tls[0].match[0].sniHosts[0]: SNI host "other.example" is not covered by any host '
            "of the VirtualService",
        ),
        (service(tcp=[{"match": [{"port": 1}]}]), "spec.tcp[0]: a rule needs a route"),
        (
            service(tcp=[{"match": [{"destinationSubnets": ["10.0.0.0/33"]}], "route": [ROUTE]}]),
            'spec.tcp[0].match[0].destinationSubnets[0]: "10.0.0.0/33" is not an address or network',
        ),
        (service(exportTo=["a b"]), 'spec.exportTo[0]: "a b" is not a namespace, ".", "*" or "~"'),
    ],
)
def test_bad_virtual_services(spec: Any, expected: str) -> None:
    assert errors("VirtualService", spec) == [expected]


def test_regexes_are_checked_by_re2_itself() -> None:
    spec = rule(match=[{"uri": {"regex": "(?=a)"}}])
    assert [fault.code for fault in faults("VirtualService", spec)] == ["IST0122"]
    (message,) = errors("VirtualService", spec)
    assert message.startswith(
        'spec.http[0].match[0].uri.regex: "(?=a)" is not a regular expression in RE2 syntax'
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (rule(rewrite={"uri": ""}), "spec.http[0].rewrite: this rewrites nothing"),
        (service(exportTo=["*", "a"]), 'spec.exportTo: "*" exports to every namespace'),
        (
            service(http=[{"redirect": {"redirectCode": 304, "uri": "/"}}]),
            "spec.http[0].redirect.redirectCode: redirectCode 304 makes no redirect",
        ),
        (
            service(http=[{"directResponse": {"status": 200, "body": {"string": "x" * 102_401}}}]),
            "spec.http[0].directResponse.body: a body of 102401 bytes",
        ),
    ],
)
def test_doubtful_virtual_services(spec: Any, expected: str) -> None:
    (message,) = warnings("VirtualService", spec)
    assert message.startswith(expected)
    assert errors("VirtualService", spec) == []
