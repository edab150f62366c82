"""Configuration in, calls out: which cluster, redirect or status each request meets.

The answer to a call is one line: ``alpha.test:80`` for a cluster (``alpha.test:80 v1`` with a subset),
``301 https``, ``200 direct``, ``404``, ``503 NC``, ``503 UH``; weighted destinations are joined by `` | ``. A
connection to a TLS or TCP port is answered alike, ``refused`` when nothing listens and ``no chain`` when its
ClientHello meets none; one that HTTP follows is answered with the name of its filter chain.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.findings import Finding
from gatewayd.http.message import Fields, RequestHead
from gatewayd.listeners.filter_chains import ChainIndex
from gatewayd.routing.route import DIRECT_RESPONSE, REDIRECT, Destination, Route
from gatewayd.routing.table import RouteTable
from gatewayd.snapshot import FilterChain, ListenerSpec, Snapshot
from gatewayd.sources import load
from gatewayd.tls.spec import ServerTlsSpec
from gatewayd.upstream.spec import ClusterSpec

#: The Gateway most tests use: plain HTTP on port 80, every host.
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
"""


def entry(host: str, port: int = 80, namespace: str = "default", name: str = "") -> str:
    """A ServiceEntry with one endpoint."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name or host.partition(".")[0]}, namespace: {namespace}}}
spec:
  hosts: [{host}]
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.1, ports: {{http: 8080}}}}]
"""


#: Services whose names say only that they are not each other.
SERVICES = "---".join(entry(f"{name}.test") for name in ("alpha", "beta", "gamma", "delta"))
BASE = f"{EDGE}---{SERVICES}---"


def routes_of(listener: ListenerSpec) -> RouteTable:
    """The route table of the one HTTP chain of ``listener``."""
    (chain,) = listener.chains
    assert chain.routes is not None
    return chain.routes


@dataclass(frozen=True)
class Compiled:
    """A snapshot, and short ways to ask it."""

    snapshot: Snapshot
    load_findings: tuple[Finding, ...]

    def listener(self, port: int = 80) -> ListenerSpec | None:
        """The listener that binds ``port``."""
        for listener in self.snapshot.listeners:
            if any(bound == port for _, bound in listener.bind):
                return listener
        return None

    def chain(self, port: int, sni: str = "", alpn: tuple[str, ...] = ()) -> FilterChain | None:
        """The filter chain that takes a connection to ``port``; LookupError when nothing listens."""
        listener = self.listener(port)
        if listener is None:
            raise LookupError(f"nothing listens on port {port}")
        found: FilterChain | None = ChainIndex(listener.chains).choose(sni.lower(), alpn)
        return found

    def connect(self, port: int, sni: str = "", alpn: tuple[str, ...] = ()) -> str:
        """What a connection meets, in one line."""
        if self.listener(port) is None:
            return "refused"
        chain = self.chain(port, sni, alpn)
        if chain is None:
            return "no chain"
        if chain.tcp is None:
            return chain.name
        return " | ".join(map(_outcome, chain.tcp.destinations))

    def tls(self, port: int, sni: str = "") -> ServerTlsSpec:
        """What ends TLS for ``sni``."""
        chain = self.chain(port, sni)
        assert chain is not None
        assert isinstance(chain.tls.spec, ServerTlsSpec)
        return chain.tls.spec

    def route(
        self, url: str, method: str = "GET", scheme: str = "http", sni: str | None = None, **headers: str
    ) -> Route | None:
        """The route of a request to ``url``; header names are written with ``_`` for ``-``.

        With ``https`` in the URL it comes by TLS, with the URL's host as SNI unless ``sni`` is given.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        chain = self.chain(port_of(url), (host if sni is None else sni) if secure else "")
        if chain is None:
            raise LookupError(f"no filter chain takes {url}")
        assert chain.routes is not None
        assert chain.options is not None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        pairs = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
        came_by = chain.options.scheme if secure else scheme.encode()
        head = RequestHead(method.encode(), target.encode(), host.encode(), came_by, Fields(pairs))
        return chain.routes.lookup(head)[1]

    def call(
        self, url: str, method: str = "GET", scheme: str = "http", sni: str | None = None, **headers: str
    ) -> str:
        """What a request meets, in one line; ``refused`` when nothing listens."""
        if self.listener(port_of(url)) is None:
            return "refused"
        route = self.route(url, method, scheme, sni, **headers)
        if route is None:
            return "404"
        if route.action == REDIRECT:
            assert route.redirect is not None
            return f"{route.redirect.status} {(route.redirect.scheme or b'').decode()}".rstrip()
        if route.action == DIRECT_RESPONSE:
            assert route.direct is not None
            return f"{route.direct.status} direct"
        return " | ".join(map(_outcome, route.destinations))

    def cluster(self, name: str) -> ClusterSpec:
        """A cluster by its Istio name."""
        return self.snapshot.clusters[name]

    def endpoints(self, name: str) -> list[str]:
        """``address:port`` of the usable endpoints of a cluster."""
        return [f"{e.address}:{e.port}" for e in self.cluster(name).endpoints if e.ready]

    def findings(self, code: str = "") -> list[str]:
        """``level kind namespace/name path: message`` of the compiler's findings, of one code."""
        return [
            " ".join(filter(None, (f.level, f.object, f.path))) + f": {f.message}"
            for f in self.snapshot.findings
            if not code or f.code == code
        ]


def port_of(url: str) -> int:
    """The port a URL means."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _outcome(destination: Destination) -> str:
    spec = destination.cluster
    if spec is None:
        return "503 NC"
    assert isinstance(spec, ClusterSpec)
    assert spec.name == destination.cluster_name
    if not any(endpoint.ready for endpoint in spec.endpoints):
        return "503 UH"
    return f"{spec.host}:{spec.port} {spec.subset}".rstrip()


def compile_yaml(text: str, **options: Any) -> Compiled:
    """Load and compile ``text``; unknown hosts are rejected as in Istio unless told otherwise."""
    loaded = load(["-"], io.BytesIO(text.encode()))
    wrong = [str(finding) for finding in loaded.findings if finding.level == "error"]
    assert not wrong, "\n".join(wrong)
    options.setdefault("unknown_hosts", "reject")
    load_tls = {"server_tls": options.pop("server_tls")} if "server_tls" in options else {}
    snapshot = compile_snapshot(
        loaded.resources, CompileOptions(**options), adopt=lambda spec: spec, **load_tls
    )
    return Compiled(snapshot, tuple(loaded.findings))


def gateway(
    name: str, *servers: str, selector: str = "{}", namespace: str = "istio-system", metadata: str = ""
) -> str:
    """A Gateway; each server is one line of YAML, such as :func:`server` makes."""
    listed = "\n".join(f"  - {server}" for server in servers)
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}{metadata}}}
spec:
  selector: {selector}
  servers:
{listed}
"""


def server(
    port: int, protocol: str, hosts: str = '["*"]', tls: str = "", name: str = "", more: str = ""
) -> str:
    """One server of a Gateway, in flow style; ``tls`` is what stands between its braces."""
    block = f", tls: {{{tls}}}" if tls else ""
    named = name or f"p{port}"
    return f"{{port: {{number: {port}, name: {named}, protocol: {protocol}}}, hosts: {hosts}{block}{more}}}"


def virtual_service(
    http: str,
    *,
    name: str = "routes",
    namespace: str = "default",
    hosts: str = '["*"]',
    gateways: str = "[istio-system/edge]",
    metadata: str = "",
    more: str = "",
    block: str = "http",
) -> str:
    """A VirtualService; ``http`` is the YAML list of its rules, indented by nothing, or those of another block."""
    rules = "\n".join("  " + line for line in http.strip("\n").splitlines())
    head = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}{metadata}}}
spec:
"""
    if hosts:
        head += f"  hosts: {hosts}\n"
    if gateways:
        head += f"  gateways: {gateways}\n"
    return f"{head}{more}  {block}:\n{rules}\n"


def to(host: str, **rest: str) -> str:
    """A rule's ``route`` with one destination, in flow style."""
    more = "".join(f", {key}: {value}" for key, value in rest.items())
    return f"route: [{{destination: {{host: {host}{more}}}}}]"
