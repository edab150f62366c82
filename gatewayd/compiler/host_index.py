"""Which of many VirtualServices may share a host with a server, without comparing each with each.

A Gateway with thousands of servers has thousands of VirtualServices; every server asks. The answer may hold some that
share nothing after all; it never lacks one that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


class HostIndex:
    """Positions in a list of host lists, by name and by suffix."""

    def __init__(self, hosts: Iterable[Sequence[str]]) -> None:
        self._exact: dict[str, list[int]] = {}
        #: ``.test`` -> everything at or below ``*.test``
        self._below: dict[str, list[int]] = {}
        #: ``.test`` -> who has ``*.test``; ``""`` -> who has ``*``
        self._wild: dict[str, list[int]] = {}
        #: with wildcards of another form, such as ``*-api.test``
        self._odd: list[int] = []
        self._all: list[int] = []
        for at, names in enumerate(hosts):
            self._all.append(at)
            for name in names:
                self._add(name, at)

    def _add(self, name: str, at: int) -> None:
        if not name.startswith("*"):
            self._exact.setdefault(name, []).append(at)
        elif name == "*" or name.startswith("*."):
            self._wild.setdefault(name[1:], []).append(at)
        else:
            self._odd.append(at)
            return
        for suffix in _suffixes(name):
            self._below.setdefault(suffix, []).append(at)

    def near(self, hosts: Iterable[str]) -> list[int]:
        """Positions of lists that may overlap with ``hosts``, ascending, each once."""
        found: set[int] = set(self._odd)
        found.update(self._wild.get("", ()))
        for host in hosts:
            if host.startswith("*") and not host.startswith("*."):
                return self._all
            found.update(self._below.get(host[1:], ()) if host.startswith("*") else self._exact.get(host, ()))
            for suffix in _suffixes(host):
                found.update(self._wild.get(suffix, ()))
        return sorted(found)


def _suffixes(host: str) -> Iterator[str]:
    """``a.b.test`` -> ``.b.test``, ``.test``."""
    at = host.find(".")
    while at >= 0:
        yield host[at:]
        at = host.find(".", at + 1)
