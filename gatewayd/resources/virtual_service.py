"""VirtualService: which request goes where, and what is done to it on the way (semantics 4 to 7)."""

from typing import Literal

from msgspec import field

from gatewayd.resources.model import EMPTY, Int32, IstioModel, Seconds, UInt32


class StringMatch(IstioModel, frozen=True, kw_only=True):
    """Text to compare with; at most one is set. None set means the thing only has to be present (headers)."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class PortSelector(IstioModel, frozen=True, kw_only=True):
    """A port by number; None or 0 means the only port of the service."""

    number: UInt32 = 0


class Destination(IstioModel, frozen=True, kw_only=True):
    """A service, and optionally one of its ports and subsets."""

    host: str
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(IstioModel, frozen=True, kw_only=True):
    """Changes to headers, in the order remove, set, add (semantics 6.2)."""

    set: dict[str, str] = EMPTY
    add: dict[str, str] = EMPTY
    remove: tuple[str, ...] = ()


class Headers(IstioModel, frozen=True, kw_only=True):
    """Changes to the headers of the request and of the response."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPMatchRequest(IstioModel, frozen=True, kw_only=True):
    """Conditions which must all hold (semantics 5)."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = EMPTY
    without_headers: dict[str, StringMatch] = EMPTY
    query_params: dict[str, StringMatch] = EMPTY
    ignore_uri_case: bool = False
    port: UInt32 = 0
    source_labels: dict[str, str] = EMPTY
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    stat_prefix: str = ""


class HTTPRouteDestination(IstioModel, frozen=True, kw_only=True):
    """One share of the traffic; `weight` counts against the sum of its siblings (semantics 6.1)."""

    destination: Destination
    weight: Int32 = 0
    headers: Headers | None = None


class HTTPRedirect(IstioModel, frozen=True, kw_only=True):
    """A redirect instead of a route (semantics 6.4). `redirect_code` 0 means 301."""

    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    port: UInt32 | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: str = ""
    redirect_code: UInt32 = 0


class HTTPBody(IstioModel, frozen=True, kw_only=True):
    """A body written as text, or as base64."""

    string: str | None = None
    raw: bytes | None = field(default=None, name="bytes")


class HTTPDirectResponse(IstioModel, frozen=True, kw_only=True):
    """An answer without any upstream (semantics 6.5)."""

    status: UInt32
    body: HTTPBody | None = None


class Delegate(IstioModel, frozen=True, kw_only=True):
    """Another VirtualService whose rules take this rule's place; an empty namespace means the root's own."""

    name: str = ""
    namespace: str = ""


class RegexRewrite(IstioModel, frozen=True, kw_only=True):
    """Path rewriting by RE2 pattern and `\\1` substitution."""

    match: str = ""
    rewrite: str = ""


class HTTPRewrite(IstioModel, frozen=True, kw_only=True):
    """Path and authority rewriting (semantics 6.3)."""

    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPRetry(IstioModel, frozen=True, kw_only=True):
    """Retry policy (semantics 6.7). `attempts` None or 0 in a written policy switches retries off."""

    attempts: Int32 = 0
    per_try_timeout: Seconds | None = None
    retry_on: str = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Seconds | None = None


class Percent(IstioModel, frozen=True, kw_only=True):
    """A share from 0 to 100."""

    value: float = 0.0


class FaultDelay(IstioModel, frozen=True, kw_only=True):
    """A delay before the request goes on."""

    percent: Int32 = 0
    percentage: Percent | None = None
    fixed_delay: Seconds | None = None
    exponential_delay: Seconds | None = None


class FaultAbort(IstioModel, frozen=True, kw_only=True):
    """An answer given in place of the upstream's."""

    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: str | None = None
    percentage: Percent | None = None


class HTTPFault(IstioModel, frozen=True, kw_only=True):
    """Fault injection (semantics 6.8)."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class MirrorPolicy(IstioModel, frozen=True, kw_only=True):
    """One of several mirrors."""

    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(IstioModel, frozen=True, kw_only=True):
    """CORS (semantics 6.10)."""

    allow_origin: tuple[str, ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Seconds | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class HTTPRoute(IstioModel, frozen=True, kw_only=True):
    """One rule: conditions, one action, and what surrounds it. No `match` means every request."""

    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Seconds | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFault | None = None
    mirror: Destination | None = None
    mirrors: tuple[MirrorPolicy, ...] = ()
    mirror_percent: UInt32 | None = None
    mirror_percent_old: UInt32 | None = field(default=None, name="mirror_percent")
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class RouteDestination(IstioModel, frozen=True, kw_only=True):
    """One share of TCP or TLS connections."""

    destination: Destination
    weight: Int32 = 0


class TLSMatchAttributes(IstioModel, frozen=True, kw_only=True):
    """Conditions on a TLS connection that is passed through (semantics 7)."""

    sni_hosts: tuple[str, ...]
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_labels: dict[str, str] = EMPTY
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TLSRoute(IstioModel, frozen=True, kw_only=True):
    """A route by SNI."""

    match: tuple[TLSMatchAttributes, ...]
    route: tuple[RouteDestination, ...] = ()


class L4MatchAttributes(IstioModel, frozen=True, kw_only=True):
    """Conditions on a TCP connection."""

    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_labels: dict[str, str] = EMPTY
    source_subnet: str = ""
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TCPRoute(IstioModel, frozen=True, kw_only=True):
    """A route for TCP."""

    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualService(IstioModel, frozen=True, kw_only=True):
    """`spec`. No `gateways` means `mesh`; no `hosts` makes it a delegate (semantics 4)."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()
