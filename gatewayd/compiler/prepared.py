"""VirtualServices made ready: what :mod:`gatewayd.compiler.prepare` gives and binding takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatewayd.compiler.headers import Ops
from gatewayd.compiler.matches import Shape
from gatewayd.resources.meta import Resource
from gatewayd.resources.virtual_service import HTTPMatchRequest, HTTPRoute
from gatewayd.routing.route import RetryPolicy, RouteSource

#: how it is seen, its age, whether it is made of an Ingress, and of which rule there
Rank = tuple[int, tuple[str, str, str], bool, int]
Rewrite = Callable[[bytes, bytes | None], bytes]


@dataclass(slots=True, eq=False)
class Alternative:
    """One entry of ``match``, or the one entry of a rule without it."""

    match: HTTPMatchRequest | None
    shape: Shape
    name: str
    rewrite: Rewrite | None = None


@dataclass(slots=True, eq=False)
class PreparedRule:
    """A rule with what its document says, ready to be looked at from any server."""

    rule: HTTPRoute
    alternatives: tuple[Alternative, ...]
    ops: tuple[Ops, ...]
    retry: RetryPolicy | None
    namespace: str  # of the document that wrote the destinations
    source: RouteSource
    resource: Resource[Any]
    path: str  # of the rule in its document, "spec.http[0]"


@dataclass(slots=True, eq=False)
class Prepared:
    """A VirtualService, or what an Ingress comes to, ready to be bound to servers."""

    resource: Resource[Any]
    name: str
    namespace: str
    hosts: tuple[str, ...]  # in full (1.5)
    gateways: tuple[str, ...]  # namespace/name
    rules: list[PreparedRule]
    #: which come first where several share a host (1.11): private ones, then those exported by name, then public
    #: ones, each group by age
    rank: Rank

    @property
    def is_ingress(self) -> bool:
        """Whether it is made of Ingresses."""
        return self.rank[2]

    @property
    def looks_at_gateway(self) -> bool:
        """Whether what applies depends on the Gateway, not only on the port."""
        return any(
            option.match is not None and option.match.gateways
            for item in self.rules
            for option in item.alternatives
        )
