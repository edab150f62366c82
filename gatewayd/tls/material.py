"""What credentials come to: PEM in memory, checked, ready to be made into a context. Keys are never printed."""

from __future__ import annotations

from dataclasses import dataclass, field


class MaterialError(Exception):
    """A credential is missing or broken; the text says what, for a finding. It never holds key bytes."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain (leaf first) and its key."""

    certificate: bytes  # PEM
    private_key: bytes = field(repr=False)  # PEM, not encrypted
    ocsp_staple: bytes = b""  # DER, or empty (semantics 3.12)


@dataclass(frozen=True, slots=True)
class Material:
    """All PEM of one server or of one cluster."""

    pairs: tuple[KeyPair, ...] = ()
    ca: bytes = b""  # PEM; empty: none named
    crl: bytes = b""  # PEM; empty: none named
    #: by :class:`gatewayd.tls.pem.PemChecks`, so that nobody need do it again
    checked: bool = field(default=False, compare=False)
