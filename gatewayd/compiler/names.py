"""Names: short hosts, Gateway references, and the algebra of host patterns (semantics 1.4 to 1.9, 2.2).

Pure functions on strings. A host pattern is a literal name, ``*`` or ``*.suffix``; comparisons are
case-sensitive because Istio's are (semantics 2.2.4): only the finished virtual host is lower-cased.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

#: The reserved Gateway reference that means "every sidecar" (semantics 1.7).
MESH: Final = "mesh"


def full_name(host: str, namespace: str, domain: str) -> str:
    """The host with a short name made whole: ``reviews`` -> ``reviews.shop.svc.cluster.local`` (1.4).

    A host with any dot, a wildcard or an IP literal is left alone, so ``reviews.prod`` stays as it is.
    """
    if "." in host or "*" in host or ":" in host or not host:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def gateway_name(reference: str, namespace: str) -> str:
    """``namespace/name`` of a Gateway reference written in ``namespace``; ``mesh`` stays ``mesh`` (1.7)."""
    if reference == MESH:
        return MESH
    owner, slash, name = reference.partition("/")
    if slash:
        return f"{namespace}/{name}" if owner == "." else reference
    if "." not in reference:
        return f"{namespace}/{reference}"
    # Legacy: name.namespace[.svc...]
    name, owner = reference.split(".")[:2]
    return f"{owner}/{name}"


def gateway_names(references: Sequence[str], namespace: str) -> tuple[str, ...]:
    """:func:`gateway_name` of each reference; none at all means ``mesh`` (4.1)."""
    if not references:
        return (MESH,)
    return tuple(gateway_name(reference, namespace) for reference in references)


def covers(general: str, narrow: str) -> bool:
    """Whether every name ``narrow`` stands for is also one of ``general`` (1.8).

    ``*.foo.com`` covers names at any depth below ``foo.com``, never ``foo.com`` itself.
    """
    if not general.startswith("*"):
        return general == narrow
    if narrow.startswith("*"):
        return len(narrow) >= len(general) and narrow.endswith(general[1:])
    return narrow.endswith(general[1:])


def overlap(one: str, other: str) -> bool:
    """Whether either pattern covers the other (1.8)."""
    return covers(one, other) or covers(other, one)


class HostSet:
    """Host patterns one side declares, ready to be met with many short lists of the other side's (2.2.3)."""

    __slots__ = ("_exact", "_wild")

    def __init__(self, hosts: Iterable[str]) -> None:
        self._exact: dict[str, None] = {}
        self._wild: dict[str, None] = {}
        for host in hosts:
            (self._wild if host.startswith("*") else self._exact)[host] = None

    def meet(self, hosts: Iterable[str]) -> list[str]:
        """The narrower name of every overlapping pair, each once."""
        found: dict[str, None] = {}
        for host in hosts:
            if host.startswith("*"):
                found.update((own, None) for own in self._exact if covers(host, own))
                for own in self._wild:
                    if covers(own, host):
                        found[host] = None
                    elif covers(host, own):
                        found[own] = None
            elif host in self._exact or any(covers(own, host) for own in self._wild):
                found[host] = None
        return list(found)


def intersection(servers: Iterable[str], hosts: Iterable[str]) -> list[str]:
    """The narrower name of every overlapping pair of two lists, each once (2.2.3)."""
    return HostSet(servers).meet(hosts)


def specificity(host: str) -> tuple[bool, int, str]:
    """Sort key, most specific first: exact before wildcard, long before short, then the alphabet (1.9)."""
    return (host.startswith("*"), -len(host), host)


def server_host(host: str, namespace: str) -> str:
    """A Gateway server host with ``./`` and ``*/`` worked out; ``namespace`` is the Gateway's (2.2.1)."""
    owner, slash, name = host.partition("/")
    if not slash:
        return host
    if owner == ".":
        return f"{namespace}/{name}"
    return name if owner == "*" else host


def hosts_open_to(server_hosts: Iterable[str], namespace: str) -> list[str]:
    """The bare server hosts to which a VirtualService of ``namespace`` may bind (2.2.2).

    ``server_hosts`` went through :func:`server_host` before.
    """
    bare = []
    for host in server_hosts:
        owner, slash, name = host.partition("/")
        if not slash:
            bare.append(host)
        elif owner == namespace:
            bare.append(name)
    return bare


def bare_host(host: str) -> str:
    """A server host without its namespace prefix, as the wire sees it (2.2.2)."""
    return host.rpartition("/")[2]
