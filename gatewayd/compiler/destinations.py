"""What a destination of a route means: which cluster, or why none (semantics 6.1, 8.2.4 to 8.2.6, 11, 12, 17.3).

Nothing is remembered here: :mod:`gatewayd.compiler.clusters` asks once for each distinct question, and again when
services or DestinationRules behind the answer have changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from gatewayd.compiler.cluster_policy import apply_policy, upstream_protocol
from gatewayd.compiler.destination_rules import MergedRule, RuleBook
from gatewayd.compiler.endpoints import has_labels, is_ip
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.load_balancing import hash_policy, written_hash
from gatewayd.compiler.localities import Whereabouts, with_localities
from gatewayd.compiler.names import full_name
from gatewayd.compiler.options import REJECT, CompileOptions
from gatewayd.compiler.pins import Pins
from gatewayd.compiler.policy import resolve_policy
from gatewayd.compiler.problems import (
    Problem,
    leads_to_itself,
    no_endpoints,
    own_port,
    resolved_by_dns,
    unknown_host,
    unknown_port,
    unknown_subset,
    unlabelled,
)
from gatewayd.compiler.protocols import UNSUPPORTED
from gatewayd.compiler.services import Registry, Service
from gatewayd.compiler.upstream_tls import NO_TLS, REQUESTS, TLS, UpstreamTls, UpstreamTlsCompiler
from gatewayd.policies.hash_policy import HashPolicy
from gatewayd.resources.destination_rule import Subset
from gatewayd.resources.virtual_service import Destination
from gatewayd.upstream.spec import DNS, DYNAMIC_DNS, STATIC, ClusterSpec, EndpointSpec

#: Port of a host nobody declares when the route names none.
_HTTP_PORT: Final = 80


class Question(NamedTuple):
    """All that the answer depends on, besides the services and rules there are."""

    host: str  # as written
    subset: str
    port: int  # 0: none is written
    namespace: str  # of the document that names it
    #: number of the server, if no port is written
    listener_port: int
    #: an AUTO_PASSTHROUGH server asks: what goes there is TLS already (3.1)
    by_sni: bool = False


def question(destination: Destination, namespace: str, listener_port: int) -> Question:
    """What a destination written in ``namespace`` asks for, on a server of that port (6.1.1)."""
    port = destination.port.number if destination.port is not None else 0
    return Question(destination.host, destination.subset, port, namespace, 0 if port else listener_port)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question comes to."""

    name: str
    host: str
    port: int
    #: None: there is no such cluster, 503 NC (6.1.2)
    spec: ClusterSpec | None
    problem: Problem | None
    #: what of a request the route hashes for it (9.6)
    hashing: HashPolicy | None
    service: Service | None
    tls: UpstreamTls
    #: the hosts that were looked up on the way
    hosts: tuple[str, ...]


@dataclass(slots=True)
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
    tls: UpstreamTls = NO_TLS

    def cluster(self, discovery: str, endpoints: tuple[EndpointSpec, ...]) -> ClusterSpec:
        return ClusterSpec(self.name, self.host, self.port, self.subset, discovery, endpoints)


_Found = tuple[ClusterSpec | None, Problem | None]


class DestinationCompiler:
    """Answers questions about destinations."""

    def __init__(
        self,
        registry: Registry,
        rules: RuleBook,
        options: CompileOptions,
        tls: UpstreamTlsCompiler,
        report: Reporter,
    ) -> None:
        self._registry = registry
        self._rules = rules
        self._options = options
        self._pins = Pins(options.endpoint_pins, options.cluster_domain)
        self._here = Whereabouts.of(options.labels)
        self._tls = tls
        self._report = report

    def answer(self, asked: Question, carries: str) -> Answer:
        """``carries``: REQUESTS or BYTES."""
        if asked.by_sni:
            return self._answer_sni(asked)
        registry = self._registry
        whole = full_name(asked.host, asked.namespace, self._options.cluster_domain)
        passed = registry.chain(whole)
        host = passed[-1]
        service = registry.find(host)
        pinned = self._pins.find(host or whole, asked.subset)
        port = asked.port or self._default_port(host, asked.namespace, service, asked.listener_port)
        name = f"outbound|{port}|{asked.subset}|{host or whole}"
        wanted = _Wanted(name, host, port, asked.subset, carries, asked.namespace, bool(asked.port))
        spec: ClusterSpec | None = None
        problem: Problem | None = None
        if not host:
            problem = leads_to_itself(asked.host)
        elif service is not None or pinned:
            spec, problem = self._declared(wanted, service, pinned)
        elif self._options.unknown_hosts == REJECT or "*" in host:
            problem = unknown_host(asked.host, registry.hosts())
        else:
            # A short name is resolved as written: Compose and hosts files know no cluster domain.
            spec, problem = self._undeclared(wanted, asked.host if host == whole else host)
        if spec is not None:
            problem = problem or own_port(spec, self._options.own_ports)
        hashing = self._hashing(wanted, service) if spec is not None else None
        return Answer(
            name,
            host or whole,
            port,
            spec,
            problem,
            hashing,
            service,
            wanted.tls,
            tuple(filter(None, passed)),
        )

    def _answer_sni(self, asked: Question) -> Answer:
        """The cluster an AUTO_PASSTHROUGH server reaches under its SNI name (3.1), which it has for a name too."""
        host, port, subset = asked.host, asked.port, asked.subset
        name = f"outbound_.{port}_.{subset}_.{host}"
        service = self._registry.find(host)
        spec: ClusterSpec | None = None
        if service is not None:
            wanted = _Wanted(name, host, port, subset, TLS)
            spec, _ = self._declared(wanted, service, self._pins.find(host, subset))
        return Answer(name, host, port, spec, None, None, service, NO_TLS, tuple(self._registry.chain(host)))

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
        return self._with_policy(spec, rule, subset, service, wanted), problem

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
        return self._with_policy(spec, rule, subset, None, wanted), problem

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
        wanted: _Wanted,
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
        if policy.tunnel is not None and wanted.carries == REQUESTS:
            self._report.say(
                "warning",
                "GWD0104",
                f"requests to {spec.host} go there without the tunnel: it is a matter only of TCP and TLS routes",
                rule.resources[0] if rule is not None else None,
            )
        made = apply_policy(spec, policy, float(mesh.connect_timeout), metadata)
        if wanted.carries == REQUESTS:
            declared = service.ports.get(spec.port) if service is not None else None
            protocol = upstream_protocol(
                declared.protocol if declared is not None else UNSUPPORTED, policy, mesh.h2_upgrade_policy
            )
            made = replace(made, protocol=protocol)
        resource = service.resource if service is not None else None
        made = with_localities(made, policy.load_balancer, resource, mesh, self._here)
        tls = wanted.tls = self._tls.of(made, policy.tls, rule, service, wanted.carries)
        return replace(made, tls_spec=tls.spec, tls=tls.holder, tls_http2=tls.http2_holder)
