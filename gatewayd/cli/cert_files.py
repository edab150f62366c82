"""Write new certificates and keys to files: keys for their owner's eyes, nothing overwritten unasked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gatewayd.tls.authority import Issued, general_name, make_authority, make_leaf
from gatewayd.tls.files import FileReader, reason
from gatewayd.tls.inspect import CertificateFacts, facts_of, read_certificates
from gatewayd.tls.material import MaterialError
from gatewayd.tls.pem import PemChecks

_AUTHORITY: Final = "gatewayd local CA"
#: An authority outlives what it signs.
_AUTHORITY_DAYS: Final = 3650.0


class CannotWrite(Exception):
    """Why nothing was made."""


@dataclass(frozen=True, slots=True)
class Made:
    """What was written."""

    files: list[str]
    leaf: CertificateFacts
    authority: CertificateFacts | None = None


def make_files(hosts: Sequence[str], out: str, days: float, *, with_authority: bool, force: bool) -> Made:
    """Write ``tls.crt`` and ``tls.key`` into the folder ``out``.

    With authority: signed by ``ca.crt`` and ``ca.key`` of the folder, which are made when they are not there. Raises
    ValueError for a host that cannot stand in a certificate, CannotWrite.
    """
    for host in hosts:
        general_name(host)
    certificate, key = (os.path.join(out, name) for name in ("tls.crt", "tls.key"))
    ca_certificate, ca_key = (os.path.join(out, name) for name in ("ca.crt", "ca.key"))
    taken = [path for path in (certificate, key) if os.path.lexists(path)]
    authority: Issued | None = None
    new_authority = False
    if with_authority:
        there = [os.path.lexists(path) for path in (ca_certificate, ca_key)]
        if all(there):
            authority = _read_authority(ca_certificate, ca_key)
        elif any(there) and not force:
            taken += [path for path, exists in zip((ca_certificate, ca_key), there, strict=True) if exists]
    if taken and not force:
        raise CannotWrite(f"already there: {', '.join(taken)} (--force writes over what is there)")
    if with_authority and authority is None:
        authority, new_authority = make_authority(_AUTHORITY, max(days, _AUTHORITY_DAYS)), True
    leaf = make_leaf(hosts, days, authority)
    try:
        os.makedirs(out, exist_ok=True)
        if new_authority and authority is not None:
            _write(ca_key, authority.private_key, 0o600)
            _write(ca_certificate, authority.certificate, 0o644)
        _write(key, leaf.private_key, 0o600)
        _write(certificate, leaf.certificate, 0o644)
    except OSError as error:
        raise CannotWrite(f"cannot write {error.filename or out}: {reason(error)}") from None
    files = [certificate, key, *((ca_certificate, ca_key) if new_authority else ())]
    return Made(files, _facts(leaf.certificate), _facts(authority.certificate) if authority else None)


def _read_authority(certificate: str, key: str) -> Issued:
    files = FileReader()
    try:
        issued = Issued(files.read(certificate), files.read(key))
        if not PemChecks().pair(issued.certificate, issued.private_key).facts.is_ca:
            raise MaterialError("it is no certificate authority")
    except MaterialError as error:
        raise CannotWrite(f"cannot sign with {certificate}: {error}") from None
    return issued


def _facts(certificate: bytes) -> CertificateFacts:
    return facts_of(read_certificates(certificate)[0])


def _write(path: str, data: bytes, mode: int) -> None:
    """Write a file that is whole from the moment it has its name, and never readable by others before."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
