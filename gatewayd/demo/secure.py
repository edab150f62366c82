"""TLS for the demo's backends, and what they tell of it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path


def server_context(certificate: Path, private_key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """A server that shows ``certificate``; with ``client_ca`` clients must show one it signed. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private_key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    context.sni_callback = _keep_name
    return context


def _keep_name(ssl_object: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
    ssl_object.server_name_asked = name or ""  # type: ignore[union-attr]  # a place for it of our own


def facts(writer: asyncio.StreamWriter) -> dict[str, str]:
    """Version, the name asked for and the client certificate's common name; empty without TLS."""
    ssl_object = writer.get_extra_info("ssl_object")
    if ssl_object is None:
        return {}
    found = {"version": ssl_object.version() or "", "sni": getattr(ssl_object, "server_name_asked", "")}
    certificate = ssl_object.getpeercert()
    if certificate:
        names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
        found["client"] = ",".join(names)
    return found
