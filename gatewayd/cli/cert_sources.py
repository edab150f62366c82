"""The certificates of one thing a user names: a PEM file, the Secrets of a YAML file, a server."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from gatewayd.cli.values import split_address
from gatewayd.resources.secret import Secret
from gatewayd.sources import load
from gatewayd.sources.files import SUFFIXES
from gatewayd.tls.files import FileReader
from gatewayd.tls.inspect import BEGIN_CERTIFICATE, CertificateFacts, facts_of, read_certificates
from gatewayd.tls.material import MaterialError

_CONNECT_S: Final = 5.0


class CannotInspect(Exception):
    """Why there is nothing to show."""

    def __init__(self, reason: str, *, is_file: bool) -> None:
        super().__init__(reason)
        self.is_file = is_file


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found behind ``target``."""

    target: str
    #: (where in the target, the certificate); the place is empty when there is but one
    certificates: list[tuple[str, CertificateFacts]]
    #: of a server: "protocol", "cipher", "trusted" ("yes", or why the system does not trust it)
    connection: dict[str, str] = field(default_factory=dict)


def certificates_of(target: str, sni: str = "") -> Inspected:
    """The certificates of a file or of a server. Raises CannotInspect."""
    if not os.path.exists(target) and ":" in target and "/" not in target:
        return _of_server(target, sni)
    if target.endswith(SUFFIXES):
        return _of_secrets(target)
    try:
        certificates = read_certificates(FileReader().read(target))
    except (MaterialError, ValueError) as error:
        raise CannotInspect(str(error), is_file=True) from None
    return Inspected(target, [("", facts_of(one)) for one in certificates])


def _of_secrets(path: str) -> Inspected:
    loaded = load([path])
    found: list[tuple[str, CertificateFacts]] = []
    for resource in loaded.of_kind(Secret):
        for key, value in resource.spec.values().items():
            if BEGIN_CERTIFICATE in value:
                place = f"Secret {resource.full_name} {key}"
                try:
                    found += [(place, facts_of(one)) for one in read_certificates(value)]
                except ValueError as error:
                    raise CannotInspect(f"{place}: {error}", is_file=True) from None
    if not found:
        reasons = [finding.message for finding in loaded.findings if finding.level == "error"]
        raise CannotInspect(reasons[0] if reasons else "no Secret with a certificate in it", is_file=True)
    return Inspected(path, found)


def _of_server(target: str, sni: str) -> Inspected:
    try:
        host, port = split_address(target)
    except ValueError as error:
        raise CannotInspect(str(error), is_file=False) from None
    name = sni or host
    # What it shows is to be seen, whether it is any good or not; whether it is, is asked afterwards.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), _CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            chain = _chain(connection)
            protocol, cipher = connection.version() or "", (connection.cipher() or ("",))[0]
    except (OSError, ValueError) as error:
        raise CannotInspect(f"cannot connect: {_reason(error)}", is_file=False) from None
    if not chain:
        raise CannotInspect("the server shows no certificate", is_file=False)
    facts = [facts_of(x509.load_der_x509_certificate(der)) for der in chain]
    details = {"protocol": protocol, "cipher": cipher, "trusted": _trusted(host, port, name)}
    return Inspected(target, [("", one) for one in facts], details)


def _chain(connection: ssl.SSLSocket) -> list[bytes]:
    inner = getattr(connection, "_sslobj", None)
    whole = getattr(connection, "get_unverified_chain", None) or getattr(inner, "get_unverified_chain", None)
    chain = whole() if whole is not None else None
    if chain:
        return [
            one if isinstance(one, bytes) else ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain
        ]
    leaf = connection.getpeercert(binary_form=True)
    return [leaf] if leaf else []


def _trusted(host: str, port: int, name: str) -> str:
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), _CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=name),
        ):
            return "yes"
    except ssl.SSLCertVerificationError as error:
        return f"no: {error.verify_message}"
    except (OSError, ValueError) as error:
        return f"unknown: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return f"no answer within {_CONNECT_S:g} s"
    return (getattr(error, "strerror", None) or str(error)).lower()
