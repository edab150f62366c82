"""The compilation as one list of steps, each of which does what changed since it was done last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gatewayd.compiler.clusters import Clusters
from gatewayd.compiler.defaults import mesh_retry_policy
from gatewayd.compiler.delta import Delta, Key, keyed
from gatewayd.compiler.destination_rules import RuleBook
from gatewayd.compiler.destinations import DestinationCompiler
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.ingress import Ingresses
from gatewayd.compiler.l4 import L4Compiler
from gatewayd.compiler.listeners import ListenerCompiler
from gatewayd.compiler.meetings import Meetings
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.prepare import Preparer
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.reviewer import Reviewer
from gatewayd.compiler.server_tls import ServerTlsCompiler
from gatewayd.compiler.servers import Servers
from gatewayd.compiler.services import Registry
from gatewayd.compiler.telemetry import TelemetryBook
from gatewayd.compiler.tls_holders import hold
from gatewayd.compiler.tracing import collector_of, istio_tags
from gatewayd.compiler.upstream_tls import UpstreamTlsCompiler
from gatewayd.compiler.virtual_hosts import Tables
from gatewayd.compiler.virtual_services import RuleCompiler
from gatewayd.release import release
from gatewayd.resources.meta import Resource
from gatewayd.snapshot import Snapshot
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec
from gatewayd.upstream.spec import ClusterSpec


def compile_snapshot(
    resources: Iterable[Resource[Any]],
    options: CompileOptions,
    adopt: Callable[[ClusterSpec], Any],
    version: int = 0,
    server_tls: Callable[[ServerTlsSpec], Any] = hold,
    client_tls: Callable[[ClientTlsSpec], Any] = hold,
) -> Snapshot:
    """Compile ``resources`` once, for one proxy; see :class:`Compiler`."""
    return Compiler(options, server_tls, client_tls).compile(keyed(resources), adopt, version)


class Compiler:
    """Compiles resources for one proxy, again and again: what did not change is not compiled again.

    ``server_tls`` and ``client_tls`` turn what servers and clusters ask of TLS into the holders of their contexts; a
    holder that says it has a ``problem`` becomes a finding. Findings and snapshots are those of a compilation from
    nothing. After an exception it must not be used any more.
    """

    def __init__(
        self,
        options: CompileOptions,
        server_tls: Callable[[ServerTlsSpec], Any] = hold,
        client_tls: Callable[[ClientTlsSpec], Any] = hold,
    ) -> None:
        self.options = options
        mesh = options.mesh
        self._resources: Mapping[Key, Resource[Any]] = {}
        self._report = report = Reporter()
        self._telemetry = TelemetryBook(options.namespace, options.labels, mesh.root_namespace, report)
        #: the options with what the Telemetry resources say
        self._observed = options
        self._registry = Registry(
            viewer=options.namespace,
            domain=options.cluster_domain,
            default_export_to=mesh.default_service_export_to,
        )
        self._rules = RuleBook(
            viewer=options.namespace,
            labels=options.labels,
            root=mesh.root_namespace,
            domain=options.cluster_domain,
            default_export_to=mesh.default_destination_rule_export_to,
        )
        upstream_tls = UpstreamTlsCompiler(options, client_tls, report)
        destinations = DestinationCompiler(self._registry, self._rules, options, upstream_tls, report)
        self._clusters = Clusters(destinations, upstream_tls, report)
        default_retry = mesh_retry_policy(mesh)
        self._preparer = Preparer(options, default_retry, report)
        self._ingresses = Ingresses(self._registry, options, default_retry, report)
        self._servers = Servers(options, report)
        self._meetings = Meetings(self._servers)
        self._bindings = RuleCompiler(self._clusters)
        self._tables = Tables(self._bindings, options.namespace, options.labels or {})
        self._l4 = L4Compiler(self._clusters, self._registry, self._rules, options, report)
        self._server_tls = ServerTlsCompiler(options, server_tls, report)
        self._listeners = ListenerCompiler(
            self._tables,
            self._l4,
            self._server_tls,
            self._clusters,
            self._registry,
            self._rules,
            options,
            report,
        )
        self._reviewer = Reviewer(self._servers, self._meetings, self._tables, self._l4, report)

    def compile(
        self, resources: Mapping[Key, Resource[Any]], adopt: Callable[[ClusterSpec], Any], version: int = 0
    ) -> Snapshot:
        """The snapshot of ``resources``, which nobody may change any more.

        ``adopt`` turns a cluster's spec into the object that routes hold (``Destination.cluster``); it is
        called for each cluster that is new, or whose spec is another than before. Never raises for anything in a
        resource: what cannot be served is set aside, with a finding.
        """
        delta = Delta(self._resources, resources)
        self._resources = resources
        self._clusters.adopting(adopt)

        if self._telemetry.update(delta):
            self._observed = replace(self.options, telemetry=self._telemetry.spec)
            self._listeners.observe(self._observed)

        # What destinations mean
        hosts = self._registry.update(delta)
        patterns = self._rules.update(delta)
        self._clusters.refresh(hosts, patterns, known_hosts_changed=bool(delta.of("Service", "ServiceEntry")))
        if hosts or patterns:
            self._l4.void()
            self._listeners.void()

        # VirtualServices and Ingresses, each on its own
        gone: list[Prepared] = []
        come: list[Prepared] = []
        self._ingresses.update(delta, hosts, gone, come)
        self._preparer.update(delta, gone, come)

        # Gateways and their servers
        gateways = self._servers.update(delta, self._ingresses.gateways)
        if gateways:
            self._tables.arrange(self._servers.groups)
            self._l4.arrange(self._servers.places)

        # Together
        self._reviewer.leave(gone)
        for prepared in gone:
            self._tables.remove(prepared)
            self._l4.place(prepared, ())
        dirty = self._meetings.update(gone, come, gateways)
        for prepared in dirty:
            self._l4.place(prepared, self._meetings.of(prepared))
        placed = self._bind(dirty)
        tables, spots = self._tables.renew(self._servers.places)
        listeners = self._listeners.compile(tables)

        # What there is to say
        self._reviewer.review(dirty, placed, spots, gateways)
        self._server_tls.review(self._servers.places)
        self._clusters.review()
        with self._report.by("collector"):
            collector = collector_of(self._observed, self._registry, self._report)
        snapshot = Snapshot(
            listeners=listeners,
            clusters=self._clusters.specs,
            adopted=self._clusters.adopted,
            findings=self._report.findings,
            version=version,
            set_aside=self._report.resources_set_aside,
            collector=collector,
            span_tags=tuple(istio_tags(self._observed).items()),
            access_log=self._telemetry.spec.access_log,
        )
        release(gone)
        delta.release()
        return snapshot

    def _bind(self, dirty: dict[Prepared, None]) -> set[Prepared]:
        """Bind ``dirty``, and whoever asked for clusters that are others now, until all have the right ones."""
        placed: set[Prepared] = set()
        waiting = dirty
        while True:
            placed.update(waiting)
            for prepared in waiting:
                self._tables.place(prepared, self._meetings.of(prepared))
            self._listeners.connect(self._servers.groups)
            askers = self._clusters.askers(self._clusters.settle())
            if not askers:
                return placed
            self._l4.void_routes(askers)
            self._listeners.void(askers)
            waiting = self._bindings.void(askers)

    def void(self, clusters: Iterable[str]) -> None:
        """The objects of these clusters were let go; they are adopted anew with the next compilation."""
        self._clusters.void(clusters)
