"""Destinations of routes become clusters (semantics 6.1, 8.2.4 to 8.2.6, 11, 12, 17.3).

A cluster exists because a route names it. Two routes that mean the same service, port and subset share
one, under Istio's name ``outbound|<port>|<subset>|<host>``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from gatewayd.compiler.cluster_policy import apply_policy, upstream_protocol
from gatewayd.compiler.destination_rules import MergedRule, RuleBook
from gatewayd.compiler.endpoints import has_labels, is_ip
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.load_balancing import hash_policy, written_hash
from gatewayd.compiler.localities import Whereabouts, by_locality, locality_setting
from gatewayd.compiler.names import full_name
from gatewayd.compiler.options import REJECT, CompileOptions
from gatewayd.compiler.pins import Pins
from gatewayd.compiler.policy import resolve_policy
from gatewayd.compiler.problems import (
    Problem,
    leads_to_itself,
    no_endpoints,
    of_connections,
    resolved_by_dns,
    unknown_host,
    unknown_port,
    unknown_subset,
    unlabelled,
)
from gatewayd.compiler.protocols import UNSUPPORTED
from gatewayd.compiler.services import Registry, Service
from gatewayd.compiler.upstream_tls import BYTES, REQUESTS, TLS, UpstreamTlsCompiler
from gatewayd.policies.hash_policy import HashPolicy
from gatewayd.resources.destination_rule import Subset
from gatewayd.resources.meta import Resource
from gatewayd.resources.virtual_service import Destination
from gatewayd.upstream.spec import DNS, DYNAMIC_DNS, STATIC, ClusterSpec, EndpointSpec

#: Port of a host nobody declares when the route names none.
_HTTP_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Place:
    """Who asks for a destination, for findings: ``path`` is the field that names it."""

    resource: Resource[Any]
    path: str
    #: connections go there, not requests
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What a destination came to. ``cluster`` None: 503 NC (6.1.2)."""

    cluster: Any
    name: str
    host: str
    port: int
    problem: Problem | None = None
    #: what of a request the route hashes for it (9.6)
    hashing: HashPolicy | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question for a target, and its answer."""

    destination: Destination
    namespace: str
    listener_port: int
    place: Place
    target: Target


_Found = tuple[ClusterSpec | None, Problem | None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A cluster before anything is known of it."""

    name: str
    host: str
    port: int
    subset: str
    #: REQUESTS, BYTES or TLS
    carries: str
    #: of the route; that of a host which nobody declares
    namespace: str = ""
    #: the route named the port
    explicit: bool = True

    def cluster(self, discovery: str, endpoints: tuple[EndpointSpec, ...]) -> ClusterSpec:
        return ClusterSpec(self.name, self.host, self.port, self.subset, discovery, endpoints)


class Clusters:
    """The clusters routes ask for. ``adopt`` makes the object routes hold, once per cluster."""

    def __init__(
        self,
        registry: Registry,
        rules: RuleBook,
        options: CompileOptions,
        adopt: Callable[[ClusterSpec], Any],
        tls: UpstreamTlsCompiler,
        report: Reporter,
    ) -> None:
        self._registry = registry
        self._rules = rules
        self._options = options
        self._pins = Pins(options.endpoint_pins, options.cluster_domain)
        self._here = Whereabouts.of(options.labels)
        self._adopt = adopt
        self._tls = tls
        self._report = report
        self._targets: dict[tuple[str, str, int, str, int], Target] = {}
        #: set by who wants to know what was asked for, and what the answers were
        self.asked: list[Asked] | None = None
        #: by name, in the order in which routes asked
        self.specs: dict[str, ClusterSpec] = {}
        self.adopted: dict[str, Any] = {}

    def target(self, destination: Destination, namespace: str, listener_port: int, asked: Place) -> Target:
        """The cluster of a destination written in ``namespace``, for a server port (6.1.1)."""
        target = self._target(destination, namespace, listener_port, asked)
        if self.asked is not None:
            self.asked.append(Asked(destination, namespace, listener_port, asked, target))
        return target

    def still(self, asked: Asked) -> bool:
        """Whether a question of an earlier compilation has the answer it had; it counts as asked again."""
        target = self._target(asked.destination, asked.namespace, asked.listener_port, asked.place)
        return target == asked.target

    def _target(self, destination: Destination, namespace: str, listener_port: int, asked: Place) -> Target:
        key = _key(destination, namespace, listener_port)
        target = self._targets.get(key)
        known = target is not None
        if target is None:
            target = self._targets[key] = self._resolve(
                *key[:4], listener_port, BYTES if asked.raw else REQUESTS
            )
        problem = target.problem
        if problem is not None and not (known and problem.level != "error"):
            where = (asked.resource, asked.path)
            message = of_connections(problem.message) if asked.raw else problem.message
            self._report.say(problem.level, problem.code, message, *where, problem.help)
        return target

    def hashing(self, destination: Destination, namespace: str, listener_port: int) -> HashPolicy | None:
        """What is hashed for a destination whose target was asked for before (9.6)."""
        return self._targets[_key(destination, namespace, listener_port)].hashing

    def by_sni(self, host: str, port: int, subset: str) -> Target | None:
        """The cluster an AUTO_PASSTHROUGH server reaches under its SNI name (3.1), which it has for a name too.

        None for a port or subset that does not exist. What goes there is TLS already, so the cluster adds none.
        """
        name = f"outbound_.{port}_.{subset}_.{host}"
        if name in self.adopted:
            return Target(self.adopted[name], name, host, port)
        service = self._registry.find(host)
        pinned = self._pins.find(host, subset)
        if service is None:
            return None
        found, _ = self._declared(_Wanted(name, host, port, subset, TLS), service, pinned)
        if found is None:
            return None
        self.specs[name] = found
        self.adopted[name] = self._adopt(found)
        return Target(self.adopted[name], name, host, port)

    def _resolve(
        self, written: str, subset: str, port: int, namespace: str, listener_port: int, carries: str
    ) -> Target:
        whole = full_name(written, namespace, self._options.cluster_domain)
        host = self._registry.follow(whole)
        service = self._registry.find(host)
        pinned = self._pins.find(host or whole, subset)
        explicit = bool(port)
        if not port:
            port = self._default_port(host, namespace, service, listener_port)
        name = f"outbound|{port}|{subset}|{host or whole}"
        wanted = _Wanted(name, host, port, subset, carries, namespace, explicit)
        found: ClusterSpec | None = None
        problem: Problem | None = None
        if not host:
            problem = leads_to_itself(written)
        elif service is not None or pinned:
            found, problem = self._declared(wanted, service, pinned)
        elif self._options.unknown_hosts == REJECT or "*" in host:
            problem = unknown_host(written, self._registry.hosts())
        else:
            # A short name is resolved as written: Compose and hosts files know no cluster domain.
            address = written if host == whole else host
            found, problem = self._undeclared(wanted, address)
        if found is None:
            return Target(None, name, host or whole, port, problem)
        if name not in self.adopted:
            self.specs[name] = found
            self.adopted[name] = self._adopt(found)
        return Target(self.adopted[name], name, host, port, problem, self._hashing(wanted, service))

    def _hashing(self, wanted: _Wanted, service: Service | None) -> HashPolicy | None:
        rule = self._rule_for(wanted, service)
        if rule is None:
            return None
        subset = rule.subsets.get(wanted.subset) if wanted.subset else None
        below = subset.traffic_policy if subset is not None else None
        return hash_policy(written_hash(rule.traffic_policy, below, wanted.port, named=wanted.explicit))

    def _default_port(self, host: str, namespace: str, service: Service | None, listener_port: int) -> int:
        """The only port of the service, else the listener's (6.1.1)."""
        declared = self._registry.for_port(host, namespace) or service
        if declared is None:
            return _HTTP_PORT
        return next(iter(declared.ports)) if len(declared.ports) == 1 else listener_port

    def _rule_for(self, wanted: _Wanted, service: Service | None) -> MergedRule | None:
        namespace = service.namespace if service is not None else self._namespace_of(wanted)
        return self._rules.find(wanted.host, namespace)

    def _namespace_of(self, wanted: _Wanted) -> str:
        """Of a service that is in no file: what its name says, else that of the route which names it."""
        short = wanted.host.removesuffix(f".svc.{self._options.cluster_domain}")
        return short.rpartition(".")[2] if short != wanted.host else wanted.namespace

    def _declared(self, wanted: _Wanted, service: Service | None, pinned: tuple[EndpointSpec, ...]) -> _Found:
        host, port = wanted.host, wanted.port
        rule = self._rule_for(wanted, service)
        subset = rule.subsets.get(wanted.subset) if rule is not None and wanted.subset else None
        if wanted.subset and subset is None and not self._pins.declares(host, wanted.subset):
            return None, unknown_subset(host, wanted.subset, rule)
        problem: Problem | None = None
        if pinned:
            discovery = STATIC if all(is_ip(e.address) for e in pinned) else DNS
            endpoints = pinned
        else:
            assert service is not None
            if port not in service.ports:
                return None, unknown_port(host, port, service, wanted.explicit)
            discovery = service.discovery
            endpoints = tuple(self._usable(service.endpoints(port), discovery, service))
            if subset is not None and subset.labels:
                endpoints = tuple(e for e in endpoints if has_labels(subset.labels, dict(e.labels)))
            if not endpoints and discovery != DYNAMIC_DNS:
                problem = no_endpoints(service, port, subset)
        spec = wanted.cluster(discovery, endpoints)
        return self._with_policy(spec, rule, subset, service, wanted.carries), problem

    def _undeclared(self, wanted: _Wanted, address: str) -> _Found:
        host, port = wanted.host, wanted.port
        rule = self._rule_for(wanted, None)
        subset = rule.subsets.get(wanted.subset) if rule is not None and wanted.subset else None
        if wanted.subset and subset is None:
            return None, unknown_subset(host, wanted.subset, rule)
        endpoints: tuple[EndpointSpec, ...] = (EndpointSpec(address, port),)
        problem = resolved_by_dns(address, port)
        if subset is not None and subset.labels:
            endpoints = ()  # a name has no labels (8.4.2)
            problem = unlabelled(address, wanted.subset)
        spec = wanted.cluster(STATIC if is_ip(address) else DNS, endpoints)
        return self._with_policy(spec, rule, subset, None, wanted.carries), problem

    def _usable(
        self, endpoints: Iterable[EndpointSpec], discovery: str, service: Service
    ) -> Iterable[EndpointSpec]:
        """Without names where only addresses can stand (11.3)."""
        for endpoint in endpoints:
            address = endpoint.address
            named = not address.startswith("unix:") and not is_ip(address)
            if named and discovery == STATIC:
                self._report.say(
                    "warning",
                    "GWD0104",
                    f'endpoint "{address}" of {service.host} is left out: resolution '
                    f"{service.resolution} takes IP addresses, not names",
                    service.resource,
                    help="use resolution: DNS",
                )
            elif address:
                yield endpoint

    def _with_policy(
        self,
        spec: ClusterSpec,
        rule: MergedRule | None,
        subset: Subset | None,
        service: Service | None,
        carries: str,
    ) -> ClusterSpec:
        mesh = self._options.mesh
        top = rule.traffic_policy if rule is not None else None
        policy = resolve_policy(
            top, subset.traffic_policy if subset else None, spec.port, mesh.default_traffic_policy
        )
        metadata = {}
        if service is not None:
            metadata["service"] = f"{service.kind} {service.resource.full_name}"
        if rule is not None:
            metadata["destination_rule"] = ", ".join(r.full_name for r in rule.resources)
        if policy.tunnel is not None and carries == REQUESTS:
            self._report.say(
                "warning",
                "GWD0104",
                f"requests to {spec.host} go there without the tunnel: it is a matter only of TCP and TLS routes",
                rule.resources[0] if rule is not None else None,
            )
        made = apply_policy(spec, policy, float(mesh.connect_timeout), metadata)
        if carries == REQUESTS:
            declared = service.ports.get(spec.port) if service is not None else None
            protocol = upstream_protocol(
                declared.protocol if declared is not None else UNSUPPORTED, policy, mesh.h2_upgrade_policy
            )
            made = replace(made, protocol=protocol)
        resource = service.resource if service is not None else None
        setting, forced = locality_setting(policy.load_balancer, resource, mesh)
        made = by_locality(made, setting, self._here, failover=forced or made.outlier is not None)
        tls = self._tls.of(made, policy.tls, rule, service, carries)
        return replace(made, tls_spec=tls.spec, tls=tls.holder, tls_http2=tls.http2_holder)


def _key(destination: Destination, namespace: str, listener_port: int) -> tuple[str, str, int, str, int]:
    """What a target depends on."""
    port = destination.port.number if destination.port is not None else 0
    return destination.host, destination.subset, port, namespace, 0 if port else listener_port
