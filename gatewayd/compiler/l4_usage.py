"""What came of ``tcp`` and ``tls`` rules, for the findings: used, behind another, or for no server here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from gatewayd.compiler.findings import Reporter, place
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.names import MESH
from gatewayd.compiler.prepared import Prepared
from gatewayd.resources.meta import Resource
from gatewayd.resources.virtual_service import L4MatchAttributes, TLSMatchAttributes, VirtualService

_Key = tuple[str, str]  # full name of a VirtualService, path of a rule or match

#: What no gateway looks at (7.1), as it is written.
_IGNORED: Final = {
    "destination_subnets": "destinationSubnets",
    "source_labels": "sourceLabels",
    "source_namespace": "sourceNamespace",
    "source_subnet": "sourceSubnet",
}

#: What a server must be for a block to say anything about it (3.2).
_SERVERS: Final = {
    "http": "speaks HTTP",
    "tls": "has TLS mode PASSTHROUGH",
    "tcp": "is TCP, or TLS that ends there",
}


class Usage:
    """Collects, and says in the end what had no effect."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._used: set[_Key] = set()
        self._hidden: dict[_Key, str] = {}

    def used(self, resource: Resource[Any], path: str) -> None:
        """The rule or match at ``path`` routes something."""
        self._used.add((resource.full_name, path))

    def hidden(
        self, resource: Resource[Any], path: str, server: GatewayServer, taker: tuple[Resource[Any], str]
    ) -> None:
        """A server's only route is another rule (7.6)."""
        self._hidden[(resource.full_name, path)] = (
            f"{_rule(*taker)} takes every connection of {server.title} first"
        )

    def double(self, resource: Resource[Any], path: str, name: str, taker: tuple[Resource[Any], str]) -> None:
        """An SNI name has a route already, so this match is skipped whole (7.4)."""
        if taker == (resource, path):
            return  # the same match, through another server
        self._hidden[(resource.full_name, path)] = f'{_rule(*taker)} takes SNI host "{name}" first'

    def note_conditions(
        self,
        resource: Resource[Any],
        path: str,
        matches: Sequence[L4MatchAttributes | TLSMatchAttributes],
    ) -> None:
        """Conditions that only sidecars look at are left out of a gateway's routes (7.1, 7.12)."""
        for at, match in enumerate(matches):
            names = [name for field, name in _IGNORED.items() if getattr(match, field, None)]
            if names:
                verb = "is" if len(names) == 1 else "are"
                self._report.say(
                    "warning",
                    "GWD0104",
                    f"{', '.join(names)} {verb} not looked at on a gateway, as in Istio: connections match "
                    "whatever they come from and go to",
                    resource,
                    f"{path}.match[{at}]",
                )

    def review(self, prepared: Iterable[Prepared], servers: Iterable[GatewayServer]) -> None:
        """Say which rules have no effect, and why."""
        kinds: dict[str, set[str]] = {}
        for server in servers:
            kinds.setdefault(server.name, set()).update(() if server.routes_itself else (server.routed_by,))
        for item in prepared:
            if item.resource.kind != "VirtualService":
                continue
            here = [kinds[name] for name in item.gateways if name in kinds]
            if here:
                self._review(item, set().union(*here))

    def _review(self, item: Prepared, kinds: set[str]) -> None:
        spec: VirtualService = item.resource.spec
        for block in ("http", "tls", "tcp"):
            if getattr(spec, block) and block not in kinds and MESH not in item.gateways:
                self._report.say(
                    "warning",
                    "GWD0103",
                    f"{block} of VirtualService {item.resource.full_name} has no effect on its gateways: "
                    f"none of their servers {_SERVERS[block]}",
                    item.resource,
                    f"spec.{block}",
                )
        if "tcp" in kinds:
            for index in range(len(spec.tcp)):
                self._say_unused(item, f"spec.tcp[{index}]")
        if "tls" in kinds:
            for index, rule in enumerate(spec.tls):
                for at in range(len(rule.match)):
                    self._say_unused(item, f"spec.tls[{index}].match[{at}]")

    def _say_unused(self, item: Prepared, path: str) -> None:
        key = (item.resource.full_name, path)
        reason = self._hidden.get(key)
        if reason is not None and key not in self._used:
            self._report.say(
                "warning",
                "IST0130",
                f"{path.removeprefix('spec.')} can never match: {reason}",
                item.resource,
                path,
            )


def _rule(resource: Resource[Any], path: str) -> str:
    return f"{path.removeprefix('spec.')} of VirtualService {resource.full_name} ({place(resource, path)})"
