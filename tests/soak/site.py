"""The configuration under test: a folder whose content says which version it is, in more than one place."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from gatewayd.tls.authority import Issued, make_authority, make_leaf

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: edge}}
  - {port: {number: RAW_PORT, name: tcp, protocol: TCP}, hosts: ["*"]}
"""
MORE = """\
  - {port: {number: EXTRA_PORT, name: extra, protocol: HTTP}, hosts: ["*"]}
"""
ROUTES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {prefix: /ws}}]
    route: [{destination: {host: HOST, port: {number: 80}}}]
    retries: {attempts: 4, retryOn: "connect-failure,refused-stream,reset,503"}
  - match: [{uri: {prefix: /soak.Echo/}}]
    route: [{destination: {host: calls-HOST, port: {number: 80}}}]
    headers:
      request: {set: {x-config: "VERSION"}}
      response: {set: {x-version: "VERSION"}}
    retries: {attempts: 4, retryOn: "connect-failure,refused-stream,reset,unavailable"}
  - route: [{destination: {host: HOST, port: {number: 80}}}]
    headers:
      request: {set: {x-config: "VERSION"}}
      response: {set: {x-version: "VERSION"}}
    retries: {attempts: 4, retryOn: "connect-failure,refused-stream,reset,503"}
  tcp:
  - match: [{port: RAW_PORT}]
    route: [{destination: {host: HOST, port: {number: 80}}}]
"""
SERVICES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: backends, namespace: shop}
spec:
  hosts: [even.test, odd.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [UPSTREAMS]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: calls, namespace: shop}
spec:
  hosts: [calls-even.test, calls-odd.test]
  ports: [{number: 80, name: grpc, protocol: GRPC}]
  resolution: STATIC
  endpoints: [CALLED]
"""
#: What may become of a file of routes, by mistake.
MISTAKES = {
    "an invalid expression": lambda text: text.replace("prefix: /ws", 'regex: "("'),
    "a field of the wrong type": lambda text: text.replace("attempts: 4", "attempts: many"),
    "an unknown field": lambda text: text.replace("retryOn", "retryWhen"),
    "cut off": lambda text: text[: len(text) // 2].rstrip() + " {{[",
    "no YAML at all": lambda text: "\0\1\2 {{{",
}


class Site:
    """Writes versions into ``folder``, and certificates into ``secrets``."""

    def __init__(
        self,
        folder: Path,
        secrets: Path,
        tcp: int,
        extra: int,
        upstreams: Sequence[int],
        called: Sequence[int],
    ) -> None:
        """``upstreams`` and ``called``: the ports of the upstreams, and of those that speak gRPC."""
        self.folder = folder
        self.secrets = secrets
        self._numbers = {"RAW_PORT": str(tcp), "EXTRA_PORT": str(extra)}
        for word, name, ports in (("UPSTREAMS", "http", upstreams), ("CALLED", "grpc", called)):
            self._numbers[word] = ", ".join(
                f"{{address: 127.0.0.1, ports: {{{name}: {port}}}}}" for port in ports
            )
        self.version = 0
        self.authority = make_authority("soak root", 10)
        self.serial = 0
        for path in (folder, secrets / "edge"):
            path.mkdir(parents=True)

    def texts(self, version: int) -> dict[str, str]:
        """The files of a version: a listener comes and goes, the cluster is another by turns."""
        host = ("even.test", "odd.test")[version % 2]
        texts = {
            "gateway.yaml": GATEWAY + (MORE if version % 3 else ""),
            "routes.yaml": ROUTES.replace("HOST", host).replace("VERSION", str(version)),
            "services.yaml": SERVICES,
        }
        for name, text in texts.items():
            for word, number in self._numbers.items():
                text = text.replace(word, number)
            texts[name] = text
        return texts

    def write(self, version: int) -> None:
        """Write a version, in place or by a file that takes the other's place."""
        self.version = version
        for name, text in self.texts(version).items():
            if version % 2:
                (self.folder / name).write_text(text)
            else:
                new = self.folder / f".{name}.new"
                new.write_text(text)
                os.replace(new, self.folder / name)

    def write_half(self, version: int) -> None:
        """Write the first half of a version's routes; nobody knows that it will be one."""
        text = self.texts(version)["routes.yaml"]
        (self.folder / "routes.yaml").write_text(text[: len(text) * 2 // 3])

    def write_mistake(self, rng: random.Random, version: int) -> str:
        """Write a version with a mistake; which one it is."""
        name = rng.choice(list(MISTAKES))
        (self.folder / "routes.yaml").write_text(MISTAKES[name](self.texts(version)["routes.yaml"]))
        return name

    def swap_certificate(self) -> int:
        """Another certificate in the place of the one before, one file after the other; its serial number."""
        leaf: Issued = make_leaf(["shop.test"], 5, self.authority)
        for name, pem in (("tls.key", leaf.private_key), ("tls.crt", leaf.certificate)):
            new = self.secrets / "edge" / f".{name}.new"
            new.write_bytes(pem)
            os.replace(new, self.secrets / "edge" / name)
        self.serial = x509.load_pem_x509_certificate(leaf.certificate).serial_number
        return self.serial
