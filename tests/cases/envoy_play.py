"""Plays golden cases with the real Envoy in gatewayd's place: what the runner itself does wrong shows here.

Only what the HTTP/2 cases need is translated: routes by prefix, their timeouts, retries, redirects and direct
responses, on one listener for all hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tests.cases.golden import GoldenPlay
from tests.cases.loading import Call
from tests.differential.envoy import DEFAULT_RETRY, HTTP2, EnvoyProcess, cluster, downstream_tls, route
from tests.support.recorder import Seen

#: The fields of gatewayd's JSON log, as Envoy writes them.
LOG_FIELDS = {
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
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}


class EnvoyGateway:
    """Envoy with the face of a GatewayProcess, as far as a play looks at it."""

    def __init__(self, envoy: EnvoyProcess) -> None:
        self._envoy = envoy
        self._told = 0

    async def __aenter__(self) -> EnvoyGateway:
        await self._envoy.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._envoy.__aexit__()

    def port(self, _: int) -> int:
        """The one listener stands for every Gateway port."""
        return self._envoy.port

    async def log_records(self, count: int, timeout_s: float) -> list[dict[str, Any]]:
        """Lines written since the last call, once there are ``count``."""
        new = (await self._envoy.records(self._told + count, timeout_s))[self._told :]
        self._told += len(new)
        return new


class EnvoyPlay(GoldenPlay):
    """A case as Envoy plays it."""

    def _gateway(self) -> Any:
        documents = [self._mapped(document) for document in self.case.documents()]
        clusters = [each for document in documents for each in clusters_of(document)]
        tls = next(
            (server["tls"] for document in documents for server in servers(document) if "tls" in server), None
        )
        socket = None
        if tls is not None and self.certificates is not None:
            name = tls["credentialName"]
            socket = downstream_tls(self.certificates.certificate(name), self.certificates.key(name))
        routes = [
            each
            for document in documents
            if document["kind"] == "VirtualService" and {"*", "a.test"} & set(document["spec"]["hosts"])
            for each in map(route_of, document["spec"]["http"])
        ]
        hosts = ["a.test"] if tls else ["*"]
        return EnvoyGateway(EnvoyProcess(routes, clusters, hosts=hosts, tls=socket, log_fields=LOG_FIELDS))

    async def _settled(self, call: Call, marks: Mapping[str, int]) -> dict[str, list[Seen]]:
        seen = await super()._settled(call, marks)
        for entry in (each for entries in seen.values() for each in entries):
            # For a client on the loopback Envoy writes the address of its node, which was that one.
            entry.headers = [
                (name, "127.0.0.1" if name == "x-forwarded-for" else value) for name, value in entry.headers
            ]
        return seen

    def _mapped(self, document: dict[str, Any]) -> dict[str, Any]:
        return dict(yaml.safe_load(self.plan.in_config(yaml.safe_dump(document))))


def servers(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of a Gateway."""
    return list(document["spec"]["servers"]) if document["kind"] == "Gateway" else []


def clusters_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cluster of a ServiceEntry, or one without endpoints for each subset of a DestinationRule."""
    spec = document["spec"]
    if document["kind"] == "DestinationRule":
        return [cluster(f"outbound|80|{subset['name']}|{spec['host']}", []) for subset in spec["subsets"]]
    if document["kind"] != "ServiceEntry":
        return []
    ports = [port for endpoint in spec["endpoints"] for port in endpoint["ports"].values()]
    version = HTTP2 if spec["ports"][0].get("protocol") in ("GRPC", "HTTP2") else {}
    return [cluster(f"outbound|80||{spec['hosts'][0]}", ports, **version)]


def route_of(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The route istiod makes of a rule that matches by prefix or not at all (semantics 6.4 to 6.7)."""
    prefix = rule["match"][0]["uri"]["prefix"] if "match" in rule else "/"
    if "redirect" in rule:
        code = {301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT"}
        redirect = {"path_redirect": rule["redirect"]["uri"]}
        redirect["response_code"] = code.get(rule["redirect"].get("redirectCode", 301), "PERMANENT_REDIRECT")
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
        action["retry_policy"] = {
            **DEFAULT_RETRY,
            "retry_on": retries["retryOn"],
            "num_retries": retries["attempts"],
            **({"per_try_timeout": retries["perTryTimeout"]} if "perTryTimeout" in retries else {}),
        }
    made = route(prefix, f"outbound|80|{target.get('subset', '')}|{target['host']}", action=action)
    if retries.get("attempts") == 0:
        del made["route"]["retry_policy"]
    return made
