"""Destinations and their weights."""

from collections.abc import Sequence

from gatewayd.resources.validate.names import check_port, domain_problem, is_ip, is_label
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.virtual_service import Destination, HTTPRouteDestination, RouteDestination


def check_destination(destination: Destination, path: Path, out: Notes) -> None:
    """Check a destination: a service name, never `*` alone (semantics 19.4)."""
    host = destination.host
    if host == "*":
        out.error((*path, "host"), 'destination host "*" is not allowed')
    elif (problem := domain_problem(host)) and not is_ip(host):
        out.error((*path, "host"), problem)
    if destination.subset and not is_label(destination.subset):
        out.error((*path, "subset"), f'"{destination.subset[:80]}" is not a subset name (a DNS label)')
    if destination.port is not None and destination.port.number:
        check_port(destination.port.number, (*path, "port", "number"), out)


def check_weights(shares: Sequence[HTTPRouteDestination | RouteDestination], path: Path, out: Notes) -> None:
    """Weights may not be negative; of several, not all may be 0."""
    negative = False
    for index, share in enumerate(shares):
        if share.weight < 0:
            negative = True
            out.error((*path, "route", index, "weight"), f"a weight may not be negative ({share.weight})")
    if len(shares) > 1 and not negative and not any(share.weight for share in shares):
        out.error((*path, "route"), "the weights of several destinations add up to 0")
