"""TLS in Envoy's words: sockets that name their secrets, and secrets without their keys."""

from __future__ import annotations

import base64
from typing import Any, Final

from gatewayd.admin.dump.values import Message, typed
from gatewayd.tls.modes import MODES
from gatewayd.tls.spec import PairFiles, SecretName, ServerTlsSpec, Trust
from gatewayd.upstream.spec import ClusterSpec

#: What Envoy shows in place of a private key: "[redacted]".
REDACTED: Final = base64.b64encode(b"[redacted]").decode()
_VERSIONS: Final = {"TLSV1_0": "TLSv1_0", "TLSV1_1": "TLSv1_1", "TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}
_SDS: Final = {"ads": {}, "resource_api_version": "V3"}


def secret_name(source: SecretName | PairFiles | None) -> str:
    """As Istio names it: ``kubernetes://name``, or the files."""
    if isinstance(source, SecretName):
        return f"kubernetes://{source}"
    if isinstance(source, PairFiles):
        return f"file-cert:{source.certificate}~{source.private_key}"
    return ""


def trust_name(trust: Trust) -> str:
    """The name of what clients or servers are checked against; empty: nothing, or the system's."""
    if trust.file:
        return f"file-root:{trust.file}"
    return f"{secret_name(trust.secrets[0])}-cacert" if trust.secrets else ""


def downstream_socket(spec: ServerTlsSpec) -> Message:
    """TLS of a filter chain."""
    common: Message = {
        "alpn_protocols": list(spec.alpn),
        "tls_params": {
            "tls_minimum_protocol_version": _VERSIONS.get(spec.min_version, "TLS_AUTO"),
            "tls_maximum_protocol_version": _VERSIONS.get(spec.max_version, "TLS_AUTO"),
        },
        "tls_certificate_sds_secret_configs": [_reference(secret_name(pair)) for pair in spec.pairs],
    }
    if spec.cipher_suites:
        common["tls_params"]["cipher_suites"] = list(spec.cipher_suites)
    if spec.ecdh_curves:
        common["tls_params"]["ecdh_curves"] = list(spec.ecdh_curves)
    wants = MODES[spec.mode].client_certificate
    name = trust_name(spec.trust)
    if wants != "none" and name:
        common["combined_validation_context"] = _validation(name, spec.subject_alt_names)
    return typed(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=wants == "required",
    )


def upstream_socket(spec: ClusterSpec) -> Message | None:
    """TLS towards the endpoints, within the PROXY protocol if there is that; None: plain text."""
    asked = spec.tls_spec
    socket: Message | None = None
    if asked is not None:
        common: Message = {}
        if asked.alpn:
            common["alpn_protocols"] = list(asked.alpn)
        if asked.pair is not None:
            common["tls_certificate_sds_secret_configs"] = [_reference(secret_name(asked.pair))]
        name = trust_name(asked.trust) or "file-root:system"
        if not asked.insecure_skip_verify:
            common["combined_validation_context"] = _validation(name, asked.subject_alt_names)
        fields: dict[str, Any] = {"common_tls_context": common}
        if asked.sni:
            fields["sni"] = asked.sni
        socket = typed("envoy.transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext", **fields)
    if spec.proxy_protocol:
        inner = socket or typed(
            "envoy.transport_sockets.raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer"
        )
        return typed(
            "envoy.transport_sockets.upstream_proxy_protocol",
            "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            config={"version": spec.proxy_protocol},
            transport_socket=inner,
        )
    return socket


def _reference(name: str) -> Message:
    return {"name": name, "sds_config": _SDS}


def _validation(name: str, names: tuple[str, ...]) -> Message:
    made: Message = {
        "validation_context_sds_secret_config": _reference(name),
        "default_validation_context": {},
    }
    if names:
        made["default_validation_context"] = {
            "match_typed_subject_alt_names": [
                {"san_type": kind, "matcher": {"exact": name}} for name in names for kind in ("DNS", "URI")
            ]
        }
    return made


def secret_messages(holder: Any) -> list[Message]:
    """The secrets of a TLS holder: certificates as they are, keys never."""
    spec = holder.spec
    pairs = spec.pairs if isinstance(spec, ServerTlsSpec) else (spec.pair,) if spec.pair is not None else ()
    made = []
    for source, leaf in zip(pairs, holder.leaves, strict=False):
        certificate = {
            "certificate_chain": {"inline_bytes": base64.b64encode(_pem(leaf.der)).decode()},
            "private_key": {"inline_bytes": REDACTED},
        }
        made.append({"name": secret_name(source), "tls_certificate": certificate})
    return made


def _pem(der: bytes) -> bytes:
    body = base64.encodebytes(der).replace(b"\n", b"")
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])
