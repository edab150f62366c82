"""The name of an upstream's server, as the Host of a request gives it (semantics 10.2)."""

from __future__ import annotations


def host_name(host: bytes) -> str:
    """``host`` without port, in lower case; an IPv6 address without brackets. "" for one that is no name."""
    if host.startswith(b"["):
        host = host[1:].partition(b"]")[0]
    elif host.count(b":") == 1:
        host = host.partition(b":")[0]
    try:
        return host.decode("ascii").lower()
    except UnicodeDecodeError:
        return ""


def can_be_said(name: str) -> bool:
    """Whether ``name`` can stand in a ClientHello: labels of 1 to 63 bytes, of the letters DNS knows or nearly so."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return bool(name)
