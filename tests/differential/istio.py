"""The real Envoy on a few Istio documents: what istiod makes of rules by prefix and of plain services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.differential.envoy import (
    DEFAULT_RETRY,
    HTTP2,
    EnvoyProcess,
    cluster,
    downstream_tls,
    route,
    upstream_tls,
)

#: The fields of gatewayd's JSON log, as Envoy writes them.
LOG_FIELDS: Final = {
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "user_agent": "%REQ(USER-AGENT)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
#: What istiod adds for a server of this protocol (semantics 2.4.4).
GRPC_WEB: Final = {
    "name": "envoy.filters.http.grpc_web",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"},
}
_HTTP2_PORTS: Final = ("GRPC", "HTTP2", "GRPC-WEB")
_REDIRECTS: Final = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


class EnvoyGateway:
    """Envoy on Istio documents, with the face of a GatewayProcess as far as tests of both look at it.

    One Gateway server, whose certificate is given by paths; VirtualServices for the same hosts, whose rules match
    by prefix; ServiceEntries with endpoints on the loopback.
    """

    def __init__(self, documents: Iterable[Mapping[str, Any]], **more: Any) -> None:
        """``more``: further arguments of EnvoyProcess."""
        documents = list(documents)
        services = [document["spec"] for document in documents if document["kind"] == "VirtualService"]
        self._envoy = EnvoyProcess(
            [route_of(rule) for service in services for rule in service["http"]],
            [each for document in documents for each in clusters_of(document, documents)],
            hosts=services[0]["hosts"],
            tls=_tls_of(documents),
            filters=[GRPC_WEB] if "GRPC-WEB" in _protocols(documents) else [],
            log_fields=LOG_FIELDS,
            **more,
        )
        self._told = 0

    async def __aenter__(self) -> EnvoyGateway:
        await self._envoy.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._envoy.__aexit__()

    def port(self, _: int) -> int:
        """The one listener stands for every Gateway port."""
        return self._envoy.port

    async def log_records(self, count: int, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Lines written since the last call, once there are ``count``."""
        new = (await self._envoy.records(self._told + count, timeout_s))[self._told :]
        self._told += len(new)
        return new


def _protocols(documents: Iterable[Mapping[str, Any]]) -> set[str]:
    return {server["port"]["protocol"] for each in documents for server in each["spec"].get("servers", ())}


def _tls_of(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    for document in documents:
        for server in document["spec"].get("servers", ()):
            if "tls" in server:
                pair = (server["tls"][name] for name in ("serverCertificate", "privateKey"))
                return downstream_tls(*map(Path, pair))
    return None


def clusters_of(document: Mapping[str, Any], documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cluster of a ServiceEntry, or one without endpoints for each subset of a DestinationRule.

    documents: all of them, for the TLS settings a DestinationRule has for a host.
    """
    spec = document["spec"]
    if document["kind"] == "DestinationRule":
        names = [subset["name"] for subset in spec.get("subsets", ())]
        return [cluster(f"outbound|80|{name}|{spec['host']}", []) for name in names]
    if document["kind"] != "ServiceEntry":
        return []
    ports = [port for endpoint in spec["endpoints"] for port in endpoint["ports"].values()]
    http2 = spec["ports"][0].get("protocol") in _HTTP2_PORTS
    fields = dict(HTTP2) if http2 else {}
    for rule in (other["spec"] for other in documents if other["kind"] == "DestinationRule"):
        if rule["host"] == spec["hosts"][0] and "tls" in rule.get("trafficPolicy", {}):
            fields["transport_socket"] = upstream_tls(
                rule["trafficPolicy"]["tls"]["sni"], ["h2"] if http2 else []
            )
    return [cluster(f"outbound|80||{spec['hosts'][0]}", ports, **fields)]


def route_of(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The route of a rule that matches by prefix or not at all (semantics 6.4 to 6.7)."""
    prefix = rule["match"][0]["uri"]["prefix"] if "match" in rule else "/"
    if "redirect" in rule:
        code = _REDIRECTS[rule["redirect"].get("redirectCode", 301)]
        redirect = {"path_redirect": rule["redirect"]["uri"], "response_code": code}
        return {"match": {"prefix": prefix}, "redirect": redirect}
    if "directResponse" in rule:
        body = rule["directResponse"].get("body", {}).get("string", "")
        direct = {"status": rule["directResponse"]["status"], "body": {"inline_string": body}}
        return {"match": {"prefix": prefix}, "direct_response": direct}
    target = rule["route"][0]["destination"]
    action: dict[str, Any] = {}
    if "timeout" in rule:
        action |= {"timeout": rule["timeout"], "max_grpc_timeout": rule["timeout"]}
    retries = rule.get("retries", {})
    if "retryOn" in retries:
        action["retry_policy"] = _retries(retries)
    made = route(prefix, f"outbound|80|{target.get('subset', '')}|{target['host']}", action=action)
    if retries.get("attempts") == 0:
        del made["route"]["retry_policy"]
    return made


def _retries(retries: Mapping[str, Any]) -> dict[str, Any]:
    policy = {**DEFAULT_RETRY, "retry_on": retries["retryOn"], "num_retries": retries["attempts"]}
    if "perTryTimeout" in retries:
        policy["per_try_timeout"] = retries["perTryTimeout"]
    if "backoff" in retries:
        policy["retry_back_off"] = {
            "base_interval": f"{float(retries['backoff'].removesuffix('ms')) / 1000}s"
        }
    return policy
