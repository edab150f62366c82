"""``tls`` of a Gateway server that terminates, as the words TLS understands (semantics 3.1 to 3.16)."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Any, Final

from gatewayd.compiler.credentials import (
    CredentialError,
    certificate_of,
    trust_of,
    workload_pair,
    workload_root,
)
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.tls_holders import Held
from gatewayd.resources.gateway import ServerTLS
from gatewayd.resources.mesh_config import TlsDefaults
from gatewayd.resources.tls_names import is_cipher_suite, is_curve, sort_out
from gatewayd.tls.modes import MODES, TlsMode
from gatewayd.tls.spec import PairFiles, SecretName, ServerTlsSpec, Trust
from gatewayd.tls.store import expiry

#: Offered where HTTP follows (3.5).
HTTP_ALPN: Final = ("h2", "http/1.1")
#: Offered where bytes follow, which may well be HTTP (3.5). Istio's list for ISTIO_MUTUAL begins with
#: ``istio-peer-exchange``; a client that gets it puts a header of its own before the bytes, which nothing
#: here would take off again, so it is not offered.
TCP_ALPN: Final = ("h2", "http/1.1")

_VERSIONS: Final = {"min": "TLSV1_2", "max": "TLSV1_3"}
_AUTO: Final = "TLS_AUTO"
#: How the problem of a credential that is nowhere reads; Istio has a finding for it.
_MISSING: Final = "does not exist"

_Pairs = tuple[SecretName | PairFiles, ...]


class ServerTlsCompiler:
    """Makes what ends TLS on a server; says what is wrong with it once, at the field that names it."""

    def __init__(
        self, options: CompileOptions, load: Callable[[ServerTlsSpec], Any], report: Reporter
    ) -> None:
        """``load``: turns a spec into the holder that goes into the filter chain."""
        self._options = options
        self._load = load
        self._report = report
        self._held: dict[GatewayServer, Any] = {}
        self._defaults = options.mesh.tls_defaults
        with report.by("tlsDefaults"):
            _check_defaults(self._defaults, report)

    def holder(self, server: GatewayServer) -> Any:
        """What ``FilterChain.tls`` holds for a terminating server. A broken one hurts only itself (3.13)."""
        try:
            holder = self._load(self.spec(server))
        except CredentialError as error:
            holder = Held(None, str(error))
        self._held[server] = holder
        return holder

    def review(self, servers: Container[GatewayServer]) -> None:
        """Say what is wrong now with TLS on each of ``servers``: credentials change by themselves."""
        now_s = time.time()
        for server in [server for server in self._held if server not in servers]:
            del self._held[server]
            self._report.forget(("tls of", server))
        for server, holder in self._held.items():
            with self._report.by(("tls of", server)):
                self._review(server, holder, now_s)

    def _review(self, server: GatewayServer, holder: Any, now_s: float) -> None:
        tls = server.spec.tls
        assert tls is not None
        self._check_versions(server, tls)
        where = server.where(f"tls.{_source(tls)}")
        if holder.problem:
            if holder.context is None:
                effect = "has no usable certificate, so its connections are closed until it has"
            else:
                effect = "keeps the certificate it had, because the new one cannot be used"
            code = "IST0101" if _MISSING in holder.problem else "GWD0106"
            self._report.say("warning", code, f"{server.title} {effect}: {holder.problem}", *where)
        for leaf in getattr(holder, "leaves", ()):
            remark = expiry(leaf, now_s)
            if remark is not None:
                message = f"{server.title}: {remark.message}"
                self._report.say(remark.level, remark.code, message, *where, remark.help)

    def _check_versions(self, server: GatewayServer, tls: ServerTLS) -> None:
        """The mesh may leave none of a server's versions; what one Gateway says has been checked before."""
        low, high = self._defaults.min_protocol_version, tls.max_protocol_version
        if _AUTO in (low, high) or tls.min_protocol_version != _AUTO or MODES[tls.mode].mesh_identity:
            return
        if low > high:  # their names sort as they follow each other
            self._report.say(
                "warning",
                "GWD0104",
                f"{server.title} speaks no version of TLS: at most {high}, and tlsDefaults of the mesh at least {low}",
                *server.where("tls.maxProtocolVersion"),
                help="set minProtocolVersion",
            )

    def spec(self, server: GatewayServer) -> ServerTlsSpec:
        """The server's settings, with the mesh's below them. Raises CredentialError."""
        tls = server.spec.tls
        assert tls is not None
        mode = MODES[tls.mode]
        asks = mode.client_certificate != "none"
        by_name = not mode.mesh_identity and bool(_credential_names(tls))
        tunable = not mode.mesh_identity  # 3.6
        defaults = self._defaults
        return ServerTlsSpec(
            owner=_owner(server),
            mode=mode.name,
            pairs=self._pairs(tls, mode),
            trust=self._trust(tls, mode) if asks else Trust(),
            alpn=HTTP_ALPN if server.routed_by == "http" else TCP_ALPN,
            min_version=_version("min", tls.min_protocol_version, defaults.min_protocol_version, tunable),
            max_version=_version("max", tls.max_protocol_version, _AUTO, tunable),
            cipher_suites=_names(tls.cipher_suites, is_cipher_suite, defaults.cipher_suites, tunable),
            ecdh_curves=_names(tls.ecdh_curves, is_curve, defaults.ecdh_curves, tunable),
            # Without a client certificate there is nothing to compare them with (3.14).
            subject_alt_names=tls.subject_alt_names if asks else (),
            # Istio hands them on only with credentialName (3.15).
            spki_hashes=tls.verify_certificate_spki if asks and by_name else (),
            certificate_hashes=tuple(map(_hex, tls.verify_certificate_hash)) if asks and by_name else (),
            accept_untrusted=asks and bool(tls.insecure_skip_verify),
        )

    def _pairs(self, tls: ServerTLS, mode: TlsMode) -> _Pairs:
        """Exactly one source is written (3.8); of several, Istio looks for them in this order."""
        if mode.mesh_identity:
            return (workload_pair(self._options),)
        names = _credential_names(tls)
        if names:
            return tuple(certificate_of(name, self._options) for name in names)
        if tls.tls_certificates:
            return tuple(
                PairFiles(each.server_certificate, each.private_key) for each in tls.tls_certificates
            )
        if not tls.server_certificate or not tls.private_key:
            raise CredentialError("it names neither a credential nor certificate files")
        return (PairFiles(tls.server_certificate, tls.private_key),)

    def _trust(self, tls: ServerTLS, mode: TlsMode) -> Trust:
        """Who may sign client certificates (3.11, 3.12)."""
        if mode.mesh_identity:
            return workload_root(self._options, tls.ca_crl)
        if tls.ca_cert_credential_name:
            return trust_of(tls.ca_cert_credential_name, self._options)
        names = _credential_names(tls)
        if names:
            return trust_of(names[0], self._options)
        bundles = (tls.ca_certificates, *(each.ca_certificates for each in tls.tls_certificates or ()))
        file = next(filter(None, bundles), "")
        if not file:
            raise CredentialError("it names no CA for the client certificates it asks for")
        return Trust(file=file, crl_file=tls.ca_crl)


def _check_defaults(defaults: TlsDefaults, report: Reporter) -> None:
    """Names nobody knows are said once; where they are used they do not count."""
    for field, names, known in (
        ("cipherSuites", defaults.cipher_suites, is_cipher_suite),
        ("ecdhCurves", defaults.ecdh_curves, is_curve),
    ):
        unknown = ", ".join(sort_out(names, known).unknown)
        if unknown:
            message = f"tlsDefaults.{field} of the mesh has names that are not known, so ignored: {unknown}"
            report.say("warning", "GWD0104", message)


def _credential_names(tls: ServerTLS) -> tuple[str, ...]:
    return tls.credential_names or ((tls.credential_name,) if tls.credential_name else ())


def _source(tls: ServerTLS) -> str:
    """The field that says where the certificate is."""
    if tls.credential_names:
        return "credentialNames"
    if tls.credential_name:
        return "credentialName"
    if tls.tls_certificates:
        return "tlsCertificates"
    return "serverCertificate" if tls.server_certificate else "mode"


def _owner(server: GatewayServer) -> str:
    resource, path = server.where()
    return f"{resource.kind} {resource.full_name} {path.removeprefix('spec.')}"


def _version(end: str, own: str, mesh: str, tunable: bool) -> str:
    """The server's own version, else the mesh's, else the default (3.6)."""
    written = [version for version in (own, mesh) if tunable and version != _AUTO]
    return written[0] if written else _VERSIONS[end]


def _names(
    own: tuple[str, ...], known: Callable[[str], bool], mesh: tuple[str, ...], tunable: bool
) -> tuple[str, ...]:
    """Known names of the server, else those of the mesh (3.6, 3.7)."""
    if not tunable:
        return ()
    return sort_out(own, known).valid or sort_out(mesh, known).valid


def _hex(digest: str) -> str:
    return digest.replace(":", "").lower()
