"""HOT: a route and what it does, compiled so that a request only reads attributes.

Everything a request needs is worked out by the compiler: names resolved to objects, strings to
bytes, policies a route does not use left out. Nothing here knows resources or sockets. The cluster of
a destination is an object the compiler put there; :mod:`gatewayd.routing` never looks inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

#: ``Route.action``
FORWARD: Final = 0
REDIRECT: Final = 1
DIRECT_RESPONSE: Final = 2


class RouteSource:
    """Where a route was written, for the log, ``explain`` and findings.

    ``owner`` is the document (resources stand below, and are known by their shape): its line may move while the route
    stays, when something else in its file changes.
    """

    __slots__ = ("_entry", "block", "owner", "rule")

    def __init__(
        self, owner: Any, rule: int, block: str = "http", entry: tuple[str, int] | None = None
    ) -> None:
        """``entry``: the list of the document's spec and the index there that have the line, if not the rule's own."""
        self.owner = owner
        #: index in its block (or of the Ingress path)
        self.rule = rule
        #: of the VirtualService: http, tls or tcp
        self.block = block
        self._entry = entry

    @property
    def kind(self) -> str:
        """``VirtualService`` or ``Ingress``."""
        return str(self.owner.kind)

    @property
    def namespace(self) -> str:
        """Of the document."""
        return str(self.owner.namespace)

    @property
    def name(self) -> str:
        """Of the document."""
        return str(self.owner.name)

    @property
    def file(self) -> str:
        """Where the document is."""
        return str(self.owner.file)

    @property
    def line(self) -> int:
        """Where the rule begins; the document, if that is not known."""
        known = self.owner.rule_position(*(self._entry or (self.block, self.rule)))
        return int(known.line if known is not None else self.owner.line)

    @property
    def config(self) -> str:
        """The document as Istio's route metadata name it."""
        kind = "virtual-service" if self.kind == "VirtualService" else self.kind.lower()
        return f"/apis/networking.istio.io/v1/namespaces/{self.namespace}/{kind}/{self.name}"

    @property
    def title(self) -> str:
        """``VirtualService shop/cart http[0]``: the same rule before and after a reload."""
        return f"{self.kind} {self.namespace}/{self.name} {self.block}[{self.rule}]"


class Destination:
    """One weighted target of a route.

    ``cluster`` is None when the destination names no known service, port or subset: 503 ``NC``
    (semantics 6.1.2). ``cluster_name`` is then still what the log prints.
    """

    __slots__ = (
        "authority",
        "authority_told",
        "cluster",
        "cluster_name",
        "request_ops",
        "response_ops",
        "weight",
    )

    def __init__(
        self,
        cluster: Any,
        cluster_name: str,
        weight: int = 1,
        authority: bytes | None = None,
        request_ops: Any = None,
        response_ops: Any = None,
        *,
        authority_told: bool = True,
    ) -> None:
        self.cluster = cluster
        self.cluster_name = cluster_name
        self.weight = weight
        #: upstream Host after rewrite.authority / header operations on Host (semantics 6.2.6, 6.2.7)
        self.authority = authority
        #: whether x-envoy-original-host says what it was: not for one of several destinations (6.3.5)
        self.authority_told = authority_told
        #: compiled header operations in effect for this destination: rule's and destination's, levels
        #: already in Envoy's order (semantics 6.2.4, 6.2.5); None when there are none
        self.request_ops = request_ops
        self.response_ops = response_ops


@dataclass(frozen=True, slots=True)
class RedirectAction:
    """``redirect`` of a rule (semantics 6.4); see :func:`gatewayd.policies.redirect.location`."""

    status: int
    scheme: bytes | None = None
    authority: bytes | None = None
    port: int | None = None
    uri: bytes | None = None
    prefix_rewrite: bytes | None = None
    #: httpsRedirect: the Host as received, its port kept whatever it is (semantics 2.6.1)
    host_verbatim: bool = False


@dataclass(frozen=True, slots=True)
class DirectResponseAction:
    """``directResponse`` of a rule (semantics 6.5)."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class PathMatched:
    """What the route's uri condition matched, for rewrites and redirects (semantics 6.3.1).

    ``kind`` is ``exact``, ``prefix``, ``regex``, ``segment_prefix`` (Ingress, 13.6) or ``none``
    (which acts as prefix ``/``); ``length`` is that of the matched prefix in bytes.
    """

    kind: str = "none"
    value: bytes = b"/"

    @property
    def length(self) -> int:
        """Length of the matched prefix in bytes."""
        return len(self.value)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries in addition to the first try (semantics 6.7, 15)."""

    attempts: int = 2
    retry_on: frozenset[str] = frozenset(
        {"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}
    )
    status_codes: frozenset[int] = frozenset()
    per_try_timeout_s: float = 0.0
    base_interval_s: float = 0.025
    ignore_previous_hosts: bool = True
    remote_localities: bool = False  # semantics 6.7.7


#: What every route without ``retries`` gets (semantics 6.7.1).
DEFAULT_RETRY: Final = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Mirror:
    """One target that gets copies of requests (semantics 6.9)."""

    cluster: Any
    #: how many of a million requests are copied
    millionths: int


#: Prefixes of the fields that a request gets on its way.
WRITTEN_HERE: Final = (b"x-forwarded-", b"x-request-id", b"x-envoy-")


@dataclass(frozen=True, slots=True)
class RoutePolicies:
    """What only some routes ask for; a route without any of it has none of these objects and pays nothing."""

    fault: Any = None  # gatewayd.policies.fault.FaultPolicy
    cors: Any = None  # gatewayd.policies.cors.CorsPolicy
    mirrors: tuple[Mirror, ...] = ()
    #: of all destinations in order, combined as Envoy combines those of a route (semantics 9.2)
    hashes: tuple[Any, ...] = ()  # of gatewayd.policies.hash_policy
    #: True when none of the hashes may read a field that is only written on the way upstream
    hashes_as_received: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        """Look at the names of the hashes."""
        read = (getattr(policy, "name", b"") for policy in self.hashes)
        object.__setattr__(
            self, "hashes_as_received", not any(name.startswith(WRITTEN_HERE) for name in read)
        )


@dataclass(slots=True, eq=False)
class Route:
    """One compiled match alternative of a rule and its action."""

    name: str  # ROUTE_NAME of the log, "" prints "-" (semantics 5.19, 17.6)
    action: int
    destinations: tuple[Destination, ...] = ()
    #: picks one of several destinations (weights, semantics 6.1.5); None when there is exactly one
    pick: Callable[[], Destination] | None = None
    redirect: RedirectAction | None = None
    direct: DirectResponseAction | None = None
    #: response operations of redirects and direct responses (semantics 6.2.8)
    response_ops: Any = None
    #: (path, query) -> new path with query; query comes without "?", None when there was none
    rewrite: Callable[[bytes, bytes | None], bytes] | None = None
    path_matched: PathMatched = field(default_factory=PathMatched)
    timeout_s: float = 0.0  # 0 = none (semantics 6.6.1)
    retry: RetryPolicy | None = DEFAULT_RETRY
    #: value of x-envoy-decorator-operation (semantics 14.3.5)
    decorator: bytes = b""
    source: RouteSource | None = None
    policies: RoutePolicies | None = None
    #: under which name statistics are kept of it, "" = none are (semantics 5.19)
    statistics: str = ""
    #: True when the request goes upstream with nothing but the standard headers changed: no rewrite,
    #: no operations, one known destination, no timeout, no further policies. Set by
    #: :meth:`seal`.
    plain: bool = False
    #: True when the request's head goes upstream with nothing but the standard headers changed, whatever else
    #: the route asks for: no rewrite, no operations, a known authority. Set by :meth:`seal`.
    prepared: bool = False
    #: True when policies of the route, or of a cluster it may lead to, want an exchange of their own
    policed: bool = False
    #: True when it would be plain but for its mirrors
    only_mirrored: bool = False
    #: True when it limits the time of a request or of an attempt. Set by :meth:`seal`.
    timed: bool = False
    #: what the proxy has worked out for requests here that need nothing of their own, under these options
    plan: Any = None
    planned_for: Any = None

    def seal(self) -> Route:
        """Work out ``plain`` and what follows it; the compiler calls it last."""
        clusters_policed = any(getattr(each.cluster, "policed", False) for each in self.destinations)
        self.policed = self.policies is not None or clusters_policed
        self.prepared = (
            self.action == FORWARD
            and self.rewrite is None
            and all(each.authority is None and each.request_ops is None for each in self.destinations)
        )
        self.timed = bool(self.timeout_s or (self.retry is not None and self.retry.per_try_timeout_s))
        first = self.destinations[0] if len(self.destinations) == 1 else None
        straight = (
            self.prepared
            and first is not None
            and first.cluster is not None
            and first.response_ops is None
            and not self.timed
        )
        self.plain = straight and not self.policed
        self.only_mirrored = (
            straight
            and not clusters_policed
            and self.policies is not None
            and self.policies == RoutePolicies(mirrors=self.policies.mirrors)
        )
        return self
