"""A site as Istio YAML: Gateway, ServiceEntry and one VirtualService per host, in files under 4 MiB."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.macro.site import TENANT_HEADER, Rule, Site, VirtualHost

FILE_BYTES = 3 * 1024 * 1024

_BASE = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: bench
  namespace: istio-system
spec:
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
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
    name: http
    protocol: HTTP
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
  - bench
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


def virtual_service_yaml(index: int, host: VirtualHost) -> str:
    """The VirtualService document of one host."""
    return _VIRTUAL_SERVICE.format(index=index, host=host.host) + "".join(map(rule_yaml, host.rules))


def documents(site: Site) -> Iterator[str]:
    """The Gateway with the ServiceEntry, one VirtualService per host, and what the site adds."""
    yield _BASE.format(port=site.upstream_port)
    for index, host in enumerate(site.hosts):
        yield virtual_service_yaml(index, host)
    yield from site.istio


def write_site(site: Site, folder: Path) -> None:
    """Write the documents to `folder`, a new file whenever one grows beyond `FILE_BYTES`."""
    folder.mkdir(parents=True, exist_ok=True)
    part: list[str] = []
    size = number = 0
    for document in documents(site):
        part.append(document)
        size += len(document)
        if size > FILE_BYTES:
            (folder / f"site-{number:03}.yaml").write_text("---\n".join(part))
            part, size, number = [], 0, number + 1
    if part:
        (folder / f"site-{number:03}.yaml").write_text("---\n".join(part))
