"""Which VirtualServices meet which servers, and with which hosts (semantics 2.2.2, 2.2.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gatewayd.compiler.gateways import GatewayServer, ServerGroup
from gatewayd.compiler.host_index import HostIndex
from gatewayd.compiler.names import HostSet, hosts_open_to
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.servers import Servers

#: So many servers are looked at one by one.
_FEW: Final = 8


class Meeting(NamedTuple):
    """A server, and the hosts it shares with a VirtualService."""

    server: GatewayServer
    hosts: Sequence[str]


class _Side:
    """The servers of one Gateway, ready to be met."""

    def __init__(self, servers: Iterable[tuple[GatewayServer, ServerGroup]]) -> None:
        self._servers = [server for server, _ in servers]
        self._index: HostIndex | None = None
        if len(self._servers) > _FEW:
            self._index = HostIndex(server.bare_hosts for server in self._servers)
        self._open: dict[tuple[GatewayServer, str], HostSet] = {}

    def near(self, hosts: Sequence[str]) -> Iterable[GatewayServer]:
        """Servers that may have a host in common with ``hosts``."""
        if self._index is None:
            return self._servers
        return [self._servers[at] for at in self._index.near(hosts)]

    def open_to(self, server: GatewayServer, namespace: str) -> HostSet:
        """The hosts of a server that are open to a namespace."""
        key = (server, namespace)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = HostSet(hosts_open_to(server.hosts, namespace))
        return found


class Meetings:
    """Who meets whom, kept from one compilation to the next."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._sides: dict[str, _Side] = {}
        #: by the Gateways they name
        self._naming: dict[str, dict[Prepared, None]] = {}
        self._of: dict[Prepared, list[Meeting]] = {}

    def of(self, prepared: Prepared) -> list[Meeting]:
        """The servers that ``prepared`` meets."""
        return self._of[prepared]

    def names(self, gateway: str) -> bool:
        """Whether anything is to be bound to a Gateway of that name."""
        return gateway in self._naming

    def update(
        self, gone: Iterable[Prepared], come: Iterable[Prepared], gateways: set[str]
    ) -> dict[Prepared, None]:
        """Take the changes in; who meets others now, of those who stay or came.

        ``gateways``: whose servers are others.
        """
        for prepared in gone:
            del self._of[prepared]
            for gateway in set(prepared.gateways):
                del self._naming[gateway][prepared]
                if not self._naming[gateway]:
                    del self._naming[gateway]
        for gateway in gateways:
            self._sides.pop(gateway, None)
            servers = self._servers.of_gateway.get(gateway)
            if servers is not None:
                self._sides[gateway] = _Side(servers)
        dirty = {prepared: None for gateway in sorted(gateways) for prepared in self._naming.get(gateway, ())}
        for prepared in come:
            for gateway in prepared.gateways:
                self._naming.setdefault(gateway, {})[prepared] = None
            dirty[prepared] = None
        for prepared in dirty:
            self._of[prepared] = list(self._meet(prepared))
        return dirty

    def _meet(self, prepared: Prepared) -> Iterator[Meeting]:
        for gateway in dict.fromkeys(prepared.gateways):
            side = self._sides.get(gateway)
            if side is None:
                continue
            for server in side.near(prepared.hosts):
                met = side.open_to(server, prepared.namespace).meet(prepared.hosts)
                if met:
                    yield Meeting(server, met)

    def taken(self, prepared: Prepared, gateway: str) -> set[str]:
        """The hosts of ``prepared`` that some server of a Gateway takes."""
        side = self._sides.get(gateway)
        servers = [server for server, _ in self.of(prepared) if server.name == gateway]
        if side is None or not servers:
            return set()
        if len(prepared.hosts) == 1:
            return set(prepared.hosts)
        return {
            host
            for host in prepared.hosts
            if any(side.open_to(server, prepared.namespace).meet((host,)) for server in servers)
        }

    def blocks(self, prepared: Prepared) -> set[str] | None:
        """Which blocks of ``prepared`` some server that it meets looks at; None when it meets none."""
        met = self.of(prepared)
        if not met:
            return None
        return {server.routed_by for server, _ in met if not server.routes_itself}
