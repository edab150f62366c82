"""A site as Istio YAML: Gateway, ServiceEntry and one VirtualService per host, in files under 4 MiB."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.macro.site import TENANT_HEADER, Pair, Rule, Site, VirtualHost

FILE_BYTES = 3 * 1024 * 1024
SERVERS_PER_GATEWAY = 500

_GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: {name}
  namespace: istio-system
spec:
  servers:
"""

_HTTP = """\
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
"""

_HTTPS = """\
  - port:
      number: 443
      name: https-{index}
      protocol: HTTPS
    hosts:
    - "{host}"
    tls:
      mode: SIMPLE
      serverCertificate: {certificate}
      privateKey: {private_key}
"""

_UPSTREAM = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: upstream
  namespace: istio-system
spec:
  hosts:
  - upstream.test
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - number: 80
    name: main
    protocol: {protocol}
    targetPort: {port}
  endpoints:
  - address: 127.0.0.1
"""

_VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: vs-{index:05}
  namespace: istio-system
spec:
  hosts:
  - "{host}"
  gateways:
  - {gateway}
  http:
"""

_ROUTE = """\
    route:
    - destination:
        host: upstream.test
        port:
          number: 80
"""


def rule_yaml(rule: Rule) -> str:
    """One entry of `spec.http`."""
    kind = "prefix" if rule.kind == "header" else rule.kind
    match = f'  - match:\n    - uri:\n        {kind}: "{rule.path}"\n'
    if rule.kind == "header":
        match += f'      headers:\n        {TENANT_HEADER}:\n          exact: "{rule.tenant}"\n'
    return match + _ROUTE


def _upstream(site: Site) -> str:
    return _UPSTREAM.format(port=site.upstream_port, protocol="HTTP2" if site.upstream_http2 else "HTTP")


def gateway_of(site: Site, index: int) -> str:
    """The Gateway that host number `index` is bound to: HTTPS servers come so many to a document."""
    return f"bench-{index // SERVERS_PER_GATEWAY}" if site.tls and site.by_name else "bench"


def https_yaml(index: int, host: str, pair: Pair) -> str:
    """One HTTPS server of a Gateway."""
    return _HTTPS.format(index=index, host=host, certificate=pair.certificate, private_key=pair.private_key)


def gateways(site: Site) -> Iterator[str]:
    """One Gateway for a plain site; for HTTPS as many as the servers need."""
    if not site.tls:
        yield _GATEWAY.format(name="bench") + _HTTP
        return
    for start in range(0, len(site.hosts), SERVERS_PER_GATEWAY):
        part = site.hosts[start : start + SERVERS_PER_GATEWAY]
        yield _GATEWAY.format(name=gateway_of(site, start)) + "".join(
            https_yaml(index, host.host if site.by_name else "*", host.certificate)
            for index, host in enumerate(part, start)
            if host.certificate
        )


def virtual_service_yaml(index: int, host: VirtualHost, gateway: str = "bench") -> str:
    """The VirtualService document of one host."""
    head = _VIRTUAL_SERVICE.format(index=index, host=host.host, gateway=gateway)
    return head + "".join(map(rule_yaml, host.rules))


def documents(site: Site) -> Iterator[str]:
    """The Gateway with the ServiceEntry, more Gateways, one VirtualService per host, what the site adds."""
    first, *more = gateways(site)
    yield first + "---\n" + _upstream(site)
    yield from more
    for index, host in enumerate(site.hosts):
        yield virtual_service_yaml(index, host, gateway_of(site, index))
    yield from site.istio


def write_site(site: Site, folder: Path) -> None:
    """Write the documents to `folder` as the layout has it; packed: files end when they grow beyond `FILE_BYTES`."""
    folder.mkdir(parents=True, exist_ok=True)
    if site.layout == "one":
        # A file may have ten thousand documents, which are the hosts'.
        first, *rest = documents(site)
        (folder / "gateway.yaml").write_text(first)
        (folder / "site.yaml").write_text("---\n".join(rest))
        return
    most = FILE_BYTES if site.layout == "packed" else 0
    part: list[str] = []
    size = number = 0
    for document in documents(site):
        part.append(document)
        size += len(document)
        if size > most:
            (folder / f"site-{number:05}.yaml").write_text("---\n".join(part))
            part, size, number = [], 0, number + 1
    if part:
        (folder / f"site-{number:05}.yaml").write_text("---\n".join(part))
