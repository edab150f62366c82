"""Which filter chain of a listener takes a connection: by SNI and ALPN of its ClientHello (semantics 3.3).

The exact name, else the longest ``*.suffix``, else a chain without names. There is no way back: a name that matches
a chain whose ALPN does not fit is not tried on a less specific one, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ChainIndex:
    """The chains of one listener by server name; lookups cost one dict access per label."""

    __slots__ = ("_any", "_exact", "_suffix")

    def __init__(self, chains: Iterable[Any]) -> None:
        """``chains``: of FilterChain, or anything with ``server_names`` and ``alpn``; the first of two wins."""
        self._exact: dict[str, list[Any]] = {}
        self._suffix: dict[str, list[Any]] = {}
        self._any: list[Any] = []
        for chain in chains:
            if not chain.server_names:
                self._any.append(chain)
            for name in chain.server_names:
                if name.startswith("*."):
                    self._suffix.setdefault(name[1:], []).append(chain)
                else:
                    self._exact.setdefault(name, []).append(chain)

    def replace(self, old: Any, new: Any) -> None:
        """``new``, with the same names and ALPN, takes the place of ``old``."""
        lists = [self._any] if not new.server_names else []
        for name in new.server_names:
            lists.append(self._suffix[name[1:]] if name.startswith("*.") else self._exact[name])
        for chains in lists:
            chains[:] = [new if chain is old else chain for chain in chains]

    def choose(self, server_name: str, alpn: tuple[str, ...] = ()) -> Any:
        """The chain, or None. ``server_name``: lower case, ``""`` without SNI or without TLS."""
        return _by_alpn(self._by_name(server_name), alpn)

    def _by_name(self, name: str) -> list[Any]:
        if not name:
            return self._any
        found = self._exact.get(name)
        if found is not None:
            return found
        at = name.find(".")
        while at >= 0:
            found = self._suffix.get(name[at:])
            if found is not None:
                return found
            at = name.find(".", at + 1)
        return self._any


def _by_alpn(chains: list[Any], alpn: tuple[str, ...]) -> Any:
    """Among chains of one name, one that asks for an offered protocol goes before one that asks for none."""
    fallback = None
    for chain in chains:
        if not chain.alpn:
            if fallback is None:
                fallback = chain
        elif any(protocol in chain.alpn for protocol in alpn):
            return chain
    return fallback
