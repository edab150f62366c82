"""What came of ``tcp`` and ``tls`` rules, for the findings: used, behind another, or for no server here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatewayd.compiler.findings import Phrase, Reporter, Where
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.names import MESH
from gatewayd.compiler.prepared import Prepared
from gatewayd.resources.meta import Resource
from gatewayd.resources.virtual_service import L4MatchAttributes, TLSMatchAttributes, VirtualService

_Key = tuple[str, str]  # full name of a VirtualService, path of a rule or match
#: block, VirtualService, index of the rule in the block, port of the server
RouteKey = tuple[str, Prepared, int, int]

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
    """What came of the rules on one server."""

    def __init__(self) -> None:
        self.used: set[_Key] = set()
        self.hidden: dict[_Key, Phrase] = {}
        #: why it has no effect is said elsewhere
        self.named: set[_Key] = set()
        #: what was made for it
        self.routes: set[RouteKey] = set()

    def hide(
        self, resource: Resource[Any], path: str, server: GatewayServer, taker: tuple[Resource[Any], str]
    ) -> None:
        """A server's only route is another rule (7.6)."""
        template = "{} of VirtualService {} ({}) takes every connection of {} first"
        self.hidden[resource.full_name, path] = Phrase(template, *_rule(*taker), server.title)

    def double(self, resource: Resource[Any], path: str, name: str, taker: tuple[Resource[Any], str]) -> None:
        """An SNI name has a route already, so this match is skipped whole (7.4)."""
        if taker == (resource, path):
            return  # the same match, through another server
        template = '{} of VirtualService {} ({}) takes SNI host "{}" first'
        self.hidden[resource.full_name, path] = Phrase(template, *_rule(*taker), name)


def note_conditions(
    resource: Resource[Any],
    path: str,
    matches: Sequence[L4MatchAttributes | TLSMatchAttributes],
    report: Reporter,
) -> None:
    """Conditions that only sidecars look at are left out of a gateway's routes (7.1, 7.12)."""
    for at, match in enumerate(matches):
        names = [name for field, name in _IGNORED.items() if getattr(match, field, None)]
        if names:
            verb = "is" if len(names) == 1 else "are"
            report.say(
                "warning",
                "GWD0104",
                f"{', '.join(names)} {verb} not looked at on a gateway, as in Istio: connections match "
                "whatever they come from and go to",
                resource,
                f"{path}.match[{at}]",
            )


def review_blocks(item: Prepared, blocks: set[str], report: Reporter) -> None:
    """Blocks that no server looks at."""
    spec: VirtualService = item.resource.spec
    for block in ("http", "tls", "tcp"):
        if getattr(spec, block) and block not in blocks and MESH not in item.gateways:
            report.say(
                "warning",
                "GWD0103",
                f"{block} of VirtualService {item.resource.full_name} has no effect on its gateways: "
                f"none of the servers that take its hosts {_SERVERS[block]}",
                item.resource,
                f"spec.{block}",
            )


def review_rules(item: Prepared, blocks: set[str], usages: Sequence[Usage], report: Reporter) -> None:
    """``tcp`` and ``tls`` rules without effect, and why. ``usages``: of the servers ``item`` meets, in order."""
    spec: VirtualService = item.resource.spec
    if "tcp" in blocks:
        for index in range(len(spec.tcp)):
            rule = f"spec.tcp[{index}]"
            _say_unused(item, rule, rule, usages, report)
    if "tls" in blocks:
        for index, route in enumerate(spec.tls):
            rule = f"spec.tls[{index}]"
            for at in range(len(route.match)):
                _say_unused(item, rule, f"{rule}.match[{at}]", usages, report)


def _say_unused(item: Prepared, rule: str, path: str, usages: Sequence[Usage], report: Reporter) -> None:
    name = item.resource.full_name
    if any((name, path) in usage.used for usage in usages):
        return
    if any(not usage.named.isdisjoint(((name, rule), (name, path))) for usage in usages):
        return
    title = path.removeprefix("spec.")
    reasons = [usage.hidden[name, path] for usage in usages if (name, path) in usage.hidden]
    if reasons:
        reason = reasons[-1]
        message = Phrase("{} can never match: " + reason.template, title, *reason.parts)
        report.say("warning", "IST0130", message, item.resource, path)
    else:
        text = f"{title} applies nowhere: its port and gateways fit no server this VirtualService is bound to"
        report.say("info", "GWD0105", text, item.resource, path)


def _rule(resource: Resource[Any], path: str) -> tuple[str, str, Where]:
    return path.removeprefix("spec."), resource.full_name, Where(resource, path)
