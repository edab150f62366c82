"""Sidecar (semantics 11.15)."""

import re

from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.sidecar import EgressListener, IngressListener, Sidecar, SidecarPort
from gatewayd.resources.validate.destinations import check_destination
from gatewayd.resources.validate.names import (
    check_labels,
    check_port,
    domain_problem,
    is_ip,
    is_label,
    unix_problem,
)
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.validate.protocols import PROTOCOLS
from gatewayd.resources.validate.server_tls import check_server_tls
from gatewayd.resources.validate.traffic_policy import check_connection_pool

_ENDPOINT = re.compile(r"(127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):([0-9]{1,5})")


def check_sidecar(sidecar: Sidecar, metadata: ObjectMeta, out: Notes) -> None:
    """Check a Sidecar."""
    if sidecar.workload_selector is not None:
        check_labels(sidecar.workload_selector.labels, ("spec", "workloadSelector", "labels"), out)
    ports: set[int] = set()
    for index, ingress in enumerate(sidecar.ingress):
        path: Path = ("spec", "ingress", index)
        _check_ingress(ingress, path, out)
        if ingress.port.number in ports:
            out.error((*path, "port", "number"), f"port number {ingress.port.number} is used twice")
        ports.add(ingress.port.number)
    _check_egress_list(sidecar.egress, metadata.namespace, out)
    if sidecar.inbound_connection_pool is not None:
        check_connection_pool(sidecar.inbound_connection_pool, ("spec", "inboundConnectionPool"), out)
    policy = sidecar.outbound_traffic_policy
    if policy is not None and policy.egress_proxy is not None:
        here: Path = ("spec", "outboundTrafficPolicy", "egressProxy")
        if policy.mode != "ALLOW_ANY":
            out.error(here, "egressProxy needs mode ALLOW_ANY")
        check_destination(policy.egress_proxy, here, out)


def _check_ingress(listener: IngressListener, path: Path, out: Notes) -> None:
    if listener.bind.startswith("unix://"):
        out.error((*path, "bind"), "an ingress listener cannot be bound to a unix socket")
    elif listener.bind and not is_ip(listener.bind):
        out.error((*path, "bind"), f'"{listener.bind[:80]}" is not an IP address')
    check_port(listener.port.number, (*path, "port", "number"), out)
    _check_protocol(listener.port, (*path, "port"), out)
    endpoint = listener.default_endpoint
    if endpoint.startswith("unix://"):
        if problem := unix_problem(endpoint):
            out.error((*path, "defaultEndpoint"), problem)
    elif endpoint:
        match = _ENDPOINT.fullmatch(endpoint)
        if match is None or not 1 <= int(match[2]) <= 65_535:
            out.error(
                (*path, "defaultEndpoint"),
                f'"{endpoint[:80]}" is not an endpoint',
                "expected 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///path",
            )
    if listener.connection_pool is not None:
        check_connection_pool(listener.connection_pool, (*path, "connectionPool"), out)
    if listener.tls is not None:
        _check_tls(listener, (*path, "tls"), out)


def _check_tls(listener: IngressListener, path: Path, out: Notes) -> None:
    tls = listener.tls
    if tls is None:
        return
    if tls.mode not in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
        out.error((*path, "mode"), f"mode {tls.mode} is not supported for a Sidecar", "use SIMPLE or MUTUAL")
    for name, value in (
        ("httpsRedirect", tls.https_redirect),
        ("subjectAltNames", tls.subject_alt_names),
        ("credentialName", tls.credential_name),
        ("credentialNames", tls.credential_names),
        ("tlsCertificates", tls.tls_certificates),
    ):
        if value:
            out.error((*path, name), f"{name} is not supported for a Sidecar")
    check_server_tls(tls, path, out)


def _check_egress_list(listeners: tuple[EgressListener, ...], own: str, out: Notes) -> None:
    places: set[tuple[str, int]] = set()
    without_port = 0
    for index, listener in enumerate(listeners):
        path: Path = ("spec", "egress", index)
        _check_egress(listener, own, path, out)
        port = listener.port
        if port is None and not listener.bind:
            without_port += 1
            if without_port > 1:
                out.error(path, "only one egress listener can go without a port")
            elif index != len(listeners) - 1:
                out.error(path, "the egress listener without a port must be the last one")
            continue
        place = (listener.bind, port.number if port is not None else 0)
        if place in places:
            out.error(path, "another egress listener has the same bind and port")
        places.add(place)


def _check_egress(listener: EgressListener, own: str, path: Path, out: Notes) -> None:
    port = listener.port
    if listener.bind.startswith("unix://"):
        if problem := unix_problem(listener.bind):
            out.error((*path, "bind"), problem)
        if port is not None and port.number:
            out.error((*path, "port", "number"), "a listener on a unix socket has port number 0")
        if listener.capture_mode not in ("DEFAULT", "NONE"):
            out.error((*path, "captureMode"), "a unix socket cannot be captured", "use captureMode NONE")
    else:
        if listener.bind and not is_ip(listener.bind):
            out.error((*path, "bind"), f'"{listener.bind[:80]}" is neither an IP address nor a unix:// path')
        if port is not None:
            check_port(port.number, (*path, "port", "number"), out)
    if port is not None:
        _check_protocol(port, (*path, "port"), out)
    if not listener.hosts:
        out.error((*path, "hosts"), "an egress listener needs hosts", "such as ./*, */* or shop/reviews")
    _check_egress_hosts(listener.hosts, own, (*path, "hosts"), out)


def _check_egress_hosts(hosts: tuple[str, ...], own: str, path: Path, out: Notes) -> None:
    whole = {host.removesuffix("/*") for host in hosts if host.endswith("/*")}
    if "." in whole or own in whole:
        whole |= {".", own}
    for index, host in enumerate(hosts):
        here = (*path, index)
        namespace, slash, name = host.partition("/")
        if not slash:
            out.error(here, f'"{host[:80]}" has no namespace', "write namespace/host, ./host or */host")
            continue
        if namespace not in ("*", ".", "~") and not is_label(namespace):
            out.error(here, f'"{namespace[:80]}" is not a namespace, "*", "." or "~"')
        if name != "*" and (problem := domain_problem(name)):
            out.error(here, problem)
        elif host in hosts[:index]:
            out.error(here, f'"{host}" is in the list twice')
        elif name != "*" and namespace in whole:
            out.warning(here, f'"{host}" is already covered by "{namespace}/*"')


def _check_protocol(port: SidecarPort, path: Path, out: Notes) -> None:
    if port.protocol.upper() not in PROTOCOLS:
        out.unknown((*path, "protocol"), "protocol", port.protocol, PROTOCOLS)
