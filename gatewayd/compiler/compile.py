"""The compilation as one list of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from gatewayd.compiler.defaults import mesh_retry_policy
from gatewayd.compiler.destination_rules import RuleBook
from gatewayd.compiler.destinations import Clusters
from gatewayd.compiler.endpoints import EndpointSources
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateway_ports import PortTranslation
from gatewayd.compiler.gateways import merge_servers, selected
from gatewayd.compiler.ingress import compile_ingresses
from gatewayd.compiler.l4 import L4Compiler
from gatewayd.compiler.listeners import ListenerCompiler
from gatewayd.compiler.memory import CompileMemory, release
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.ordering import by_age
from gatewayd.compiler.prepare import Preparer
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.review import review_bindings, review_gateways, review_rules, unused_delegates
from gatewayd.compiler.server_tls import ServerTlsCompiler
from gatewayd.compiler.services import build_registry
from gatewayd.compiler.telemetry import telemetry_of
from gatewayd.compiler.tls_holders import hold
from gatewayd.compiler.tracing import collector_of, istio_tags
from gatewayd.compiler.upstream_tls import UpstreamTlsCompiler
from gatewayd.compiler.virtual_hosts import BindingIndex, Matched
from gatewayd.compiler.virtual_services import RuleCompiler
from gatewayd.resources.destination_rule import DestinationRule
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.ingress import Ingress, IngressClass
from gatewayd.resources.meta import Resource
from gatewayd.resources.pod import Pod
from gatewayd.resources.service import Endpoints, EndpointSlice, Service
from gatewayd.resources.service_entry import ServiceEntry
from gatewayd.resources.telemetry import Telemetry
from gatewayd.resources.virtual_service import VirtualService
from gatewayd.resources.workload import WorkloadEntry
from gatewayd.snapshot import Snapshot
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec
from gatewayd.upstream.spec import ClusterSpec

_Spec = TypeVar("_Spec")


def compile_snapshot(
    resources: Sequence[Resource[Any]],
    options: CompileOptions,
    adopt: Callable[[ClusterSpec], Any],
    version: int = 0,
    server_tls: Callable[[ServerTlsSpec], Any] = hold,
    client_tls: Callable[[ClientTlsSpec], Any] = hold,
    memory: CompileMemory | None = None,
) -> Snapshot:
    """Compile ``resources`` for one proxy.

    ``adopt`` turns a cluster's spec into the object that routes hold (``Destination.cluster``); it is
    called once for each cluster that some route names. ``server_tls`` and ``client_tls`` turn what servers
    and clusters ask of TLS into the holders of their contexts; a holder that says it has a ``problem``
    becomes a finding. ``memory``: of the compilation before, so that resources which are the same objects as
    then cost little. Never raises for anything in a resource: what cannot be served is set aside, with a
    finding.
    """

    def of(model: type[_Spec]) -> list[Resource[_Spec]]:
        return [resource for resource in resources if type(resource.spec) is model]

    report = Reporter()
    memory = memory or CompileMemory()
    mesh = options.mesh
    options = replace(
        options,
        telemetry=telemetry_of(
            of(Telemetry),
            viewer=options.namespace,
            labels=options.labels,
            root=mesh.root_namespace,
            report=report,
        ),
    )
    memory.begin(options)
    services, entries, pods = of(Service), of(ServiceEntry), of(Pod)
    domain, viewer = options.cluster_domain, options.namespace

    sources = EndpointSources(of(EndpointSlice), of(Endpoints), pods, of(WorkloadEntry))
    registry = build_registry(
        services,
        entries,
        sources,
        viewer=viewer,
        domain=domain,
        default_export_to=mesh.default_service_export_to,
    )
    rules = RuleBook(
        of(DestinationRule),
        viewer=viewer,
        labels=options.labels,
        root=mesh.root_namespace,
        domain=domain,
        default_export_to=mesh.default_destination_rule_export_to,
    )
    upstream_tls = UpstreamTlsCompiler(options, client_tls, report)
    clusters = Clusters(registry, rules, options, adopt, upstream_tls, report)
    default_retry = mesh_retry_policy(mesh)

    # VirtualServices and Ingresses, each on its own
    virtual_services = by_age(of(VirtualService))
    preparer = Preparer(virtual_services, options, default_retry, report, memory)
    ingresses = compile_ingresses(of(Ingress), of(IngressClass), registry, options, default_retry, report)
    prepared: list[Prepared] = []
    for resource in virtual_services:
        if resource.spec.hosts:
            ready = preparer.prepare(resource)
            if ready is not None:
                prepared.append(ready)
    delegates = [resource for resource in virtual_services if not resource.spec.hosts]
    unused_delegates(delegates, preparer.pulled_in, report)

    index = BindingIndex()
    hidden: set[int] = set()
    for item in prepared:
        export_to = item.resource.spec.export_to or mesh.default_virtual_service_export_to
        if not index.add(item, export_to, viewer, item.gateways):
            hidden.add(id(item))
            report.say(
                "info",
                "GWD0105",
                f"VirtualService {item.resource.full_name} is not exported to namespace {viewer}",
                item.resource,
                "spec.exportTo",
            )
    for item in ingresses.prepared:
        index.add(item, (), viewer, item.gateways)
    index.sort()

    # Gateways and their servers
    all_gateways = ingresses.gateways + by_age(of(Gateway))
    ports = PortTranslation(services, entries, pods, namespace=viewer, labels=options.labels, domain=domain)
    groups = merge_servers(selected(all_gateways, options.labels, report), ports, report)

    # Together
    compiler = RuleCompiler(clusters, memory)
    matched = Matched()
    l4 = L4Compiler(index, clusters, registry, rules, options, matched, report)
    tls = ServerTlsCompiler(options, server_tls, report)
    making = ListenerCompiler(
        index, compiler, l4, tls, clusters, registry, rules, options, matched, report, memory
    )
    listeners = making.compile(groups)

    servers = [server for group in groups for server in group.servers]
    gateways = {gateway.full_name: gateway for gateway in all_gateways}
    visible = [item for item in prepared if id(item) not in hidden]
    review_bindings(visible, gateways, servers, matched, report)
    review_gateways(
        servers, {name for item in visible for name in item.gateways} | _names(ingresses.gateways), report
    )
    review_rules(making.tables, compiler, report)
    l4.usage.review(visible, matched)
    memory.end()
    for built in making.tables:
        release(built.hosts)
    collector = collector_of(options, registry, report)
    return Snapshot(
        listeners=tuple(listeners),
        clusters=clusters.specs,
        adopted=clusters.adopted,
        findings=report.findings,
        version=version,
        set_aside=report.resources_set_aside,
        collector=collector,
        span_tags=tuple(istio_tags(options).items()),
        access_log=options.telemetry.access_log,
    )


def _names(gateways: Iterable[Resource[Gateway]]) -> set[str]:
    return {gateway.full_name for gateway in gateways}
