"""Kubernetes Ingress as Istio understands it (semantics 13).

Each Ingress makes a Gateway with one plain server on port 80 and one HTTPS server per ``tls`` entry; all rules of
one host, of whichever Ingress, make one VirtualService bound to the Gateway of the oldest of them (13.11).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gatewayd.compiler.delta import Delta
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateways import GeneratedGateway
from gatewayd.compiler.headers import NO_OPS
from gatewayd.compiler.matches import EVERYTHING, Shape
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.ordering import age_key
from gatewayd.compiler.prepared import Alternative, Prepared, PreparedRule
from gatewayd.compiler.services import Registry
from gatewayd.compiler.visibility import PUBLIC
from gatewayd.resources.gateway import Gateway, Port, Server, ServerTLS
from gatewayd.resources.ingress import HTTPIngressPath, Ingress
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.meta import ObjectMeta, Resource
from gatewayd.resources.virtual_service import Destination, HTTPRoute, HTTPRouteDestination, PortSelector
from gatewayd.routing.matchers import MATCHERS
from gatewayd.routing.route import PathMatched, RetryPolicy, RouteSource

_CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
_CONTROLLER: Final = "istio.io/ingress-controller"
#: Where Istio puts what it generates (13.4).
_NAMESPACE: Final = "istio-system"
_PORT: Final = 80
_TLS_PORT: Final = 443
_ANY: Final = "any"
_NOBODY: Final[frozenset[str]] = frozenset()


@dataclass(slots=True)
class _Path:
    """One path of an Ingress: ``kind`` is exact, segment_prefix or any."""

    ingress: Resource[Ingress]
    index: int
    at: int
    kind: str
    text: str
    route: HTTPRoute

    def prepare(self, retry: RetryPolicy | None) -> PreparedRule:
        source = RouteSource(self.ingress, self.at, entry=("rules", self.index))
        return PreparedRule(
            self.route,
            (self._alternative(),),
            NO_OPS,
            retry,
            self.ingress.namespace,
            source,
            self.ingress,
            f"spec.rules[{self.index}].http.paths[{self.at}]",
        )

    def _alternative(self) -> Alternative:
        if self.kind == _ANY or (self.kind != "exact" and not self.text.strip("/")):
            return Alternative(None, EVERYTHING, "")
        condition = MATCHERS["uri"]("", self.kind, self.text)
        matched = PathMatched(self.kind, self.text.encode())
        # A segment prefix is no path Istio would name in the operation (14.3.5, golden 13).
        operation = self.text if self.kind == "exact" else "/*"
        taken = (self.kind, self.text.rstrip("/") if self.kind == "segment_prefix" else self.text)
        return Alternative(None, Shape((condition,), False, matched, operation, taken), "")


@dataclass(slots=True, eq=False)
class _Unit:
    """What one Ingress comes to."""

    ingress: Resource[Ingress]
    gateway: Resource[Gateway]
    #: by host, which may have no path that can be served: in the order of the rules, with the index of the first
    hosts: dict[str, tuple[int, list[_Path]]] = field(default_factory=dict)
    #: hosts whose services say which port a name means
    services: set[str] = field(default_factory=set)


class Ingresses:
    """Gateways and routes of every Ingress that is Istio's, kept from one compilation to the next."""

    def __init__(
        self, registry: Registry, options: CompileOptions, default_retry: RetryPolicy | None, report: Reporter
    ) -> None:
        self._registry = registry
        self._options = options
        self._default_retry = default_retry
        self._report = report
        self._all: dict[str, Resource[Ingress]] = {}
        self._controllers: dict[str, str] = {}
        self._units: dict[str, _Unit] = {}
        self._by_host: dict[str, dict[str, _Unit]] = {}
        self._by_service: dict[str, set[str]] = {}
        self._prepared: dict[str, Prepared] = {}
        #: the generated Gateways, which sort before all others (13.11)
        self.gateways: tuple[Resource[Gateway], ...] = ()

    def update(self, delta: Delta, services: set[str], gone: list[Prepared], come: list[Prepared]) -> None:
        """Take the changes in; add what is not to be bound any more, and what is to be bound now.

        ``services``: hosts whose services have changed.
        """
        dirty: set[str] = set()
        for change in delta.of("IngressClass"):
            dirty |= self._all.keys()
            for each in change.both:
                self._controllers.pop(each.name, None)
            if change.after is not None:
                self._controllers[change.after.name] = change.after.spec.controller
        for change in delta.of("Ingress"):
            name = change.either.full_name
            dirty.add(name)
            if change.after is None:
                self._all.pop(name)
            else:
                self._all[name] = change.after
        for host in services:
            dirty |= self._by_service.get(host, _NOBODY)
        if not dirty:
            return
        hosts: set[str] = set()
        for name in dirty:
            hosts |= self._renew(name)
        made = (unit.gateway for unit in self._units.values())
        self.gateways = tuple(sorted(made, key=lambda gateway: (gateway.name, gateway.namespace)))
        gone += [self._prepared.pop(host) for host in hosts if host in self._prepared]
        for host in sorted(hosts):
            if host in self._by_host:
                self._prepared[host] = self._prepare(host)
                come.append(self._prepared[host])

    def _renew(self, name: str) -> set[str]:
        """Read an Ingress again; the hosts it had, and those it has."""
        hosts: set[str] = set()
        before = self._units.pop(name, None)
        if before is not None:
            hosts.update(before.hosts)
            for host in before.hosts:
                del self._by_host[host][name]
                if not self._by_host[host]:
                    del self._by_host[host]
            for service in before.services:
                self._by_service[service].discard(name)
                if not self._by_service[service]:
                    del self._by_service[service]
        with self._report.by(("Ingress", name)):
            ingress = self._all.get(name)
            if ingress is None or not _is_ours(ingress, self._controllers, self._options.mesh, self._report):
                return hosts
            unit = self._units[name] = self._unit(ingress, before)
        hosts.update(unit.hosts)
        for host in unit.hosts:
            self._by_host.setdefault(host, {})[name] = unit
        for service in unit.services:
            self._by_service.setdefault(service, set()).add(name)
        return hosts

    def _unit(self, ingress: Resource[Ingress], before: _Unit | None) -> _Unit:
        report = self._report
        gateway = _gateway(ingress, self._options.mesh, report)
        if before is not None and before.ingress is ingress:
            gateway = before.gateway
        unit = _Unit(ingress, gateway)
        if ingress.spec.default_backend is not None or ingress.spec.old_default_backend is not None:
            report.say(
                "warning",
                "GWD0104",
                "the default backend of an Ingress is left out, as Istio does: what matches no rule gets 404",
                ingress,
                "spec.defaultBackend",
            )
        for index, rule in enumerate(ingress.spec.rules):
            if rule.http is None:
                continue
            _, paths = unit.hosts.setdefault(rule.host or "*", (index, []))
            for at, written in enumerate(rule.http.paths):
                path = self._path(unit, index, at, written)
                if path is not None:
                    paths.append(path)
        return unit

    def _prepare(self, host: str) -> Prepared:
        """The rules of one host, of all Ingresses that have it; the oldest of them owns it."""
        units = sorted(self._by_host[host].values(), key=lambda unit: age_key(unit.ingress.metadata))
        owner = units[0].ingress
        paths = [path for unit in units for path in unit.hosts[host][1]]
        # Longest first; of one length Exact before Prefix; else as collected (13.5).
        ordered = sorted(paths, key=lambda path: (-len(path.text), path.kind != "exact"))
        return Prepared(
            owner,
            f"{host.replace('.', '-')}-{owner.name}-istio-autogenerated-k8s-ingress",
            owner.namespace,
            (host,),
            (f"{_NAMESPACE}/{_gateway_name(owner)}",),
            [path.prepare(self._default_retry) for path in ordered],
            (PUBLIC, age_key(owner.metadata), True, units[0].hosts[host][0]),
        )

    def _path(self, unit: _Unit, index: int, at: int, written: HTTPIngressPath) -> _Path | None:
        """The path with its backend, or None when the backend says no port (13.9)."""
        ingress = unit.ingress
        backend = written.backend.service_of()
        field_path = f"spec.rules[{index}].http.paths[{at}].backend"
        reason = ""
        port = 0
        host = ""
        if backend is None:
            reason = "its backend is no Service"
        else:
            host = f"{backend.name}.{ingress.namespace}.svc.{self._options.cluster_domain}"
            wanted = backend.port
            if wanted is not None and wanted.number:
                port = wanted.number
            elif wanted is not None and wanted.name:
                unit.services.update(self._registry.chain(host))
                service = self._registry.for_port(host, ingress.namespace)
                named = (p.number for p in service.ports.values() if p.name == wanted.name) if service else ()
                port = next(iter(named), 0)
                reason = "" if port else f'Service {backend.name} has no port named "{wanted.name}"'
            else:
                reason = "its backend names no port"
        if reason:
            message = f"path {written.path!r} is left out: {reason}"
            self._report.say("error", "IST0101", message, ingress, field_path)
            return None
        kind, text = _kind_and_text(written)
        destination = Destination(host=host, port=PortSelector(number=port))
        return _Path(
            ingress, index, at, kind, text, HTTPRoute(route=(HTTPRouteDestination(destination=destination),))
        )


def _is_ours(
    ingress: Resource[Ingress], controllers: dict[str, str], mesh: MeshConfig, report: Reporter
) -> bool:
    """The annotation decides; without it, the IngressClass object (13.1, 13.2)."""
    mode = mesh.ingress_controller_mode
    written = ingress.metadata.annotations.get(_CLASS_ANNOTATION)
    named = ingress.spec.ingress_class_name
    if mode == "OFF":
        ours, reason = False, "the mesh's ingressControllerMode is OFF"
    elif written is not None:
        ours = written == mesh.ingress_class
        reason = f'its class is "{written}", not "{mesh.ingress_class}"'
    elif named is not None and named in controllers:
        ours = controllers[named] == _CONTROLLER
        reason = f'IngressClass "{named}" belongs to controller "{controllers[named]}", not "{_CONTROLLER}"'
    else:
        ours = mode == "DEFAULT"
        reason = f'IngressClass "{named}" is in no file' if named is not None else "it has no class"
    if not ours:
        report.say(
            "info",
            "GWD0105",
            f"Ingress {ingress.full_name} is not served: {reason}",
            ingress,
            help=f"annotate it with {_CLASS_ANNOTATION}: {mesh.ingress_class}",
        )
    return ours


def _gateway_name(ingress: Resource[Ingress]) -> str:
    return f"{ingress.name}-istio-autogenerated-k8s-ingress-{ingress.namespace}"


def _gateway(ingress: Resource[Ingress], mesh: MeshConfig, report: Reporter) -> Resource[Gateway]:
    """The generated Gateway: it has no creation time (13.11) and takes every host on port 80 (13.3)."""
    service = mesh.ingress_service if mesh.ingress_service != "istio-ingressgateway" else ""
    selector = mesh.ingress_selector or service or "ingressgateway"
    servers: list[Server] = []
    paths: list[str] = []
    for index, tls in enumerate(ingress.spec.tls):
        path = f"spec.tls[{index}]"
        if not tls.secret_name:
            message = f"tls[{index}] is left out: it has no secretName, so there is no certificate"
            report.say("warning", "GWD0104", message, ingress, path)
            continue
        name = f"https-{_TLS_PORT}-ingress-{ingress.name}-{ingress.namespace}-{index}"
        servers.append(
            Server(
                port=Port(number=_TLS_PORT, protocol="HTTPS", name=name),
                hosts=tls.hosts or ("*",),
                tls=ServerTLS(mode="SIMPLE", credential_name=tls.secret_name),
            )
        )
        paths.append(path)
    name = f"http-{_PORT}-ingress-{ingress.name}-{ingress.namespace}"
    servers.append(Server(port=Port(number=_PORT, protocol="HTTP", name=name), hosts=("*",)))
    paths.append("spec.rules")
    return GeneratedGateway(
        ObjectMeta(name=_gateway_name(ingress), namespace=_NAMESPACE),
        Gateway(selector={"istio": selector}, servers=tuple(servers)),
        ingress,
        paths,
    )


def _kind_and_text(written: HTTPIngressPath) -> tuple[str, str]:
    """What a path means (13.6, 13.8); its length is that of what was written (13.7)."""
    path = written.path
    if written.path_type == "Exact":
        return "exact", path
    if written.path_type == "Prefix":
        return "segment_prefix", path
    if path in ("", "*", "/*", ".*"):
        return _ANY, ""
    for suffix in (".*", "/*"):
        if path.endswith(suffix):
            return "segment_prefix", path.removesuffix(suffix)
    return "exact", path
