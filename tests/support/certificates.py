"""Throw-away certificates and TLS contexts, made by the ``openssl`` command in a folder of the test."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.recorder import note_sni


@dataclass(frozen=True)
class CertificateWish:
    """What a certificate should be.

    ca: name of the issuer, own name or None = self-signed. days: may be negative, for one that has expired.
    """

    cn: str
    sans: Sequence[str] = ()
    ca: str | None = None
    is_ca: bool = False
    key: str = "rsa"
    days: int = 365


class CertificateFolder:
    """``NAME.pem`` and ``NAME.key`` for each wish; issuers are made first."""

    def __init__(self, folder: Path, wishes: Mapping[str, CertificateWish]) -> None:
        self.folder = folder
        self._wishes = wishes
        folder.mkdir(parents=True, exist_ok=True)
        for name in wishes:
            self._make(name)

    def certificate(self, name: str) -> Path:
        """Path of the PEM certificate."""
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Path of the PEM private key."""
        return self.folder / f"{name}.key"

    def server_context(
        self, name: str, *, alpn: Sequence[str] = (), client_ca: str | None = None
    ) -> ssl.SSLContext:
        """Context of an upstream that shows certificate ``name``; ``client_ca``: it wants one in return."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(name), self.key(name))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if client_ca:
            context.load_verify_locations(self.certificate(client_ca))
            context.verify_mode = ssl.CERT_REQUIRED
        note_sni(context)
        return context

    def client_context(
        self,
        *,
        client_cert: str | None = None,
        trust: str | None = None,
        alpn: Sequence[str] = (),
        versions: tuple[str | None, str | None] = (None, None),
        ciphers: str | None = None,
    ) -> ssl.SSLContext:
        """Context of a client; without ``trust`` any server will do. versions: lowest, highest (TLSv1.2)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if trust:
            context.load_verify_locations(self.certificate(trust))
            context.verify_mode = ssl.CERT_REQUIRED
        if client_cert:
            context.load_cert_chain(self.certificate(client_cert), self.key(client_cert))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        low, high = versions
        if low:
            context.minimum_version = ssl.TLSVersion[low.replace(".", "_")]
        if high:
            context.maximum_version = ssl.TLSVersion[high.replace(".", "_")]
        if ciphers:
            context.set_ciphers(ciphers)
        return context

    def _make(self, name: str) -> None:
        if self.certificate(name).exists():
            return
        wish = self._wishes[name]
        issuer = wish.ca if wish.ca not in (None, name) else None
        if issuer is not None:
            self._make(issuer)
        kind = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if wish.key == "ec" else ["rsa:2048"]
        request = self.folder / f"{name}.csr"
        subject = "/CN=" + wish.cn.replace("/", "\\/")
        _openssl(
            "req",
            "-new",
            "-nodes",
            "-newkey",
            *kind,
            "-keyout",
            self.key(name),
            "-out",
            request,
            "-subj",
            subject,
        )
        (self.folder / f"{name}.ext").write_text(_extensions(wish))
        (self.folder / f"{name}.index").write_text("")
        (self.folder / f"{name}.ca.cnf").write_text(_CA_CONFIG.format(folder=self.folder, name=name))
        now = datetime.now(UTC)
        start = now - timedelta(days=max(1, 1 - wish.days))
        signer: list[str | Path] = (
            ["-cert", self.certificate(issuer), "-keyfile", self.key(issuer)] if issuer else []
        )
        own: list[str | Path] = [] if issuer else ["-selfsign", "-keyfile", self.key(name)]
        _openssl(
            *("ca", "-batch", "-notext", "-config", self.folder / f"{name}.ca.cnf"),
            *(*signer, *own, "-in", request, "-out", self.certificate(name)),
            *("-startdate", _stamp(start), "-enddate", _stamp(now + timedelta(days=wish.days))),
            *("-extfile", self.folder / f"{name}.ext"),
        )


_CA_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/{name}.index
new_certs_dir = {folder}
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = supplied
"""


def _extensions(wish: CertificateWish) -> str:
    lines = [f"basicConstraints=critical,CA:{'TRUE' if wish.is_ca else 'FALSE'}"]
    names = [san if san.startswith(("URI:", "IP:", "email:", "DNS:")) else f"DNS:{san}" for san in wish.sans]
    if names:
        lines.append("subjectAltName=" + ",".join(names))
    lines.append("subjectKeyIdentifier=hash")
    return "\n".join(lines) + "\n"


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")
