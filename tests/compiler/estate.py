"""Documents of every kind that the compiler looks at, in many versions: what random changes are made of."""

from __future__ import annotations

import random
from collections.abc import Callable

_ISTIO = "networking.istio.io/v1"


def _document(api: str, kind: str, name: str, namespace: str, rest: str, metadata: str = "") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{metadata}}}\n{rest}"


class Estate:
    """Draws documents. ``names`` are few, so that documents meet each other."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        #: what may be drawn, and how often in relation to the others
        self.kinds: dict[str, tuple[Callable[[str], str], int]] = {
            "VirtualService": (self.virtual_service, 12),
            "Delegate": (self.delegate, 4),
            "Gateway": (self.gateway, 3),
            "DestinationRule": (self.destination_rule, 4),
            "ServiceEntry": (self.service_entry, 4),
            "Service": (self.service, 4),
            "EndpointSlice": (self.endpoint_slice, 2),
            "Endpoints": (self.endpoints, 1),
            "Pod": (self.pod, 2),
            "WorkloadEntry": (self.workload_entry, 2),
            "Ingress": (self.ingress, 3),
            "IngressClass": (self.ingress_class, 1),
            "Secret": (self.secret, 1),
            "Telemetry": (self.telemetry, 1),
        }

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def maybe(self, text: str, share: float = 0.3) -> str:
        return text if self.rng.random() < share else ""

    def draw(self) -> tuple[str, str]:
        """The name of a document, and a version of it, now and then broken."""
        kind = self.rng.choices(list(self.kinds), [weight for _, weight in self.kinds.values()])[0]
        name = f"{kind.lower()}-{self.rng.randint(0, 4)}"
        text = self.kinds[kind][0](name)
        if self.rng.random() < 0.06:
            text = self.rng.choice(
                [text.replace("spec:", "spek:"), text + "  nonsense: [1]\n", text + "a: [\n", "# nothing\n"]
            )
        return name, text

    # -- what names each other

    def namespace(self) -> str:
        return self.pick("shop", "shop", "istio-system", "other")

    def host(self) -> str:
        return self.pick("a.test", "b.test", "*.test", "c.example", "*.example", "*", "A.test", "d.shop.test")

    def backend(self) -> str:
        names = [f"service-{number}" for number in range(5)] + [f"entry-{number}.test" for number in range(5)]
        return self.rng.choice(
            [*names, "service-1.shop", "service-2.shop.svc.cluster.local", "nowhere", "x.wild.test"]
        )

    def destination(self) -> str:
        port = self.maybe(f", port: {{number: {self.pick('80', '81', '443')}}}", 0.6)
        subset = self.maybe(f", subset: {self.pick('v1', 'v2')}", 0.25)
        return f"{{host: {self.backend()}{port}{subset}}}"

    def age(self) -> str:
        return self.maybe(f', creationTimestamp: "2024-01-0{self.rng.randint(1, 9)}T00:00:00Z"')

    # -- routes

    def match(self) -> str:
        parts = [
            self.maybe(
                self.pick("uri: {prefix: /a}", "uri: {prefix: /}", "uri: {exact: /a/b}", "uri: {regex: /x.*}")
            ),
            self.maybe("method: {exact: GET}", 0.1),
            self.maybe("statPrefix: counted", 0.1),
            self.maybe("headers: {x-a: {exact: b}}", 0.1),
            self.maybe(f"port: {self.pick('80', '81', '443')}", 0.15),
            self.maybe(f"gateways: [{self.pick('istio-system/gateway-0', 'istio-system/gateway-1')}]", 0.1),
            self.maybe("sourceLabels: {app: x}", 0.05),
            self.maybe('uri: {regex: "("}', 0.02),
        ]
        unique = {part.partition(":")[0]: part for part in parts if part}
        return "{" + ", ".join(unique.values()) + "}"

    def http(self, *, delegates: bool) -> str:
        rules = []
        for _ in range(self.rng.randint(1, 3)):
            matches = [self.match() for _ in range(self.rng.randint(1, 2))]
            rule = "  - " + (f"match: [{', '.join(matches)}]\n    " if self.rng.random() < 0.8 else "")
            kind = self.rng.random()
            if delegates and kind < 0.25:
                name = self.pick("delegate-0", "delegate-1", "delegate-2", "delegat-3", "virtualservice-1")
                rule += f"delegate: {{name: {name}{self.maybe(', namespace: shop')}}}\n"
            elif kind < 0.3:
                rule += 'directResponse: {status: 200, body: {string: "x"}}\n'
            elif kind < 0.35:
                rule += "redirect: {uri: /y}\n"
            elif kind < 0.5:
                shares = f"{{destination: {self.destination()}, weight: {self.pick('0', '30')}}}"
                other = f"{{destination: {self.destination()}, weight: {self.pick('1', '70')}}}"
                rule += f"route: [{shares}, {other}]\n"
            else:
                rule += f"route: [{{destination: {self.destination()}}}]\n"
                rule += self.maybe("    timeout: 3s\n", 0.1)
                rule += self.maybe(f"    mirrors: [{{destination: {self.destination()}}}]\n", 0.1)
                rule += self.maybe("    headers: {request: {set: {x-b: c}}}\n", 0.1) or self.maybe(
                    "    headers: {request: {set: {x-b: '%NOPE%'}}}\n", 0.1
                )
                rule += self.maybe("    rewrite: {uri: /z}\n", 0.1)
            rules.append(rule)
        return "  http:\n" + "".join(rules)

    def virtual_service(self, name: str) -> str:
        hosts = sorted({self.host() for _ in range(self.rng.randint(1, 2))} - {"A.test"}) or ["a.test"]
        gateways = [f"istio-system/gateway-{self.rng.randint(0, 3)}" for _ in range(self.rng.randint(1, 2))]
        gateways += ["mesh"] if self.rng.random() < 0.1 and "*" not in hosts else []
        text = f"  hosts: [{', '.join(map(repr, hosts))}]\n  gateways: [{', '.join(gateways)}]\n"
        text += self.maybe(
            f"  exportTo: [{self.pick('.', chr(39) + '*' + chr(39), 'shop', 'istio-system')}]\n", 0.2
        )
        blocks = self.rng.random()
        if blocks < 0.8:
            text += self.http(delegates=True)
        if blocks > 0.6:
            port = self.maybe(f"    - port: {self.pick('9000', '9001')}\n", 0.5)
            text += "  tcp:\n  - " + (f"match:\n{port}    " if port else "")
            text += f"route: [{{destination: {self.destination()}}}]\n"
        if blocks > 0.7:
            names = [name for name in hosts if name != "*"] or ["a.test"]
            port = self.maybe(f"port: {self.pick('8443', '8444')}, ")
            text += f"  tls:\n  - match: [{{{port}sniHosts: [{', '.join(map(repr, names))}]}}]\n"
            text += f"    route: [{{destination: {self.destination()}}}]\n"
        return _document(_ISTIO, "VirtualService", name, self.namespace(), "spec:\n" + text, self.age())

    def delegate(self, name: str) -> str:
        body = self.maybe("  exportTo: [.]\n", 0.1) + self.http(delegates=False)
        return _document(_ISTIO, "VirtualService", name, "shop", "spec:\n" + body, self.age())

    # -- gateways

    def gateway(self, name: str) -> str:
        if self.rng.random() < 0.2:
            hosts = ["*.test", "a.test", "b.test", "*.shop.test", "c.example"] + [
                f"h{at}.test" for at in range(6)
            ]
            body = ""
            for at, host in enumerate(self.rng.sample(hosts, 10)):
                port = f"{{number: 8443, name: p{at}, protocol: TLS}}"
                body += f"  - {{port: {port}, hosts: ['{host}'], tls: {{mode: PASSTHROUGH}}}}\n"
            return _document(
                _ISTIO, "Gateway", name, "istio-system", f"spec:\n  servers:\n{body}", self.age()
            )
        servers = []
        for number, protocol, tls in self.rng.sample(
            [
                (80, "HTTP", ""),
                (80, "HTTP", "httpsRedirect: true"),
                (81, "HTTP", ""),
                (443, "HTTPS", "mode: SIMPLE, credentialName: secret-1"),
                (443, "HTTPS", "mode: SIMPLE, serverCertificate: /c, privateKey: /k"),
                (8443, "TLS", "mode: PASSTHROUGH"),
                (15443, "TLS", "mode: AUTO_PASSTHROUGH"),
                (9000, "TCP", ""),
                (9001, "TLS", "mode: SIMPLE, credentialName: secret-2"),
            ],
            self.rng.randint(1, 4),
        ):
            hosts = sorted(
                {self.pick(self.host(), f"shop/{self.host()}", f"./{self.host()}") for _ in range(2)}
            )
            hosts = ["*.local"] if number == 15443 else hosts
            port = f"{{number: {number}, name: p{number}-{self.rng.randint(0, 9)}, protocol: {protocol}}}"
            block = f"    tls: {{{tls}}}\n" if tls else ""
            servers.append(f"  - port: {port}\n    hosts: [{', '.join(map(repr, hosts))}]\n{block}")
        body = "spec:\n  servers:\n" + "".join(servers)
        return _document(_ISTIO, "Gateway", name, "istio-system", body, self.age())

    # -- services

    def destination_rule(self, name: str) -> str:
        host = self.pick(self.backend(), self.backend(), "'*.test'", "'*.wild.test'", "'*.local'")
        policies = [
            "{loadBalancer: {simple: LEAST_REQUEST}}",
            "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
            "{loadBalancer: {consistentHash: {useSourceIp: true}}}",
            "{connectionPool: {tcp: {maxConnections: 7, idleTimeout: 5s}}}",
            "{tls: {mode: SIMPLE, sni: x}}",
            "{tls: {mode: MUTUAL, credentialName: gone}}",
            "{tunnel: {protocol: CONNECT, targetHost: t, targetPort: 1}}",
            "{outlierDetection: {consecutive5xxErrors: 3}}",
            "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 9}}}",
            "{connectionPool: {http: {useClientProtocol: true}}, tls: {mode: SIMPLE, sni: x}}",
        ]
        text = f"spec:\n  host: {host}\n" + self.maybe(f"  trafficPolicy: {self.rng.choice(policies)}\n", 0.7)
        text += self.maybe("  exportTo: [.]\n", 0.15)
        if self.rng.random() < 0.6:
            text += "  subsets:\n  - {name: v1, labels: {version: v1}}\n" + self.maybe("  - {name: v2}\n")
        return _document(_ISTIO, "DestinationRule", name, self.namespace(), text, self.age())

    def service_entry(self, name: str) -> str:
        number = name[-1]
        hosts = self.pick(
            f"entry-{number}.test",
            f"entry-{number}.test",
            f"entry-{number}.test, entry-1.test",
            "'*.wild.test'",
        )
        resolution = "DYNAMIC_DNS" if "wild" in hosts else self.pick("STATIC", "DNS", "STATIC")
        address = (
            self.pick("10.0.0.1", "10.0.0.2") if resolution == "STATIC" else self.pick("x.test", "10.0.0.3")
        )
        protocol = self.pick("HTTP", "HTTP", "TCP", "GRPC")
        ports = f"{{number: 80, name: http, protocol: {protocol}}}"
        ports += self.maybe(", {number: 443, name: https, protocol: HTTPS}", 0.4)
        text = f"spec:\n  hosts: [{hosts}]\n  resolution: {resolution}\n  ports: [{ports}]\n"
        if resolution == "STATIC" and self.rng.random() < 0.3:
            text += "  workloadSelector: {labels: {app: x}}\n" + self.maybe("  location: MESH_INTERNAL\n")
        elif resolution != "DYNAMIC_DNS":
            text += f"  endpoints: [{{address: {address}, labels: {{version: {self.pick('v1', 'v2')}}}}}]\n"
        text += self.maybe("  exportTo: [.]\n", 0.1)
        return _document(_ISTIO, "ServiceEntry", name, self.namespace(), text, self.age())

    def service(self, name: str) -> str:
        text = "spec:\n"
        if self.rng.random() < 0.15:
            other = f"service-{self.rng.randint(0, 4)}.shop.svc.cluster.local"
            text += f"  type: ExternalName\n  externalName: {self.pick(other, 'entry-1.test', 'away.test')}\n"
        text += self.maybe("  selector: {app: x}\n", 0.5)
        ports = (
            f"{{port: 80, name: {self.pick('http', 'grpc', 'tcp')}, targetPort: {self.pick('8080', 'web')}}}"
        )
        text += f"  ports: [{ports}{self.maybe(', {port: 81, name: http-b}', 0.5)}]\n"
        exported = self.maybe(', annotations: {networking.istio.io/exportTo: "."}', 0.1)
        return _document(
            "v1", "Service", name, self.pick("shop", "shop", "istio-system"), text, self.age() + exported
        )

    def _reference(self) -> str:
        return self.maybe(f", targetRef: {{kind: Pod, name: pod-{self.rng.randint(0, 4)}}}", 0.5)

    def endpoint_slice(self, name: str) -> str:
        labels = f", labels: {{kubernetes.io/service-name: service-{self.rng.randint(0, 4)}}}"
        address = f"10.1.0.{self.rng.randint(1, 3)}"
        ready = self.maybe(", conditions: {ready: false}", 0.2)
        text = f"addressType: IPv4\nports: [{{name: {self.pick('http', 'grpc')}, port: 8080}}]\n"
        text += f"endpoints: [{{addresses: [{address}]{ready}{self._reference()}}}]\n"
        return _document("discovery.k8s.io/v1", "EndpointSlice", name, "shop", text, labels)

    def endpoints(self, name: str) -> str:
        text = f"subsets: [{{addresses: [{{ip: 10.2.0.1{self._reference()}}}], ports: [{{name: http, port: 1}}]}}]\n"
        return _document("v1", "Endpoints", f"service-{name[-1]}", "shop", text)

    def pod(self, name: str) -> str:
        labels = f", labels: {{app: {self.pick('x', 'x', 'y')}, version: {self.pick('v1', 'v2')}}}"
        text = "spec: {containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}\n"
        phase = self.pick("Running", "Running", "Failed")
        text += f"status: {{podIP: 10.3.0.{self.rng.randint(1, 4)}, phase: {phase}}}\n"
        return _document("v1", "Pod", name, self.pick("shop", "shop", "istio-system"), text, labels)

    def workload_entry(self, name: str) -> str:
        text = f"spec: {{address: 10.4.0.{self.rng.randint(1, 4)}, labels: {{app: {self.pick('x', 'x', 'y')}}}}}\n"
        return _document(_ISTIO, "WorkloadEntry", name, self.namespace(), text)

    # -- Kubernetes' own

    def ingress(self, name: str) -> str:
        kind = self.rng.random()
        metadata = self.age() + (", annotations: {kubernetes.io/ingress.class: istio}" if kind < 0.6 else "")
        text = "spec:\n" + ("  ingressClassName: ingressclass-1\n" if kind > 0.5 else "")
        text += self.maybe("  tls: [{hosts: [a.test], secretName: secret-1}]\n", 0.3)
        paths = []
        for _ in range(self.rng.randint(1, 2)):
            port = self.pick("number: 80", "name: http", "name: nope")
            backend = f"{{service: {{name: service-{self.rng.randint(0, 4)}, port: {{{port}}}}}}}"
            kind_of_path = self.pick("Prefix", "Exact")
            paths.append(
                f"{{path: {self.pick('/', '/a', '/a/b')}, pathType: {kind_of_path}, backend: {backend}}}"
            )
        hosts = {self.pick("a.test", "b.test", "'*.test'") for _ in range(self.rng.randint(1, 2))}
        text += "  rules:\n" + "".join(
            f"  - {{host: {host}, http: {{paths: [{', '.join(paths)}]}}}}\n" for host in sorted(hosts)
        )
        return _document("networking.k8s.io/v1", "Ingress", name, "shop", text, metadata)

    def ingress_class(self, name: str) -> str:
        controller = self.pick("istio.io/ingress-controller", "example.com/other")
        head = f"apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}}}\n"
        return head + f"spec: {{controller: {controller}}}\n"

    def secret(self, name: str) -> str:
        return _document(
            "v1", "Secret", name, "istio-system", f"stringData: {{tls.crt: {self.pick('a', 'b')}}}\n"
        )

    def telemetry(self, name: str) -> str:
        tag = self.pick("literal: {value: v}", "formatter: {value: '%PATH%'}", "formatter: {value: '%NOPE%'}")
        text = self.pick(
            f"{{tracing: [{{providers: [{{name: {self.pick('otel', 'nobody')}}}], customTags: {{x: {{{tag}}}}}}}]}}",
            f"{{tracing: [{{disableSpanReporting: {self.pick('true', 'false')}}}]}}",
            f"{{accessLogging: [{{disabled: {self.pick('true', 'false')}}}]}}",
            "{selector: {matchLabels: {app: x}}, tracing: [{randomSamplingPercentage: 7}]}",
        )
        namespace = self.pick("istio-system", "istio-system", "shop")
        return _document("telemetry.istio.io/v1", "Telemetry", name, namespace, f"spec: {text}\n", self.age())
