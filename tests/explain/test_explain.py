"""``explain``: which listener, host, rule and destination, why not others, what came close (product.md section 3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.explain.asked import asked
from gatewayd.explain.engine import explain
from gatewayd.explain.steps import Explanation
from gatewayd.explain.text import render
from gatewayd.http.h1.head import parser_for
from tests.compiler.support import compile_yaml

CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["shop.example", "*.wild.example"]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: 443, name: mutual, protocol: HTTPS}
    hosts: ["mutual.example"]
    tls: {mode: MUTUAL, credentialName: shop}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: strict, namespace: istio-system}
spec:
  servers:
  - {port: {number: 8000, name: http, protocol: HTTP}, hosts: ["safe.example"], tls: {httpsRedirect: true}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: ["shop.example", "mutual.example", "a.wild.example"]
  gateways: [istio-system/edge]
  http:
  - name: admin
    match: [{uri: {prefix: /admin}}]
    route: [{destination: {host: shop.local, port: {number: 8080}}}]
  - name: canary
    match: [{uri: {prefix: /api/v1/}, headers: {x-canary: {exact: "true"}}}]
    rewrite: {uri: /v1/, authority: inner.example}
    timeout: 3s
    headers: {request: {set: {x-from: "%REQ(x-canary)%"}, add: {x-more: "1"}, remove: [x-secret]}}
    route:
    - {destination: {host: shop.local, subset: v2, port: {number: 8080}}, weight: 90}
    - {destination: {host: shop.local, subset: v1, port: {number: 8080}}, weight: 10}
  - name: moved
    match: [{uri: {exact: /old}}]
    redirect: {uri: /new, redirectCode: 302}
  - name: here
    match: [{uri: {exact: /here}}]
    directResponse: {status: 201, body: {string: made}}
  - name: faulty
    match: [{uri: {exact: /faulty}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: shop.local, port: {number: 8080}}}]
  - name: sometimes
    match: [{uri: {exact: /sometimes}}]
    fault: {delay: {fixedDelay: 2s, percentage: {value: 50}}, abort: {httpStatus: 500, percentage: {value: 5}}}
    mirror: {host: shop.local, port: {number: 8080}}
    route: [{destination: {host: shop.local, port: {number: 8080}}}]
  - name: cors
    match: [{uri: {exact: /cors}}]
    corsPolicy: {allowOrigins: [{exact: "https://a.example"}], allowMethods: [GET]}
    route: [{destination: {host: shop.local, port: {number: 8080}}}]
  - name: nowhere
    match: [{uri: {exact: /nowhere}}]
    route: [{destination: {host: shop.local, subset: none, port: {number: 8080}}}]
  - name: empty
    match: [{uri: {exact: /empty}}]
    route: [{destination: {host: shop.local, subset: v3, port: {number: 8080}}}]
  - name: queries
    match:
    - {uri: {regex: "/q/[a-z]+"}, queryParams: {x: {exact: "1"}}, method: {exact: POST}}
    - {uri: {exact: /q}, withoutHeaders: {x-no: {}}}
    route: [{destination: {host: shop.local, port: {number: 8080}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: site, namespace: shop}
spec:
  hosts: ["site.example"]
  gateways: [istio-system/edge]
  http:
  - {name: only, match: [{uri: {prefix: /only-here}}], route: [{destination: {host: shop.local, port: {number: 8080}}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: safe, namespace: shop}
spec:
  hosts: ["safe.example"]
  gateways: [istio-system/strict]
  http: [{route: [{destination: {host: shop.local, port: {number: 8080}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  tcp: [{match: [{port: 9000}], route: [{destination: {host: shop.local, port: {number: 8080}}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: shop}
spec:
  hosts: [shop.local]
  location: MESH_INTERNAL
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.7, labels: {version: v2}}
  - {address: 10.0.0.9, labels: {version: v2}}
  - {address: 10.0.0.8, labels: {version: v1}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: shop}
spec:
  host: shop.local
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
"""
SNAPSHOT = compile_yaml(CONFIG).snapshot


def told(url: str, method: str = "GET", sni: str | None = None, **headers: str) -> Explanation:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return explain(SNAPSHOT.listeners, asked(url, method, pairs, sni), live=False)


def texts(explanation: Explanation, stage: str = "") -> list[str]:
    return [step.text for step in explanation.steps if step.stage.startswith(stage)]


def test_the_page_of_the_product() -> None:
    found = told("https://shop.example/api/v1/items?x=1", x_canary="true", x_secret="s")
    lines = render(found.as_json()).splitlines()
    begin = [line[:64].rstrip() for line in lines]
    assert begin[0] == "+ listener   0.0.0.0:443 HTTPS  SNI shop.example -> Gateway isti"
    assert begin[1] == "+ host       shop.example <- VirtualService shop/api (exact)"
    assert begin[2] == '- http[0] "admin"   uri prefix /admin is not a prefix of /api/v1'
    assert begin[3] == '+ http[1] "canary"  uri prefix /api/v1/, header x-canary exact "'
    assert begin[4] == "  rewrite    /api/v1/items -> /v1/items    timeout 3s    retries"
    assert begin[5] == "  headers    x-from: true, x-more: 1, without x-secret"
    assert begin[6] == "  split      v2 90 %  |  v1 10 %"
    assert begin[7] == "+ cluster    outbound|8080|v2|shop.local   LEAST_REQUEST, 2 endp"
    assert lines[-1] == "= GET /v1/items?x=1 -> one of 10.0.0.7:8080, 10.0.0.9:8080, 10.0.0.8:8080"


def test_the_shape_of_the_product() -> None:
    found: dict[str, Any] = told(
        "https://shop.example/api/v1/items?x=1", x_canary="true", x_secret="s"
    ).as_json()
    assert (found["outcome"], found["status"], found["usable"]) == ("route", 0, True)
    assert found["listener"] == {
        "port": 443,
        "protocol": "HTTPS",
        "name": "0.0.0.0_443",
        "gateway": "istio-system/edge",
        "server": "servers[1]",
    }
    assert found["virtual_host"] == "shop.example"
    route = found["route"]
    assert (route["virtual_service"], route["rule"], route["name"]) == ("shop/api", "http[1]", "canary")
    assert route["line"] > 1
    assert [(each["subset"], each["weight"], each["endpoints"]) for each in found["destinations"]] == [
        ("v2", 90, ["10.0.0.7:8080", "10.0.0.9:8080"]),
        ("v1", 10, ["10.0.0.8:8080"]),
    ]
    upstream = found["upstream"]
    assert (upstream["method"], upstream["path"], upstream["authority"]) == (
        "GET",
        "/v1/items?x=1",
        "inner.example",
    )
    assert upstream["headers_set"] == [["x-from", "true"], ["x-more", "1"]]
    assert upstream["headers_removed"] == ["x-secret"]
    assert all(set(step) == {"stage", "ok", "text", "file", "line"} for step in found["steps"])


@pytest.mark.parametrize(
    ("url", "outcome", "status", "result"),
    [
        ("http://shop.example/old", "redirect", 302, "302 http://shop.example/new"),
        ("http://shop.example/here", "direct_response", 201, "directResponse 201, 4 bytes"),
        ("http://shop.example/faulty", "direct_response", 503, "503 by fault injection"),
        ("http://shop.example/nowhere", "no_cluster", 503, "503 NC: no such destination"),
        ("http://shop.example/empty", "route", 503, "503 UH: no usable endpoint"),
        ("http://shop.example/none", "not_found", 404, "404: no rule of this host matches"),
        ("http://shp.example/", "not_found", 404, "404: no virtual host is called so"),
        ("http://shop.example:81/", "no_listener", 0, "nothing listens on port 81"),
        ("http://safe.example:8000/x", "redirect", 301, "301 https://safe.example:8000/x"),
        ("https://other.example/", "tls_reject", 0, "0.0.0.0:443 TLS has no server for SNI"),
        ("http://shop.example:443/", "tls_reject", 0, "0.0.0.0:443 TLS expects TLS"),
        ("https://shop.example:80/", "tls_reject", 0, "0.0.0.0:80 HTTP speaks plain HTTP"),
        ("http://shop.example/%00", "denied", 400, "400 path_normalization_failed"),
        ("tcp://anything:9000", "tcp", 0, "TCP -> one of 10.0.0.7:8080"),
    ],
)
def test_each_outcome(url: str, outcome: str, status: int, result: str) -> None:
    found = told(url)
    assert (found.outcome, found.status) == (outcome, status)
    assert found.result.startswith(result)


def test_2_5_6_a_host_of_another_server_than_the_connections() -> None:
    snapshot = compile_yaml(CONFIG, misdirected_request=True).snapshot
    wrong = explain(
        snapshot.listeners, asked("https://mutual.example/q", "GET", [], "shop.example"), live=False
    )
    assert (wrong.outcome, wrong.status) == ("not_found", 421)
    assert wrong.result == "421: the TLS server of the connection serves only shop.example, *.wild.example"
    right = explain(
        snapshot.listeners, asked("https://shop.example/none", "GET", [], "shop.example"), live=False
    )
    assert right.status == 404


def test_every_rule_before_says_why_it_does_not_match() -> None:
    found = told("http://shop.example/q/123?x=1", "POST")
    reasons = texts(found, "http[")
    assert reasons[0] == "uri prefix /admin is not a prefix of /q/123"
    assert reasons[2] == "uri exact /old is not /q/123"
    assert reasons[-2] == "uri regex /q/[a-z]+ does not match /q/123"
    assert reasons[-1] == "uri exact /q is not /q/123"


@pytest.mark.parametrize(
    ("url", "method", "headers", "reason"),
    [
        ("/q/abc", "POST", {}, 'query parameter x exact "1", and it is not there'),
        ("/q/abc?x=2", "POST", {}, 'query parameter x exact "1", and it is 2'),
        ("/q/abc?x=1", "GET", {}, 'method exact "POST", and it is GET'),
        ("/q", "GET", {"x-no": "here"}, "without header x-no present, and it is there"),
        ("/api/v1/", "GET", {}, 'header x-canary exact "true", and it is not there'),
        ("/api/v1/", "GET", {"x-canary": "no"}, 'header x-canary exact "true", and it is no'),
    ],
)
def test_a_condition_that_does_not_hold_says_what_it_met(
    url: str, method: str, headers: dict[str, str], reason: str
) -> None:
    found = explain(
        SNAPSHOT.listeners, asked(f"http://shop.example{url}", method, headers.items()), live=False
    )
    assert reason in texts(found, "http[")


def test_what_came_close_is_said() -> None:
    assert texts(told("http://shop.exampel/"), "near") == ['did you mean host "shop.example"?']
    assert texts(told("http://shop.example/only-here/x"), "near") == [
        "the path matches http[0] of host site.example"
    ]
    assert 'did you mean "shop.example"?' in told("https://shp.example/").result


def test_policies_on_the_way_are_said() -> None:
    found = told("http://shop.example/sometimes")
    assert texts(found, "fault") == ["delay 2s for 50 %, abort with 500 for 5 %"]
    assert texts(found, "mirror") == ["100 % are copied to outbound|8080||shop.local"]
    assert found.outcome == "route"


def test_a_preflight_is_answered_here() -> None:
    found = explain(
        SNAPSHOT.listeners,
        asked(
            "http://shop.example/cors",
            "OPTIONS",
            [("origin", "https://a.example"), ("access-control-request-method", "GET")],
        ),
    )
    assert (found.outcome, found.status, found.result) == ("direct_response", 200, "200 to a CORS preflight")
    assert texts(told("http://shop.example/cors", origin="https://b.example"), "cors") == [
        "adds nothing for this origin"
    ]


def test_a_path_is_read_as_the_proxy_reads_it() -> None:
    found = told("http://shop.example/x/../here")
    assert texts(found, "path") == ["/x/../here is read as /here"]
    assert found.outcome == "direct_response"


def test_the_host_header_counts_and_sni_does_not() -> None:
    found = told("https://shop.example/here", host="mutual.example")
    assert (found.virtual_host, found.outcome) == ("", "not_found")
    found = told("http://127.0.0.1/here", host="shop.example:8080")
    assert found.outcome == "direct_response"
    found = told("https://10.0.0.1/here", sni="shop.example", host="shop.example")
    assert found.outcome == "direct_response"


def test_a_client_certificate_that_is_wanted_is_said() -> None:
    assert texts(told("https://mutual.example/here"), "tls") == ["MUTUAL: a client certificate is required"]


def test_a_gateway_port_and_a_bound_port_lead_to_the_same_listener() -> None:
    moved = compile_yaml(CONFIG, port_map={80: 8080}).snapshot
    for url in ("http://shop.example/here", "http://shop.example:8080/here"):
        assert explain(moved.listeners, asked(url)).outcome == "direct_response"
    found = explain(moved.listeners, asked("http://shop.example/here"))
    assert found.steps[0].text.startswith("0.0.0.0:8080 HTTP (Gateway port 80)")


def test_many_rules_are_counted_not_listed() -> None:
    rules = "".join(
        f"\n  - {{match: [{{uri: {{exact: /r{n}}}}}], directResponse: {{status: 200}}}}" for n in range(150)
    )
    many = compile_yaml(
        f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec: {{servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: many}}
spec:
  hosts: ["many.example"]
  gateways: [istio-system/edge]
  http:{rules}
"""
    ).snapshot
    found = explain(many.listeners, asked("http://many.example/none"))
    assert len(texts(found, "http[")) == 100
    assert texts(found, "rules") == ["and 50 more that do not match"]
    assert explain(many.listeners, asked("http://many.example/r149")).outcome == "direct_response"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a/",
        "http://",
        "http://a:0/",
        "http://a:99999/",
        "http://a b/",
        "http://a/\u00e9",
        "//a",
        "[::1",
    ],
)
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|cannot be explained|must be written|not a URL"):
        asked(url)


@pytest.mark.parametrize(
    ("url", "port", "authority", "sni", "target"),
    [
        ("shop.example", 80, "shop.example", "shop.example", "/"),
        ("https://Shop.Example:8443?x", 8443, "Shop.Example:8443", "shop.example", "/?x"),
        ("http://user:pass@a.test/p#frag", 80, "a.test", "a.test", "/p"),
        ("https://[::1]:9/x", 9, "[::1]:9", "", "/x"),
        ("https://10.0.0.1/", 443, "10.0.0.1", "", "/"),
    ],
)
def test_a_url_is_what_a_client_makes_of_it(
    url: str, port: int, authority: str, sni: str, target: str
) -> None:
    found = asked(url)
    assert (found.port, found.authority, found.sni, found.target) == (port, authority, sni, target)


PATHS = st.sampled_from(
    [
        "/",
        "/admin",
        "/admin/x",
        "/api/v1/a",
        "/old",
        "/here",
        "/faulty",
        "/nowhere",
        "/empty",
        "/q",
        "/q/ab",
        "/%2e/x",
    ]
)


@given(
    PATHS,
    st.sampled_from(["shop.example", "site.example", "a.wild.example", "none.example"]),
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    st.sampled_from([{}, {"x-canary": "true"}, {"x-no": "1"}]),
)
def test_explain_has_no_opinion_of_its_own(
    path: str, host: str, method: str, headers: dict[str, str]
) -> None:
    """Whatever is asked, the rule is the one that the proxy's own table gives for the same bytes."""
    question = asked(f"http://{host}{path}?x=1", method, headers.items())
    (listener,) = (spec for spec in SNAPSHOT.listeners if spec.port == 80)
    (chain,) = listener.chains
    assert chain.routes is not None
    assert chain.options is not None
    parsed = parser_for(chain.options).parse(question.head)
    assert parsed.head is not None
    _, route = chain.routes.lookup(parsed.head)
    found = explain(SNAPSHOT.listeners, question)
    if route is None:
        assert found.outcome == "not_found"
    else:
        assert route.source is not None
        assert (found.route["rule"], found.route["name"]) == (f"http[{route.source.rule}]", route.name)
