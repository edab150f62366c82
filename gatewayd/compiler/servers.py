"""The servers of all Gateways, kept from one compilation to the next; who of them changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewayd.compiler.delta import Delta, Key
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateway_ports import PortTranslation
from gatewayd.compiler.gateways import GatewayServer, ServerGroup, make_server, merge_servers, selected
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.ordering import by_age
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.meta import Resource

#: what stands in front of this proxy says which port a server's means
_FRONT = ("Service", "ServiceEntry", "Pod")


class Servers:
    """Gateways become servers, and those groups that share a port and an address."""

    def __init__(self, options: CompileOptions, report: Reporter) -> None:
        self._options = options
        self._report = report
        self._written: dict[str, Resource[Gateway]] = {}
        self._generated: tuple[Resource[Gateway], ...] = ()
        self._front: dict[Key, Resource[Any]] = {}
        self._made: dict[tuple[str, int], GatewayServer] = {}
        #: all that there are, by namespace/name, also those that are not selected
        self.gateways: dict[str, Resource[Gateway]] = {}
        self.groups: list[ServerGroup] = []
        #: those that are served, in order, each with its place in it
        self.places: dict[GatewayServer, int] = {}
        #: by the name of their Gateway, with their group
        self.of_gateway: dict[str, list[tuple[GatewayServer, ServerGroup]]] = {}

    def update(self, delta: Delta, generated: tuple[Resource[Gateway], ...]) -> set[str]:
        """Take the changes in; the Gateways that are new or gone, or whose servers are others now."""
        dirty = generated != self._generated
        self._generated = generated
        for change in delta.of("Gateway"):
            dirty = True
            if change.after is None:
                del self._written[change.either.full_name]
            else:
                self._written[change.either.full_name] = change.after
        for change in delta.of(*_FRONT):
            for each in change.both:
                if each.namespace == self._options.namespace:
                    dirty = True
                    key = (each.kind, each.namespace, each.name)
                    self._front.pop(key, None)
                    if each is change.after:
                        self._front[key] = each
        return self._renew() if dirty else set()

    def _renew(self) -> set[str]:
        written = by_age(self._written.values())
        known, self.gateways = self.gateways, {each.full_name: each for each in (*self._generated, *written)}
        before, self.of_gateway = self.of_gateway, {}
        made, self._made = self._made, {}

        def make(gateway: Resource[Gateway], index: int) -> GatewayServer:
            server = made.get((gateway.full_name, index))
            if server is None or server.gateway is not gateway:
                server = make_server(gateway, index)
            self._made[gateway.full_name, index] = server
            return server

        with self._report.by("Gateways"):
            chosen = selected([*self._generated, *written], self._options.labels, self._report)
            self.groups = self._same(merge_servers(chosen, self._ports(), make, self._report))
        self.places = {}
        for group in self.groups:
            for server in group.servers:
                self.places[server] = len(self.places)
                self.of_gateway.setdefault(server.name, []).append((server, group))
        changed = {
            name for name in known.keys() | self.gateways.keys() if (name in known) != (name in self.gateways)
        }
        for name in before.keys() | self.of_gateway.keys():
            if before.get(name) != self.of_gateway.get(name):
                changed.add(name)
        return changed

    def _same(self, groups: list[ServerGroup]) -> list[ServerGroup]:
        """The former objects of groups that are as they were."""
        known = {(group.kind, group.port, group.bind): group for group in self.groups}
        same: list[ServerGroup] = []
        for group in groups:
            former = known.get((group.kind, group.port, group.bind))
            same.append(former if former is not None and former.servers == group.servers else group)
        return same

    def _ports(self) -> PortTranslation:
        options = self._options
        return PortTranslation(
            self._of("Service"),
            self._of("ServiceEntry"),
            self._of("Pod"),
            namespace=options.namespace,
            labels=options.labels,
            domain=options.cluster_domain,
        )

    def _of(self, kind: str) -> Iterable[Resource[Any]]:
        return [self._front[key] for key in sorted(self._front) if key[0] == kind]
