"""TLS settings of a server (semantics 19.2)."""

from gatewayd.resources.gateway import ServerTLS
from gatewayd.resources.tls_names import is_cipher_suite, is_curve, sort_out
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
    _check_ciphers(tls, path, out)
    _check_client_conditions(tls, path, out)


def _check_ciphers(tls: ServerTLS, path: Path, out: Notes) -> None:
    """Names Istio would ignore (3.7), and old versions, which need ciphers that no default has."""
    for field, names, known, word in (
        ("cipherSuites", tls.cipher_suites, is_cipher_suite, "cipher suite"),
        ("ecdhCurves", tls.ecdh_curves, is_curve, "curve"),
    ):
        found = sort_out(names, known)
        for name in found.unknown:
            out.warning((*path, field, names.index(name)), f'unknown {word} "{name[:80]}" is ignored')
        for name in found.doubles:
            second = names.index(name, names.index(name) + 1)
            out.warning((*path, field, second), f'{word} "{name[:80]}" is in the list twice')
    if tls.min_protocol_version in ("TLSV1_0", "TLSV1_1") and not tls.cipher_suites:
        out.warning(
            (*path, "minProtocolVersion"),
            f"no cipher suite of the default list is for versions below TLSV1_2, so {tls.min_protocol_version} "
            "cannot be spoken",
            "list some in cipherSuites",
        )


def _check_client_conditions(tls: ServerTLS, path: Path, out: Notes) -> None:
    """Conditions on client certificates where none is asked for (3.14), or nobody looks at them (3.15)."""
    by_secret = bool(tls.credential_name or tls.credential_names)
    for name, entries in (
        ("verifyCertificateSpki", tls.verify_certificate_spki),
        ("verifyCertificateHash", tls.verify_certificate_hash),
    ):
        if entries and tls.mode not in ("MUTUAL", "OPTIONAL_MUTUAL"):
            out.warning((*path, name), f"{name} has no effect in mode {tls.mode}")
        elif entries and not by_secret:
            out.warning((*path, name), f"{name} has no effect without credentialName, as in Istio")
    if tls.mode in ("SIMPLE", "PASSTHROUGH", "AUTO_PASSTHROUGH"):
        for name, used in (
            ("subjectAltNames", bool(tls.subject_alt_names)),
            ("insecureSkipVerify", bool(tls.insecure_skip_verify)),
        ):
            if used:
                out.warning(
                    (*path, name),
                    f"{name} has no effect in mode {tls.mode}: no client certificate is asked for",
                )


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
    if mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
        _note_certificates(tls, path, out)
        return
    if by_secret:
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


def _note_certificates(tls: ServerTLS, path: Path, out: Notes) -> None:
    """Without termination there is nothing to have a certificate for."""
    for name, value in (
        ("serverCertificate", tls.server_certificate),
        ("privateKey", tls.private_key),
        ("caCertificates", tls.ca_certificates),
        ("caCrl", tls.ca_crl),
        ("tlsCertificates", tls.tls_certificates),
        ("credentialName", tls.credential_name),
        ("credentialNames", tls.credential_names),
    ):
        if value:
            out.warning((*path, name), f"{tls.mode} uses no certificates, so {name} has no effect")


def _check_pair(mode: str, certificate: str, key: str, path: Path, out: Notes) -> None:
    if not certificate:
        out.error(path, f"{mode} TLS needs a server certificate: serverCertificate", "or a credentialName")
    if not key:
        out.error(path, f"{mode} TLS needs a private key: privateKey", "or a credentialName")
