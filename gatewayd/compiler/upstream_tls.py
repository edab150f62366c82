"""``tls`` of a DestinationRule, as the words TLS understands (semantics 10.1 to 10.8).

A cluster without a ``tls`` block is spoken to in plain text: Istio's automatic mutual TLS needs a mesh that hands out
identities, and a gateway of its own has none (10.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

from gatewayd.compiler.credentials import (
    CredentialError,
    certificate_of,
    trust_of,
    workload_pair,
    workload_root,
)
from gatewayd.compiler.destination_rules import MergedRule
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.services import Service
from gatewayd.compiler.tls_holders import Held
from gatewayd.resources.destination_rule import DestinationRule
from gatewayd.resources.meta import Resource
from gatewayd.resources.traffic_policy import ClientTLS, TrafficPolicy
from gatewayd.tls.spec import ClientTlsSpec, PairFiles, SecretName, Trust
from gatewayd.tls.store import expiry
from gatewayd.upstream.spec import AS_CLIENT, HTTP2, ClusterSpec

#: What a route sends to a cluster.
REQUESTS: Final = "http"
BYTES: Final = "tcp"
#: TLS that is passed through, so that the cluster adds none (3.1)
TLS: Final = "tls"

_PLAIN: Final = "DISABLE"
_MESH: Final = "ISTIO_MUTUAL"
_SYSTEM_ROOTS: Final = "system"
#: Offered with HTTP; Envoy's HTTP/1.1 pools say so where the context names nothing (golden 10_upstream_tls).
_HTTP_ALPN: Final = ("http/1.1",)
_HTTP2_ALPN: Final = ("h2",)
#: By what a sidecar knows its own mesh's mutual TLS; ``istio-peer-exchange`` would bring a header we do not write.
_MESH_ALPN: Final = ("istio",)
_BYTES_ONLY: Final = frozenset({"TCP", "MONGO", "REDIS", "MYSQL"})


class UpstreamTls(NamedTuple):
    """What goes into a ClusterSpec, and the field that asks for it."""

    spec: ClientTlsSpec | None = None
    holder: Any = None
    #: for HTTP/2 connections of a cluster that has both kinds
    http2_holder: Any = None
    resource: Resource[DestinationRule] | None = None
    path: str = ""
    by_name: bool = False


NO_TLS: Final = UpstreamTls()


class UpstreamTlsCompiler:
    """Makes what begins TLS towards a cluster, and says what is wrong with it, at the field that asks for it."""

    def __init__(
        self, options: CompileOptions, load: Callable[[ClientTlsSpec], Any], report: Reporter
    ) -> None:
        """``load``: turns a spec into the holder that goes into the cluster."""
        self._options = options
        self._load = load
        self._report = report

    def of(
        self,
        cluster: ClusterSpec,
        tls: ClientTLS | None,
        rule: MergedRule | None,
        service: Service | None,
        carries: str,
    ) -> UpstreamTls:
        """TLS of ``cluster``, whose policy comes to ``tls``, a block of ``rule``. A broken one hurts only itself."""
        if tls is None or rule is None or tls.mode == _PLAIN or carries == TLS:
            return NO_TLS
        resource, path = _place(tls, rule)
        by_name = bool(tls.credential_name)
        try:
            spec = self._spec(cluster, tls, f"DestinationRule {resource.full_name}", service, carries)
        except CredentialError as error:
            return UpstreamTls(None, Held(None, str(error)), None, resource, path, by_name)
        return UpstreamTls(spec, self._load(spec), self._http2_holder(cluster, spec), resource, path, by_name)

    def review(self, cluster: ClusterSpec, made: UpstreamTls, now_s: float) -> None:
        """Say what is wrong now with the TLS that was made for ``cluster``: credentials change by themselves."""
        resource, path, holder = made.resource, made.path, made.holder
        if resource is None:
            return
        if holder.problem:
            field = path + (".credentialName" if made.by_name else "")
            self._report.say(
                "warning",
                "GWD0104",
                f"TLS towards {cluster.host}:{cluster.port} cannot be had, so what is sent there fails until it can: "
                f"{holder.problem}",
                resource,
                field,
            )
        for leaf in getattr(holder, "leaves", ()):
            remark = expiry(leaf, now_s)
            if remark is not None:
                message = f"TLS towards {cluster.host}:{cluster.port}: {remark.message}"
                self._report.say(remark.level, remark.code, message, resource, path, remark.help)

    def _http2_holder(self, cluster: ClusterSpec, spec: ClientTlsSpec) -> Any:
        if cluster.protocol != AS_CLIENT or spec.alpn != _HTTP_ALPN:
            return None
        return self._load(replace(spec, alpn=_HTTP2_ALPN))

    def _spec(
        self, cluster: ClusterSpec, tls: ClientTLS, owner: str, service: Service | None, carries: str
    ) -> ClientTlsSpec:
        mesh = tls.mode == _MESH
        unchecked = bool(tls.insecure_skip_verify) and not mesh
        names = tls.subject_alt_names or _names_of(service, mesh=mesh)
        sni = tls.sni
        if mesh and not sni:
            sni = f"outbound_.{cluster.port}_.{cluster.subset}_.{cluster.host}"  # 10.6
        return ClientTlsSpec(
            owner=owner,
            mode="SIMPLE" if tls.mode == "SIMPLE" else "MUTUAL",
            pair=self._pair(tls),
            trust=Trust() if unchecked else self._trust(tls),
            sni=sni,
            subject_alt_names=() if unchecked else names,
            verify_host=not (unchecked or sni or names),  # 10.3
            insecure_skip_verify=unchecked,
            alpn=_mesh_alpn(cluster) if mesh else _alpn(cluster, service, carries),
        )

    def _pair(self, tls: ClientTLS) -> SecretName | PairFiles | None:
        """What we show of ourselves (10.4, 10.6). Raises CredentialError."""
        if tls.mode == "SIMPLE":
            return None
        if tls.mode == _MESH:
            return workload_pair(self._options)
        if tls.credential_name:
            return certificate_of(tls.credential_name, self._options)
        if not tls.client_certificate or not tls.private_key:
            raise CredentialError("MUTUAL names neither a credential nor clientCertificate with privateKey")
        return PairFiles(tls.client_certificate, tls.private_key)

    def _trust(self, tls: ClientTLS) -> Trust:
        """Whom we believe; no file and no credential: the roots of the system (10.4)."""
        if tls.mode == _MESH:
            return workload_root(self._options, tls.ca_crl)
        if tls.credential_name:
            return trust_of(tls.credential_name, self._options)
        file = "" if tls.ca_certificates == _SYSTEM_ROOTS else tls.ca_certificates
        return Trust(file=file, crl_file=tls.ca_crl)


def _names_of(service: Service | None, *, mesh: bool) -> tuple[str, ...]:
    """``subjectAltNames`` of a ServiceEntry, for services outside the mesh or its own identities (10.3)."""
    if service is None or service.kind != "ServiceEntry":
        return ()
    entry = service.resource.spec
    outside = entry.location == "MESH_EXTERNAL"
    return tuple(entry.subject_alt_names) if outside or mesh else ()


def _alpn(cluster: ClusterSpec, service: Service | None, carries: str) -> tuple[str, ...]:
    """Nothing is offered where bytes follow (10.7): a server that knows its protocol's name would refuse ours."""
    port = service.ports.get(cluster.port) if service is not None else None
    if carries == BYTES or (port is not None and port.protocol in _BYTES_ONLY):
        return ()
    return _HTTP2_ALPN if cluster.protocol == HTTP2 else _HTTP_ALPN


def _mesh_alpn(cluster: ClusterSpec) -> tuple[str, ...]:
    return _MESH_ALPN + _HTTP2_ALPN if cluster.protocol == HTTP2 else _MESH_ALPN


def _place(tls: ClientTLS, rule: MergedRule) -> tuple[Resource[DestinationRule], str]:
    """The document and field a block was written in: the block itself is looked for, not its like."""
    for resource in rule.resources:
        spec = resource.spec
        policies = [("spec.trafficPolicy", spec.traffic_policy)]
        policies += [
            (f"spec.subsets[{i}].trafficPolicy", s.traffic_policy) for i, s in enumerate(spec.subsets)
        ]
        for path, policy in policies:
            field = _field(tls, policy) if policy is not None else ""
            if field:
                return resource, f"{path}.{field}"
    return rule.resources[0], "spec.trafficPolicy"


def _field(tls: ClientTLS, policy: TrafficPolicy) -> str:
    if policy.tls is tls:
        return "tls"
    for index, level in enumerate(policy.port_level_settings):
        if level.tls is tls:
            return f"portLevelSettings[{index}].tls"
    return ""
