"""Listeners as Envoy's Listener."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from gatewayd.admin.dump.tls import downstream_socket
from gatewayd.admin.dump.values import Message, address, duration, typed
from gatewayd.http.options import HttpOptions
from gatewayd.routing.l4 import TcpRoute
from gatewayd.snapshot import FilterChain, ListenerSpec

_PATHS: Final[dict[str, Message]] = {
    "NONE": {"normalize_path": False},
    "BASE": {"normalize_path": True},
    "MERGE_SLASHES": {"normalize_path": True, "merge_slashes": True},
    "DECODE_AND_MERGE_SLASHES": {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    },
}
_CERTIFICATE_FIELDS: Final = {"subject": True, "cert": True, "dns": True, "uri": True}


def listener_message(spec: ListenerSpec, bound: Sequence[tuple[str, int]]) -> Message:
    """A listener; ``bound``: the addresses it has, with the numbers that the kernel chose."""
    places = list(bound) or list(spec.bind)
    made: Message = {
        "name": spec.name,
        "address": address(*places[0]),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [_chain(spec, chain) for chain in spec.chains],
    }
    if len(places) > 1:
        made["additional_addresses"] = [{"address": address(*place)} for place in places[1:]]
    filters = []
    if spec.proxy_protocol:
        filters.append(
            typed("envoy.filters.listener.proxy_protocol", "filters.listener.proxy_protocol.v3.ProxyProtocol")
        )
    if spec.protocol == "TLS":
        filters.append(
            typed("envoy.filters.listener.tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector")
        )
    if filters:
        made["listener_filters"] = filters
    return made


def _chain(spec: ListenerSpec, chain: FilterChain) -> Message:
    made: Message = {"name": chain.name}
    match: Message = {}
    if chain.server_names:
        match["server_names"] = list(chain.server_names)
    if chain.alpn:
        match["application_protocols"] = list(chain.alpn)
    if spec.protocol == "TLS" and chain.tls is None:
        match["transport_protocol"] = "tls"
    if match:
        made["filter_chain_match"] = match
    if chain.tcp is not None:
        made["filters"] = [_tcp_proxy(chain.name, chain.tcp)]
    else:
        made["filters"] = [_manager(spec, chain)]
    if chain.tls is not None:
        made["transport_socket"] = downstream_socket(chain.tls.spec)
    made["metadata"] = {"filter_metadata": {"istio": {"gateways": _gateways(chain.gateways)}}}
    return made


def _gateways(gateways: Iterable[tuple[str, str, int]]) -> list[str]:
    return [f"{namespace}/{name} servers[{index}]" for namespace, name, index in gateways]


def _manager(spec: ListenerSpec, chain: FilterChain) -> Message:
    options = chain.options or HttpOptions()
    fields: dict[str, Any] = {
        "stat_prefix": f"outbound_{spec.name}",
        "rds": {
            "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "route_config_name": chain.name,
        },
        "http_filters": [
            typed("envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault"),
            typed("envoy.filters.http.cors", "filters.http.cors.v3.Cors"),
            typed("envoy.filters.http.router", "filters.http.router.v3.Router"),
        ],
        "use_remote_address": True,
        "xff_num_trusted_hops": options.trusted_proxies,
        "generate_request_id": options.request_id,
        "forward_client_cert_details": options.client_certificate,
        "set_current_client_cert_details": _CERTIFICATE_FIELDS,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": duration(options.limits.stream_idle_timeout_s),
        **_PATHS.get(options.path_normalization, {}),
    }
    if options.server_header is not None:
        fields["server_name"] = options.server_header.decode("latin-1")
    else:
        fields["server_header_transformation"] = "PASS_THROUGH"
    return typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        **fields,
    )


def _tcp_proxy(name: str, route: TcpRoute) -> Message:
    fields: dict[str, Any] = {"stat_prefix": name}
    if len(route.destinations) == 1:
        fields["cluster"] = route.destinations[0].cluster_name
    else:
        fields["weighted_clusters"] = {
            "clusters": [{"name": each.cluster_name, "weight": each.weight} for each in route.destinations]
        }
    fields["idle_timeout"] = duration(route.idle_timeout_s)
    if route.max_duration_s:
        fields["max_downstream_connection_duration"] = duration(route.max_duration_s)
    if route.tunnel is not None:
        fields["tunneling_config"] = {
            "hostname": route.tunnel.authority.decode("latin-1"),
            "use_post": route.tunnel.post,
        }
    if route.hash_source_ip:
        fields["hash_policy"] = [{"source_ip": {}}]
    return typed("envoy.filters.network.tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy", **fields)
