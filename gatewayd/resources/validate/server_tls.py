"""TLS settings of a server (semantics 19.2)."""

from gatewayd.resources.gateway import ServerTLS
from gatewayd.resources.validate.notes import Notes, Path

_VERSIONS = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")


def check_server_tls(tls: ServerTLS, path: Path, out: Notes) -> None:
    """Check the TLS settings of a server that terminates or passes TLS."""
    given = [
        name
        for name, value in (
            ("credentialName", tls.credential_name),
            ("credentialNames", tls.credential_names),
            ("tlsCertificates", tls.tls_certificates),
            ("serverCertificate with privateKey", tls.server_certificate and tls.private_key),
        )
        if value
    ]
    if len(given) > 1:
        out.error(
            path, f"the certificate is given more than once: {', '.join(given)}", "leave only one of them"
        )
    _check_mode(tls, path, out)
    if tls.min_protocol_version != "TLS_AUTO" and tls.max_protocol_version != "TLS_AUTO":
        low, high = _VERSIONS.index(tls.min_protocol_version), _VERSIONS.index(tls.max_protocol_version)
        if low > high:
            out.error((*path, "minProtocolVersion"), "minProtocolVersion is above maxProtocolVersion")
    for name, entries in (
        ("verifyCertificateSpki", tls.verify_certificate_spki),
        ("verifyCertificateHash", tls.verify_certificate_hash),
    ):
        if entries and tls.mode in ("SIMPLE", "PASSTHROUGH", "AUTO_PASSTHROUGH"):
            out.warning((*path, name), f"{name} has no effect in mode {tls.mode}")


def _check_mode(tls: ServerTLS, path: Path, out: Notes) -> None:
    mode = tls.mode
    by_secret = bool(tls.credential_name or tls.credential_names)
    by_list = bool(tls.tls_certificates)
    if tls.ca_crl and (mode == "SIMPLE" or by_secret):
        why = "SIMPLE TLS" if mode == "SIMPLE" else "credentialName: the CRL belongs into the Secret"
        out.error((*path, "caCrl"), f"caCrl (CRL) is not supported with {why}")
    if mode == "ISTIO_MUTUAL":
        for name, value in (
            ("serverCertificate", tls.server_certificate),
            ("privateKey", tls.private_key),
            ("caCertificates", tls.ca_certificates),
            ("credentialName", tls.credential_name),
            ("credentialNames", tls.credential_names),
            ("tlsCertificates", tls.tls_certificates),
        ):
            if value:
                out.error((*path, name), f"ISTIO_MUTUAL brings its own certificates: it cannot have {name}")
        return
    if mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH") or by_secret:
        return
    if by_list:
        for index, pair in enumerate(tls.tls_certificates or ()):
            _check_pair(
                mode, pair.server_certificate, pair.private_key, (*path, "tlsCertificates", index), out
            )
    else:
        _check_pair(mode, tls.server_certificate, tls.private_key, path, out)
    if mode in ("MUTUAL", "OPTIONAL_MUTUAL"):
        bundles = [pair.ca_certificates for pair in tls.tls_certificates or ()]
        if not tls.ca_certificates and not tls.ca_cert_credential_name and not any(bundles):
            out.error(path, f"{mode} TLS needs a client CA bundle: caCertificates", "or a credentialName")


def _check_pair(mode: str, certificate: str, key: str, path: Path, out: Notes) -> None:
    if not certificate:
        out.error(path, f"{mode} TLS needs a server certificate: serverCertificate", "or a credentialName")
    if not key:
        out.error(path, f"{mode} TLS needs a private key: privateKey", "or a credentialName")
