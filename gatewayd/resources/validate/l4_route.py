"""TLS and TCP rules of a VirtualService (semantics 7)."""

from gatewayd.resources.validate.destinations import check_destination, check_weights
from gatewayd.resources.validate.names import check_labels, check_port, domain_problem, is_cidr, is_sni_name
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.virtual_service import (
    L4MatchAttributes,
    RouteDestination,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
)


def check_tls_route(route: TLSRoute, hosts: tuple[str, ...], path: Path, out: Notes) -> None:
    """Check a TLS rule; its SNI hosts must be among `hosts` of the VirtualService."""
    if not route.match:
        out.error((*path, "match"), "a TLS rule needs at least one match")
    for index, match in enumerate(route.match):
        here = (*path, "match", index)
        _check_sni_hosts(match.sni_hosts, hosts, (*here, "sniHosts"), out)
        _check_attributes(match, here, out)
    _check_route(route.route, path, out)


def check_tcp_route(route: TCPRoute, path: Path, out: Notes) -> None:
    """Check a TCP rule."""
    for index, match in enumerate(route.match):
        here = (*path, "match", index)
        _check_attributes(match, here, out)
        if match.source_subnet and not is_cidr(match.source_subnet):
            out.error((*here, "sourceSubnet"), f'"{match.source_subnet[:80]}" is not an address or network')
    _check_route(route.route, path, out)


def _check_sni_hosts(names: tuple[str, ...], hosts: tuple[str, ...], path: Path, out: Notes) -> None:
    if not names:
        out.error(path, "a TLS match needs at least one SNI host")
    for index, name in enumerate(names):
        here = (*path, index)
        if (problem := domain_problem(name)) and not is_sni_name(name):
            out.error(here, problem)
        elif not any(_covers(host, name) for host in hosts):
            out.error(here, f'SNI host "{name[:80]}" is not covered by any host of the VirtualService')


def _covers(host: str, name: str) -> bool:
    if not host.startswith("*"):
        return host.lower() == name.lower()
    return name.lower().endswith(host[1:].lower())


def _check_attributes(match: TLSMatchAttributes | L4MatchAttributes, path: Path, out: Notes) -> None:
    for index, subnet in enumerate(match.destination_subnets):
        if not is_cidr(subnet):
            out.error((*path, "destinationSubnets", index), f'"{subnet[:80]}" is not an address or network')
    if match.port:
        check_port(match.port, (*path, "port"), out)
    check_labels(match.source_labels, (*path, "sourceLabels"), out)


def _check_route(shares: tuple[RouteDestination, ...], path: Path, out: Notes) -> None:
    if not shares:
        out.error(path, "a rule needs a route")
    check_weights(shares, path, out)
    for index, share in enumerate(shares):
        check_destination(share.destination, (*path, "route", index, "destination"), out)
