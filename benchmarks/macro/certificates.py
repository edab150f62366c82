"""Certificates for the HTTPS scenarios: ECDSA P-256, signed by themselves, one per host."""

from dataclasses import replace
from pathlib import Path

from benchmarks.macro.site import Pair, Site
from gatewayd.tls.authority import make_leaf

_DAYS = 60


def issue(host: str, folder: Path) -> Pair:
    """Write a certificate of `host` and its key to `folder`."""
    issued = make_leaf([host], _DAYS)
    pair = Pair(folder / f"{host}.pem", folder / f"{host}.key")
    pair.certificate.write_bytes(issued.certificate)
    pair.private_key.write_bytes(issued.private_key)
    return pair


def over_tls(site: Site, folder: Path) -> Site:
    """The same site over HTTPS, every host with a certificate of its own; `folder` is made."""
    folder.mkdir(parents=True)
    hosts = tuple(replace(host, certificate=issue(host.host, folder)) for host in site.hosts)
    return replace(site, hosts=hosts)
