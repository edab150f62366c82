"""What the demo serves HTTPS with: an authority and a certificate made on the spot, gone with the demo."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from gatewayd.tls.authority import make_authority, make_leaf

#: Name of the credential in the example's Gateway.
CREDENTIAL: Final = "bookinfo-credential"
#: Longer than the time before an end that is a finding, so that a first run begins without one.
_DAYS: Final = 90.0
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


def make_certificates(folder: Path, bind: Sequence[str]) -> Path:
    """Write a secrets folder below ``folder``; the file a client is told to trust.

    The certificate is for localhost and for each address of ``bind`` a client can name. The authority's key is
    never written.
    """
    authority = make_authority("gatewayd demo", _DAYS)
    names = [*_LOCAL, *(address for address in bind if address not in _LOCAL and _nameable(address))]
    leaf = make_leaf(names, _DAYS, authority)
    secret = folder / "secrets" / CREDENTIAL
    secret.mkdir(parents=True)
    (secret / "tls.crt").write_bytes(leaf.certificate)
    key = secret / "tls.key"
    key.touch(0o600)
    key.write_bytes(leaf.private_key)
    trusted = folder / "ca.crt"
    trusted.write_bytes(authority.certificate)
    return trusted


def secrets_folder(folder: Path) -> Path:
    """Where ``make_certificates`` put what ``--secrets`` takes."""
    return folder / "secrets"


def _nameable(address: str) -> bool:
    try:
        return not ip_address(address).is_unspecified
    except ValueError:
        return False
