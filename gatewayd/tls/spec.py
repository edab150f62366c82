"""What the compiler asks of TLS, in frozen words: which certificates, whom to believe, which versions.

Nothing here is loaded: a :class:`SecretName` or a path becomes PEM in :mod:`gatewayd.tls.credentials`, and PEM
becomes a context in :mod:`gatewayd.tls.contexts`. Specs are compared by value, so that an unchanged server
keeps its context when the configuration changes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretName:
    """A credential by name (semantics 3.9): a Secret document, or a folder below a secrets directory."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PairFiles:
    """A certificate chain and its key as PEM files."""

    certificate: str
    private_key: str
    #: where to look instead while there is no such certificate
    otherwise: PairFiles | None = None

    def __str__(self) -> str:
        return self.certificate


@dataclass(frozen=True, slots=True)
class Trust:
    """Where certificate authorities come from.

    ``file`` is a path; else the first of ``secrets`` that exists (semantics 3.11). Neither: the trust
    store of the operating system, where that makes sense (upstreams, semantics 10.4).
    """

    file: str = ""
    #: paths instead, the first that there is, while ``file`` is not there
    otherwise: tuple[str, ...] = ()
    secrets: tuple[SecretName, ...] = ()
    #: path of a PEM file with revocation lists; Secrets may bring their own (3.12)
    crl_file: str = ""


@dataclass(frozen=True, slots=True)
class ServerTlsSpec:
    """TLS of one terminating Gateway server (semantics 3)."""

    #: for messages: ``Gateway istio-system/edge servers[1]``
    owner: str
    mode: str  # a row of MODES that terminates
    #: one or two: RSA and ECDSA
    pairs: tuple[SecretName | PairFiles, ...]
    trust: Trust = Trust()
    alpn: tuple[str, ...] = ("http/1.1",)
    min_version: str = "TLSV1_2"  # TLSV1_0 to TLSV1_3 (3.6)
    max_version: str = "TLSV1_3"
    #: OpenSSL names, valid ones only (3.7); empty: the default list
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    #: the client's certificate must carry one of these (3.14); empty: any
    subject_alt_names: tuple[str, ...] = ()
    #: SHA-256 of the client's key, base64 / certificate, lower-case hex; matching either is enough (3.15)
    spki_hashes: tuple[str, ...] = ()
    certificate_hashes: tuple[str, ...] = ()
    #: take client certificates that chain to nothing known (3.16)
    accept_untrusted: bool = False


@dataclass(frozen=True, slots=True)
class ClientTlsSpec:
    """TLS towards the endpoints of a cluster (semantics 10)."""

    #: for messages: ``DestinationRule shop/reviews``
    owner: str
    mode: str  # SIMPLE or MUTUAL; ISTIO_MUTUAL by files is MUTUAL here
    pair: SecretName | PairFiles | None = None
    trust: Trust = Trust()
    #: empty: the Host of each request, without port, unless it is an address (10.2)
    sni: str = ""
    #: the certificate must carry one of these (10.3)
    subject_alt_names: tuple[str, ...] = ()
    #: without names above: it must match the Host that gives the SNI (10.3)
    verify_host: bool = False
    insecure_skip_verify: bool = False
    alpn: tuple[str, ...] = ()
