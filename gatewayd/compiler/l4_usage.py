"""What came of ``tcp`` and ``tls`` rules, for the findings: used, behind another, or for no server here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from gatewayd.compiler.findings import Reporter, place
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.names import MESH
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.virtual_hosts import Matched
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
        self._named: set[_Key] = set()

    def used(self, resource: Resource[Any], path: str) -> None:
        """The rule or match at ``path`` routes something."""
        self._used.add((resource.full_name, path))

    def named(self, resource: Resource[Any], path: str) -> None:
        """Why the rule or match at ``path`` has no effect is said elsewhere."""
        self._named.add((resource.full_name, path))

    def left_out(self, resource: Resource[Any], block: str, index: int, reason: str) -> None:
        """A rule names no destination (7.7)."""
        path = f"spec.{block}[{index}]"
        self.named(resource, path)
        self._report.say("error", "GWD0104", f"{block}[{index}] is left out: {reason}", resource, path)

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

    def review(self, prepared: Iterable[Prepared], matched: Matched) -> None:
        """Say which rules have no effect, and why. A VirtualService no server takes a host of has been named."""
        for item in prepared:
            blocks = matched.blocks.get(id(item))
            if item.resource.kind == "VirtualService" and blocks is not None:
                self._review(item, blocks)

    def _review(self, item: Prepared, blocks: set[str]) -> None:
        spec: VirtualService = item.resource.spec
        for block in ("http", "tls", "tcp"):
            if getattr(spec, block) and block not in blocks and MESH not in item.gateways:
                self._report.say(
                    "warning",
                    "GWD0103",
                    f"{block} of VirtualService {item.resource.full_name} has no effect on its gateways: "
                    f"none of the servers that take its hosts {_SERVERS[block]}",
                    item.resource,
                    f"spec.{block}",
                )
        if "tcp" in blocks:
            for index in range(len(spec.tcp)):
                rule = f"spec.tcp[{index}]"
                self._say_unused(item, rule, rule)
        if "tls" in blocks:
            for index, route in enumerate(spec.tls):
                rule = f"spec.tls[{index}]"
                for at in range(len(route.match)):
                    self._say_unused(item, rule, f"{rule}.match[{at}]")

    def _say_unused(self, item: Prepared, rule: str, path: str) -> None:
        name = item.resource.full_name
        if (name, path) in self._used or not self._named.isdisjoint(((name, rule), (name, path))):
            return
        title = path.removeprefix("spec.")
        reason = self._hidden.get((name, path))
        if reason is not None:
            message = f"{title} can never match: {reason}"
            self._report.say("warning", "IST0130", message, item.resource, path)
        else:
            message = f"{title} applies nowhere: its port and gateways fit no server this VirtualService is bound to"
            self._report.say("info", "GWD0105", message, item.resource, path)


def _rule(resource: Resource[Any], path: str) -> str:
    return f"{path.removeprefix('spec.')} of VirtualService {resource.full_name} ({place(resource, path)})"
