"""Finding the route: by size of the table, and where the index overtakes the walk from the top."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from benchmarks.macro import site, traffic
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.micro.timing import Timing, measure
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.message import RequestHead
from gatewayd.http.options import HttpOptions
from gatewayd.routing import index
from gatewayd.routing.matchers import MATCHERS
from gatewayd.routing.route import DIRECT_RESPONSE, DirectResponseAction, Route
from gatewayd.routing.table import RouteTable, VirtualHost

FEW = (1, 3, 5, 8, 12)


def compiled(rule: site.Rule) -> index.Rule:
    """A rule as the routing engine takes it."""
    kind = "prefix" if rule.kind == "header" else rule.kind
    conditions = [MATCHERS["uri"]("", kind, rule.path)]
    if rule.kind == "header":
        conditions.append(MATCHERS["headers"](site.TENANT_HEADER, "exact", rule.tenant))
    return index.Rule(tuple(conditions), Route("", DIRECT_RESPONSE, direct=DirectResponseAction(200)))


def table(served: site.Site) -> RouteTable:
    """The whole site."""
    return RouteTable(
        VirtualHost(host.host, [host.host], [compiled(rule) for rule in host.rules]) for host in served.hosts
    )


def parsed(requests: Sequence[str]) -> list[RequestHead]:
    """The heads of these requests.

    Raises ValueError when one is refused: a benchmark of refusals would look very fast.
    """
    parser = RequestParser(HttpOptions())
    parsed_requests = [parser.parse(each.encode()) for each in requests]
    heads = [each.head for each in parsed_requests if each.error is None and each.head is not None]
    if len(heads) != len(requests):
        raise ValueError("a request of the benchmark is not accepted")
    return heads


def checked(lookup: Callable[[RequestHead], object], heads: Sequence[RequestHead]) -> None:
    """Raise ValueError unless every head finds a route."""
    if any(lookup(head) is None for head in heads):
        raise ValueError("a request of the benchmark finds no route")


def in_turn(heads: Sequence[RequestHead]) -> Callable[[int], list[RequestHead]]:
    """These heads in turn, without end."""
    endless = itertools.cycle(heads)
    return lambda count: list(itertools.islice(endless, count))


def benchmarks(seconds: float) -> Iterator[Timing]:
    """`RouteTable.lookup` over the sites of the scale scenarios, then finders of a few rules."""
    for count in (1, 10_000):
        hosts = table(site.many_hosts_site(count, 80))
        heads = parsed(traffic.random_hosts(count, SMALL_BYTES, cookies=False).requests)
        checked(lambda head, hosts=hosts: hosts.lookup(head)[1], heads)  # type: ignore[misc]
        yield measure(f"look up, {count:,} hosts x 5 rules", hosts.lookup, in_turn(heads), seconds)
    heads = parsed(traffic.random_rules(10_000, SMALL_BYTES).requests)
    for name, served in (
        ("1 rule", site.one_rule_site(80)),
        ("10,000 rules", site.many_rules_site(10_000, 80)),
    ):
        rules = table(served)
        checked(lambda head, rules=rules: rules.lookup(head)[1], heads)  # type: ignore[misc]
        yield measure(f"look up, one host, {name}", rules.lookup, in_turn(heads), seconds)
    for count in FEW:
        few = [compiled(site.mixed_rule(number)) for number in range(count)]
        heads = parsed(traffic.random_rules(count, SMALL_BYTES).requests)
        walk, indexed = index._ListFinder(few).find, index.RuleIndex(few).find
        checked(indexed, heads)
        yield measure(f"find, {count} rules, walk", walk, in_turn(heads), seconds / 2)
        yield measure(f"find, {count} rules, index", indexed, in_turn(heads), seconds / 2)
