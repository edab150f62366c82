"""The proxy a test talks to: gatewayd, or with ``TESTED_PROXY=envoy`` the real Envoy on the same documents.

The variable is for the hand: a test that fails with Envoy too is wrong itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import yaml

from tests.differential.istio import EnvoyGateway
from tests.support.certificates import CertificateFolder
from tests.support.gateway_process import GatewayProcess

ENVOY: Final = os.environ.get("TESTED_PROXY") == "envoy"


def front(documents: str, folder: Path, listen: int = 80) -> GatewayProcess | EnvoyGateway:
    """A proxy that serves ``documents`` on the Gateway port ``listen``; use it as GatewayProcess."""
    if ENVOY:
        return EnvoyGateway(
            [document for document in yaml.safe_load_all(documents) if document],
            # It waits for the client to close first, which many of these do not.
            manager={"delayed_close_timeout": "0.02s"},
        )
    (folder / "front.yaml").write_text(documents)
    return GatewayProcess([folder / "front.yaml"], listen=[listen])


def gateway(certificates: CertificateFolder | None = None, name: str = "", protocol: str = "HTTP") -> str:
    """A Gateway on port 80, or on 443 with the certificate ``name``, for all hosts."""
    server = f"{{port: {{number: 80, name: main, protocol: {protocol}}}, bind: 127.0.0.1, hosts: ['*']}}"
    if certificates is not None:
        pair = f"serverCertificate: {certificates.certificate(name)}, privateKey: {certificates.key(name)}"
        server = (
            "{port: {number: 443, name: https, protocol: HTTPS}, bind: 127.0.0.1, hosts: ['*'], "
            f"tls: {{mode: SIMPLE, {pair}}}}}"
        )
    return f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  servers:
  - {server}
"""


def rules(items: str) -> str:
    """A VirtualService for all hosts with ``items``, the YAML of ``http`` without indentation."""
    lines = "\n".join("  " + line for line in items.strip().splitlines())
    return f"""---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: routes, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
{lines}
"""


def service(host: str, *ports: int, protocol: str = "HTTP") -> str:
    """A ServiceEntry with an endpoint on the loopback for each of ``ports``."""
    endpoints = "".join(f"\n  - {{address: 127.0.0.1, ports: {{main: {port}}}}}" for port in ports)
    return f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host.replace(".", "-")}, namespace: default}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: main, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: {endpoints or "[]"}
"""
