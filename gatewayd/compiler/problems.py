"""What can be wrong with a destination, in words (semantics 6.1.1 to 6.1.3, 8.4.2, 12.8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewayd.compiler.destination_rules import MergedRule
from gatewayd.compiler.findings import did_you_mean
from gatewayd.compiler.services import Service
from gatewayd.findings import Level
from gatewayd.resources.destination_rule import Subset
from gatewayd.upstream.own_ports import OwnPorts
from gatewayd.upstream.spec import ClusterSpec


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding about a destination, not yet at any place.

    Everyone who names the destination gets an error; the first who does gets what is less.
    """

    level: Level
    code: str
    message: str
    help: str = ""


def of_connections(message: str) -> str:
    """The message where no request meets the problem, but a connection (7.10)."""
    return message.replace("requests get 503", "connections are closed")


def leads_to_itself(host: str) -> Problem:
    """A loop of ExternalName Services (12.8)."""
    message = f'host "{host}" is an ExternalName Service that leads back to itself: its requests get 503'
    return Problem("error", "IST0101", message)


def unknown_host(host: str, known: Iterable[str]) -> Problem:
    """503 NC (6.1.2)."""
    return Problem(
        "error",
        "IST0101",
        f'host "{host}" is declared by no Service or ServiceEntry this proxy sees'
        f"{did_you_mean(host, known)}: its requests get 503",
    )


def resolved_by_dns(host: str, port: int) -> Problem:
    """Not wrong at all, with ``--unknown-hosts dns``."""
    return Problem(
        "info",
        "GWD0102",
        f'host "{host}" is declared by no Service or ServiceEntry: resolved by DNS, port {port}',
        "declare it, give --endpoint, or use --unknown-hosts reject for Istio's 503",
    )


def unlabelled(host: str, subset: str) -> Problem:
    """A labelled subset of a name found by DNS: 503 UH (8.4.2)."""
    return Problem(
        "warning",
        "GWD0102",
        f'subset "{subset}" of "{host}" has no endpoints: the host is declared by no Service or '
        "ServiceEntry, and a name found by DNS has no labels",
        f"give its endpoints with --endpoint {host}:{subset}=ADDRESS:PORT",
    )


def unknown_port(host: str, port: int, service: Service, explicit: bool) -> Problem:
    """503 NC (6.1.1, 6.1.2). ``explicit``: the destination named the port."""
    ports = ", ".join(map(str, service.ports)) or "none"
    if explicit:
        return Problem("error", "IST0101", f'"{host}" has no port {port} (it has {ports}): requests get 503')
    return Problem(
        "error",
        "IST0112",
        f'destination "{host}" names no port, the service has {ports}, and the listener\'s {port} is not '
        "among them: requests get 503",
    )


def unknown_subset(host: str, subset: str, rule: MergedRule | None) -> Problem:
    """503 NC (6.1.2)."""
    if rule is None:
        reason = f'no DestinationRule for "{host}" is seen here'
    else:
        reason = f"DestinationRule {rule.resources[0].full_name} has no such subset"
        reason += did_you_mean(subset, rule.subsets)
    message = f'subset "{subset}" of "{host}" does not exist, {reason}: requests get 503'
    return Problem("error", "IST0101", message)


def own_port(spec: ClusterSpec, own: OwnPorts) -> Problem | None:
    """Endpoints that are ports of the proxy itself, to which nothing is ever sent."""
    found = [each for each in spec.endpoints if own.leads_here(each.address, each.port)]
    if not found:
        return None
    first = found[0]
    place = f"{first.address}:{first.port}" if first.port else first.address
    return Problem(
        "error",
        "GWD0109",
        f'endpoint {place} of "{spec.host}" is an admin, status or metrics port of this proxy: its requests get 503',
        "route to the service itself; operators' ports are not for traffic",
    )


def no_endpoints(service: Service, port: int, subset: Subset | None) -> Problem:
    """503 UH (6.1.3)."""
    if not service.endpoints_known:
        message = (
            f"{service.kind} {service.resource.full_name} has no endpoints: no Endpoints, EndpointSlice, "
            "Pod or WorkloadEntry document speaks of it, so its requests get 503"
        )
    elif subset is not None:
        labels = ",".join(f"{key}={value}" for key, value in sorted(subset.labels.items()))
        message = (
            f'subset "{subset.name}" of "{service.host}" has no endpoints: none of port {port} has '
            f"the labels {labels}, so its requests get 503"
        )
    else:
        message = f'"{service.host}" has no endpoints for port {port}, so its requests get 503'
    pin = service.resource.name if service.kind == "Service" else service.host
    pin += f":{subset.name}" if subset is not None else ""
    return Problem(
        "warning",
        "GWD0102",
        message,
        f"add the documents, or give addresses with --endpoint {pin}=ADDRESS:PORT",
    )
