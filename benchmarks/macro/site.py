"""The routing table every proxy of a run is given: virtual hosts, their rules in order, one upstream."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MatchKind = Literal["exact", "prefix", "regex", "header"]
Layout = Literal["packed", "each", "one"]
"""How documents are put into files: as many as fit, a file for each, or all in one."""

BENCH_HOST = "bench.test"
TENANT_HEADER = "x-tenant"


@dataclass(frozen=True)
class Rule:
    """One rule: the path must match by `kind` ("header": path prefix and `x-tenant` equal to `tenant`)."""

    kind: MatchKind
    path: str
    tenant: str = ""


@dataclass(frozen=True)
class Pair:
    """PEM files of a server."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True)
class VirtualHost:
    """A host name (`*` for any) and its rules, first match first; over HTTPS when it has a certificate."""

    host: str
    rules: tuple[Rule, ...]
    certificate: Pair | None = None


@dataclass(frozen=True)
class Site:
    """What a proxy serves; all rules lead to the one upstream on the loopback address."""

    hosts: tuple[VirtualHost, ...]
    upstream_port: int
    istio: tuple[str, ...] = ()
    """Further documents for gatewayd, that the others have no form for."""
    http2: bool = False
    """Whether clients speak HTTP/2: by ALPN where there is TLS, else by prior knowledge."""
    upstream_http2: bool = False
    """Whether the upstream is spoken to in HTTP/2, by prior knowledge."""
    layout: Layout = "packed"

    @property
    def tls(self) -> bool:
        """Whether it is served over HTTPS: all hosts have certificates, or none."""
        return self.hosts[0].certificate is not None

    @property
    def by_name(self) -> bool:
        """Whether the SNI chooses. A site of one host takes any: wrk says the address it connects to."""
        return len(self.hosts) > 1


def plain_site(upstream_port: int) -> Site:
    """The site of most scenarios: one host, an exact path and two prefixes."""
    rules = (Rule("exact", "/login"), Rule("prefix", "/static"), Rule("prefix", "/api"))
    return Site((VirtualHost(BENCH_HOST, rules),), upstream_port)


HOST_RULES = (
    Rule("exact", "/login"),
    Rule("exact", "/cart"),
    Rule("prefix", "/static"),
    Rule("prefix", "/api/v1"),
    Rule("prefix", "/"),
)
HOST_RULE_PATHS = ("/login", "/cart", "/static/app.js", "/api/v1/items", "/about")


def host_name(index: int) -> str:
    """Name of virtual host number `index`."""
    return f"h{index:05}.bench.test"


def many_hosts_site(count: int, upstream_port: int) -> Site:
    """`count` virtual hosts with the same five rules each."""
    return Site(tuple(VirtualHost(host_name(i), HOST_RULES) for i in range(count)), upstream_port)


def mixed_rule(index: int) -> Rule:
    """Rule `index` of a long list: of ten, four exact, three prefixes, two regexes and one with a header.

    Half of the regexes begin with a literal of their own and half share `/v[0-9]+`; half of the header rules
    share one path prefix and are told apart by the header alone.
    """
    kind = index % 10
    if kind < 4:
        return Rule("exact", f"/shop/item-{index:05}")
    if kind < 7:
        return Rule("prefix", f"/files/{index:05}/")
    if kind == 7:
        return Rule("regex", f"/users/{index:05}/[a-z]+")
    if kind == 8:
        return Rule("regex", f"/v[0-9]+/orders/{index:05}(/.*)?")
    prefix = "/tenant" if index % 20 == 9 else f"/area/{index:05}"
    return Rule("header", prefix, f"t{index:05}")


def rule_request(index: int) -> tuple[str, str | None]:
    """A path, and a value of `x-tenant` or None, that only `mixed_rule(index)` matches."""
    rule = mixed_rule(index)
    if rule.kind == "exact":
        return rule.path, None
    if rule.kind == "prefix":
        return rule.path + "report.pdf", None
    if index % 10 == 7:
        return f"/users/{index:05}/profile", None
    if index % 10 == 8:
        return f"/v2/orders/{index:05}/lines", None
    return rule.path + "/home", rule.tenant


def many_rules_site(count: int, upstream_port: int) -> Site:
    """One virtual host with `count` mixed rules."""
    return Site((VirtualHost(BENCH_HOST, tuple(mixed_rule(i) for i in range(count))),), upstream_port)


def one_rule_site(upstream_port: int) -> Site:
    """One virtual host with one rule that takes every path."""
    return Site((VirtualHost(BENCH_HOST, (Rule("prefix", "/"),)),), upstream_port)
