"""Which findings have to be looked at again after a change, and by whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateways import GeneratedGateway
from gatewayd.compiler.l4 import L4Compiler
from gatewayd.compiler.l4_usage import review_blocks, review_rules
from gatewayd.compiler.meetings import Meetings
from gatewayd.compiler.names import MESH
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.review import (
    Dead,
    dead_within,
    hidden_by_others,
    review_bindings,
    review_gateway,
    review_host,
    review_reach,
    say_dead,
)
from gatewayd.compiler.servers import Servers
from gatewayd.compiler.virtual_hosts import Spots, Tables

#: What owns the findings about a VirtualService: of how it is bound, its own rules, those of others, and connections.
_OWNERS = ("bound", "reached", "hidden", "connected")


class Reviewer:
    """Says what there is to say about the whole, and says it again where that may be something else now."""

    def __init__(
        self, servers: Servers, meetings: Meetings, tables: Tables, l4: L4Compiler, report: Reporter
    ) -> None:
        self._servers = servers
        self._meetings = meetings
        self._tables = tables
        self._l4 = l4
        self._report = report
        #: who names Gateways that do not exist
        self._astray: set[Prepared] = set()
        #: alternatives that their own VirtualService hides
        self._dead: dict[Prepared, Dead] = {}
        #: who has rules that others hide
        self._hidden: set[Prepared] = set()
        #: Gateways that nothing is bound to
        self._idle: set[str] = set()

    def leave(self, gone: Iterable[Prepared]) -> None:
        """These are not bound any more."""
        for prepared in gone:
            self._astray.discard(prepared)
            self._hidden.discard(prepared)
            self._dead.pop(prepared, None)
            for owner in _OWNERS:
                self._report.forget((owner, prepared))

    def review(
        self, dirty: Collection[Prepared], placed: set[Prepared], spots: Spots, gateways: set[str]
    ) -> None:
        """Look again at what depends on what changed.

        ``dirty``: who meets others than before; ``placed``: whose bindings were made; ``spots``: where others have
        the rules; ``gateways``: that came, went or have other servers.
        """
        for prepared in {*dirty, *self._astray} if gateways else dirty:
            self._review_bindings(prepared)
        for prepared in placed:
            self._review_reach(prepared)
        affected: set[Prepared] = placed & self._hidden
        for table, name in spots:
            host = table.hosts.get(name)
            with self._report.by(("shared", table, name)):
                if host is not None and host.shared:
                    review_host(name, host, self._report)
            for bound in host.bounds if host is not None else ():
                if host is not None and (host.hidden or bound.prepared in self._hidden):
                    affected.add(bound.prepared)
        for prepared in affected:
            self._review_hidden(prepared)
        for prepared in self._l4.renewed | {each for each in dirty if self._l4.concerns(each)}:
            self._review_connections(prepared)
        self._l4.renewed.clear()
        self._review_gateways(gateways)

    def _review_bindings(self, prepared: Prepared) -> None:
        if prepared.is_ingress:
            return
        blocks = self._meetings.blocks(prepared)
        with self._report.by(("bound", prepared)):
            review_bindings(prepared, self._servers, self._meetings, self._report)
            if blocks is not None:
                review_blocks(prepared, blocks, self._report)
        known = self._servers.gateways
        astray = any(name not in known and name != MESH for name in prepared.gateways)
        (self._astray.add if astray else self._astray.discard)(prepared)

    def _review_reach(self, prepared: Prepared) -> None:
        bounds = self._tables.bounds(prepared)
        dead = dead_within(bounds)
        if dead:
            self._dead[prepared] = dead
        else:
            self._dead.pop(prepared, None)
        with self._report.by(("reached", prepared)):
            for (item, option), taker in dead.items():
                say_dead(item, option, taker, self._report)
            review_reach(prepared, bounds, self._report)

    def _review_hidden(self, prepared: Prepared) -> None:
        dead = hidden_by_others(prepared, self._tables.spots(prepared), self._dead.get(prepared, {}))
        with self._report.by(("hidden", prepared)):
            for (item, option), taker in dead.items():
                say_dead(item, option, taker, self._report)
        (self._hidden.add if dead else self._hidden.discard)(prepared)

    def _review_connections(self, prepared: Prepared) -> None:
        blocks = self._meetings.blocks(prepared)
        places = self._servers.places
        servers = sorted(
            (server for server, _ in self._meetings.of(prepared)), key=lambda server: places[server]
        )
        usages = [self._l4.usages[server] for server in servers if server in self._l4.usages]
        with self._report.by(("connected", prepared)):
            if blocks is not None:
                review_rules(prepared, blocks, usages, self._report)

    def _review_gateways(self, gateways: set[str]) -> None:
        """Gateways no VirtualService is bound to; one that was generated has routes of its own."""
        servers = self._servers.of_gateway
        idle = {
            name
            for name in servers
            if not self._meetings.names(name)
            and not isinstance(self._servers.gateways[name], GeneratedGateway)
        }
        for name in self._idle - idle:
            self._report.forget(("idle", name))
        for name in idle - self._idle | idle & gateways:
            with self._report.by(("idle", name)):
                found = [server for server, _ in servers[name]]
                review_gateway(self._servers.gateways[name], found, self._report)
        self._idle = idle
