"""Check every certificate below some paths: dates, and that keys fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gatewayd.resources.secret import Secret
from gatewayd.sources import load
from gatewayd.sources.files import SUFFIXES
from gatewayd.tls.files import MAX_BYTES, FileReader, reason
from gatewayd.tls.inspect import BEGIN_CERTIFICATE, CertificateFacts, facts_of, read_certificates
from gatewayd.tls.material import MaterialError
from gatewayd.tls.pem import PemChecks

Status = Literal["ok", "expires", "expired", "broken"]

#: certificate -> key, as a Secret and a folder of one name them
_PAIRS: Final = {"tls.crt": "tls.key", "cert": "key"}
#: and as other people do: what the certificate's name ends with
_ENDINGS: Final = (".crt", ".pem", ".cert", ".cer")
_REVOCATION_LISTS: Final = ("crl", "ca.crl")


@dataclass(frozen=True, slots=True)
class Checked:
    """One certificate, or one thing that cannot be used as one."""

    place: str  # path, or path and Secret
    status: Status
    facts: CertificateFacts | None = None
    days_left: float = 0.0
    problem: str = ""


def check_paths(paths: Sequence[str], days: float, now_s: float) -> list[Checked]:
    """All certificates of ``paths``, in the order of the paths; those that end within ``days`` are marked."""
    checker = _Checker(days, now_s)
    return [found for path in paths for found in checker.path(path)]


class _Checker:
    def __init__(self, days: float, now_s: float) -> None:
        self._days = days
        self._now_s = now_s
        self._files = FileReader()
        self._checks = PemChecks()

    def path(self, path: str) -> Iterator[Checked]:
        if not os.path.isdir(path):
            yield from self._file(path, named=True)
            return
        failed: list[OSError] = []
        for folder, folders, files in os.walk(path, onerror=failed.append):
            folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
            for entry in sorted(files):
                if not entry.startswith("."):
                    yield from self._file(os.path.join(folder, entry), named=False)
        for error in failed:
            yield Checked(str(error.filename), "broken", problem=f"cannot read: {reason(error)}")

    def _file(self, path: str, *, named: bool) -> Iterator[Checked]:
        """A file that a user named must have a certificate; one of a folder may be anything."""
        if path.endswith(SUFFIXES):
            yield from self._secrets(path)
            return
        name = os.path.basename(path)
        try:
            if not named and not os.path.isfile(path):
                return
            if not named and os.path.getsize(path) > MAX_BYTES:
                return
            data = self._files.read(path)
        except MaterialError as error:
            yield Checked(path, "broken", problem=str(error))
            return
        if named or BEGIN_CERTIFICATE in data or name in _PAIRS:
            yield from self._certificates(path, data, self._key_beside(path, data))
        elif name in _REVOCATION_LISTS:
            yield from self._revocation_list(path, data)

    def _key_beside(self, path: str, certificate: bytes) -> bytes | None:
        folder, name = os.path.split(path)
        if b"PRIVATE KEY-----" in certificate:
            return certificate
        key = _PAIRS.get(name) or next(
            (name.removesuffix(ending) + ".key" for ending in _ENDINGS if name.endswith(ending)), ""
        )
        beside = os.path.join(folder, key)
        if not key or not os.path.exists(beside):
            return None
        try:
            return self._files.read(beside)
        except MaterialError:
            return b""

    def _secrets(self, path: str) -> Iterator[Checked]:
        loaded = load([path])
        for finding in loaded.findings:
            if finding.level == "error" and (finding.kind == "Secret" or not finding.kind):
                yield Checked(finding.place, "broken", problem=finding.message)
        for resource in loaded.of_kind(Secret):
            yield from self._secret(
                f"{path}:{resource.line} Secret {resource.full_name}", resource.spec.values()
            )

    def _secret(self, place: str, values: Mapping[str, bytes]) -> Iterator[Checked]:
        for key, value in values.items():
            where = f"{place} {key}"
            if key in _PAIRS:
                yield from self._certificates(where, value, values.get(_PAIRS[key], b""))
            elif BEGIN_CERTIFICATE in value:
                yield from self._certificates(where, value, None)
            elif key in _REVOCATION_LISTS:
                yield from self._revocation_list(where, value)

    def _revocation_list(self, place: str, data: bytes) -> Iterator[Checked]:
        try:
            self._checks.revocation_lists(data)
        except MaterialError as error:
            yield Checked(place, "broken", problem=str(error))

    def _certificates(self, place: str, data: bytes, key: bytes | None) -> Iterator[Checked]:
        try:
            if key is not None:
                self._checks.pair(data, key)
            certificates = read_certificates(data)
        except (MaterialError, ValueError) as error:
            yield Checked(place, "broken", problem=str(error))
            return
        for certificate in certificates:
            facts = facts_of(certificate)
            left = facts.days_left(self._now_s)
            status: Status = "expired" if left <= 0 else "expires" if left <= self._days else "ok"
            yield Checked(place, status, facts, left)
