"""A configuration in which much of what there is occurs, for tests that look at all of it through the admin port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.admin.gateway import Gateway, gateway, upstream
from tests.tls.material import authority, leaf, write, write_pair

#: A small one: one rule with what is put in its place.
_ONE_RULE = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: site, namespace: shop}
spec:
  hosts: ["site.test"]
  gateways: [istio-system/edge]
  http: [{name: only, ANSWER: {status: 200, body: {string: WORD}}}]
"""


def one_rule(word: str = "one", answer: str = "directResponse") -> str:
    """The small one, which says ``word``; another ``answer`` than this is no field."""
    return _ONE_RULE.replace("WORD", word).replace("ANSWER", answer)


EDGE = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["shop.test"]
    tls: {mode: SIMPLE, credentialName: shop-cert, minProtocolVersion: TLSV1_2}
  - port: {number: 443, name: mutual, protocol: HTTPS}
    hosts: ["mutual.test"]
    tls: {mode: MUTUAL, credentialName: mutual-cert}
  - port: {number: 443, name: through, protocol: TLS}
    hosts: ["through.test"]
    tls: {mode: PASSTHROUGH}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}
"""
SHOP = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: ["shop.test", "*.shop.test"]
  gateways: [istio-system/edge]
  http:
  - name: hello
    match: [{uri: {exact: /hello}}]
    directResponse: {status: 200, body: {string: hello}}
  - name: teapot
    match: [{uri: {prefix: /teapot}, headers: {x-tea: {regex: "gr.*n"}}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - name: moved
    match: [{uri: {prefix: /old/}}]
    redirect: {uri: /new, authority: new.test, redirectCode: 302}
  - name: port
    match: [{uri: {exact: /port}}]
    redirect: {scheme: https, port: 8443, redirectCode: 308}
  - name: items
    match:
    - {uri: {prefix: /api/}, method: {exact: GET}, queryParams: {x: {exact: "1"}}}
    - {uri: {regex: "/api/[0-9]+"}, ignoreUriCase: false, withoutHeaders: {x-old: {}}}
    rewrite: {uri: /v1/, authority: inner.test}
    timeout: 3s
    retries: {attempts: 1, perTryTimeout: 1s, retryOn: "5xx,connect-failure"}
    headers:
      request: {set: {x-set: "yes"}, add: {x-add: "1"}, remove: [x-gone]}
      response: {set: {x-answer: "%REQ(x-set)%"}, remove: [x-secret]}
    corsPolicy:
      allowOrigins: [{exact: "https://a.test"}, {regex: "https://.*[.]b[.]test"}]
      allowMethods: [GET, POST]
      maxAge: 1h
    route: [{destination: {host: items.test}}]
  - name: regex
    match: [{uri: {prefix: /regex}}]
    rewrite: {uriRegexRewrite: {match: "^/regex/([a-z]+)$", rewrite: "/r/\\\\1"}}
    route: [{destination: {host: items.test}}]
  - name: faulty
    match: [{uri: {prefix: /faulty}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
    route: [{destination: {host: items.test}}]
  - name: split
    match: [{uri: {prefix: /split}}]
    mirror: {host: copies.test}
    mirrorPercentage: {value: 50}
    route:
    - {destination: {host: items.test, subset: v1}, weight: 90, headers: {request: {set: {x-v: one}}}}
    - {destination: {host: items.test, subset: v2}, weight: 10}
  - name: nowhere
    match: [{uri: {exact: /nowhere}}]
    route: [{destination: {host: items.test, subset: nope}}]
  - name: secure
    match: [{uri: {prefix: /secure}}]
    route: [{destination: {host: secure.test, port: {number: 443}}}]
"""
REST = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: site, namespace: shop}
spec:
  hosts: ["site.test"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {prefix: /}, authority: {prefix: site}}]
    route: [{destination: {host: site.test}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mutual, namespace: shop}
spec:
  hosts: ["mutual.test"]
  gateways: [istio-system/edge]
  http:
  - {match: [{uri: {prefix: /streams}}], route: [{destination: {host: streams.test}}]}
  - {match: [{uri: {prefix: /either}}], route: [{destination: {host: either.test}}]}
  - {route: [{destination: {host: items.test}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: through, namespace: shop}
spec:
  hosts: ["through.test"]
  gateways: [istio-system/edge]
  tls: [{match: [{port: 443, sniHosts: [through.test]}], route: [{destination: {host: items.test}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  tcp: [{match: [{port: 9000}], route: [{destination: {host: items.test}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: items, namespace: shop}
spec:
  host: items.test
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user}}
    connectionPool: {tcp: {maxConnections: 100, connectTimeout: 2s}, http: {http1MaxPendingRequests: 7}}
    outlierDetection: {consecutive5xxErrors: 3, interval: 5s, baseEjectionTime: 20s}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secure, namespace: shop}
spec:
  host: secure.test
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    tls: {mode: SIMPLE, sni: secure.test, insecureSkipVerify: true}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: streams, namespace: shop}
spec:
  host: streams.test
  trafficPolicy:
    connectionPool:
      http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 50, http2KeepAlive: {interval: 30s, timeout: 5s}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: either, namespace: shop}
spec: {host: either.test, trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}}
"""


def entry(host: str, addresses: list[tuple[int, str]], port: int = 80, resolution: str = "STATIC") -> str:
    """A ServiceEntry whose endpoints are on the loopback: (port, version)."""
    name, protocol = ("https", "HTTPS") if port == 443 else ("http", "HTTP")
    endpoints = "".join(
        f"\n  - {{address: 127.0.0.1, ports: {{{name}: {number}}}, labels: {{version: {version}}}, "
        "locality: north/a}"
        for number, version in addresses
    )
    return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host.replace(".", "-")}, namespace: shop}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  ports: [{{number: {port}, name: {name}, protocol: {protocol}}}]
  resolution: {resolution}
  endpoints:{endpoints}
"""


def write_site(folder: Path, items: int, site: int) -> list[str]:
    """Its documents in ``folder``, upstreams at those ports; the flags that ``run`` needs beside."""
    services = "".join(
        [
            entry("items.test", [(items, "v1")]),
            entry("site.test", [(site, "v1")]),
            entry("copies.test", [(items, "v1")]),
            entry("secure.test", [(items, "v1")], 443),
            entry("streams.test", [(items, "v1")]),
            entry("either.test", [(items, "v1")]),
        ]
    )
    conf = folder / "conf"
    conf.mkdir()
    for name, text in (("edge", EDGE), ("shop", SHOP), ("rest", REST + services)):
        (conf / f"{name}.yaml").write_text(text)
    # Half a day more: who is asked a moment later says as many days.
    write_pair(folder / "secrets" / "shop-cert", leaf("shop.test", days=90.5))
    mutual = write_pair(folder / "secrets" / "mutual-cert", leaf("mutual.test", days=90.5))
    write(mutual, ca_crt=authority().certificate)
    return [str(conf), "--secrets", str(folder / "secrets")]


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[Gateway]:
    """It, served."""
    with upstream("items") as items, upstream("site") as other:
        words = write_site(folder, items.server_port, other.server_port)
        with gateway(folder, *words, listen=(80, 443, 9000)) as running:
            yield running
