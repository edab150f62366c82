"""Gateway: ports to listen on, and the hosts each of them answers for (semantics 2 and 3)."""

from typing import Annotated, Literal

from msgspec import Meta

from gatewayd.resources.model import EMPTY, IstioModel, UInt32

TLSMode = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]
TLSVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class Port(IstioModel, frozen=True, kw_only=True):
    """A port of a Gateway server; `protocol` is case-insensitive (semantics 2.4.1)."""

    number: UInt32
    protocol: str
    name: str
    target_port: UInt32 | None = None


class TLSCertificate(IstioModel, frozen=True, kw_only=True):
    """One of several certificates of a server: paths of PEM files."""

    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTLS(IstioModel, frozen=True, kw_only=True):
    """TLS settings of a server. `mode` left out means PASSTHROUGH, the zero value of the API."""

    https_redirect: bool = False
    mode: TLSMode = "PASSTHROUGH"
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    subject_alt_names: tuple[str, ...] = ()
    credential_name: str = ""
    credential_names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)] | None = None
    ca_cert_credential_name: str = ""
    tls_certificates: Annotated[tuple[TLSCertificate, ...], Meta(min_length=1, max_length=2)] | None = None
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TLSVersion = "TLS_AUTO"
    max_protocol_version: TLSVersion = "TLS_AUTO"
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    insecure_skip_verify: bool | None = None


class Server(IstioModel, frozen=True, kw_only=True):
    """One port with its hosts. `bind` empty means every address."""

    port: Port
    hosts: tuple[str, ...]
    bind: str = ""
    tls: ServerTLS | None = None
    name: str = ""
    default_endpoint: str = ""


class Gateway(IstioModel, frozen=True, kw_only=True):
    """`spec` of a Gateway. An empty `selector` selects every gateway proxy (semantics 2.1.1)."""

    servers: tuple[Server, ...] = ()
    selector: dict[str, str] = EMPTY
