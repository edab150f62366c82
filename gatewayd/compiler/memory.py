"""What one compilation leaves for the next: the work on resources that are still the same objects.

A VirtualService is prepared from its own document alone, and bound to a server from that and from the clusters it
names; so both are used again while nothing of it has changed. Every cluster is asked for anew all the same: a
binding is good only if each answer is the one it was made with, and what there is to say is said again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.prepared import Prepared
from gatewayd.resources.meta import Resource
from gatewayd.routing.table import VirtualHost


@dataclass(slots=True)
class _Remembered:
    #: by id of the resource, which is kept so that the id stays its own
    prepared: dict[int, tuple[Resource[Any], Prepared]] = field(default_factory=dict)
    #: by what a binding depends on besides clusters: itself, and what was asked to make it
    bounds: dict[tuple[int, int, str], tuple[Any, Sequence[Any]]] = field(default_factory=dict)
    #: by table, name and whether TLS is required: the bindings, and the virtual host made of them
    hosts: dict[tuple[str, str, bool], tuple[tuple[Any, ...], VirtualHost]] = field(default_factory=dict)


class CompileMemory:
    """Give the same one to every compilation of one configuration. What a compilation does not use is forgotten."""

    def __init__(self) -> None:
        self._options: CompileOptions | None = None
        self._before = _Remembered()
        self._now = _Remembered()

    def begin(self, options: CompileOptions) -> None:
        """A compilation begins; with other options nothing of before is good."""
        if options != self._options:
            self._options = options
            self._release(self._before)
            self._before = _Remembered()
        self._now = _Remembered()

    def end(self) -> None:
        """The compilation is complete."""
        before, self._before, self._now = self._before, self._now, _Remembered()
        self._release(before)

    def prepared(self, resource: Resource[Any]) -> Prepared | None:
        """What was prepared of ``resource``, the very same object."""
        known = self._before.prepared.get(id(resource))
        if known is None:
            return None
        self._now.prepared[id(resource)] = known
        return known[1]

    def keep_prepared(self, resource: Resource[Any], made: Prepared) -> None:
        """``made`` depends on nothing but ``resource`` and the options."""
        self._now.prepared[id(resource)] = resource, made

    def bound(self, key: tuple[int, int, str]) -> tuple[Any, Sequence[Any]] | None:
        """The binding of that key, and what was asked to make it."""
        return self._before.bounds.get(key)

    def keep_bound(self, key: tuple[int, int, str], bound: Any, asked: Sequence[Any]) -> None:
        """A binding that is good in this compilation."""
        self._now.bounds[key] = bound, asked

    def virtual_host(self, table: str, name: str, bounds: tuple[Any, ...], tls: bool) -> VirtualHost | None:
        """The virtual host made of the very same ``bounds``."""
        key = (table, name, tls)
        known = self._before.hosts.get(key)
        if known is None or known[0] != bounds:  # compared as objects: bindings know no other equality
            return None
        self._now.hosts[key] = known
        return known[1]

    def keep_virtual_host(self, table: str, bounds: tuple[Any, ...], host: VirtualHost) -> None:
        """``host`` is made of ``bounds``."""
        self._now.hosts[table, host.name, host.require_tls] = bounds, host

    @staticmethod
    def _release(old: _Remembered) -> None:
        for pieces in (old.hosts, old.bounds, old.prepared):
            release(pieces)


def release(pieces: dict[Any, Any]) -> None:
    """Empty ``pieces`` one by one: thousands of objects freed at a stroke would keep every other thread waiting."""
    while pieces:
        pieces.popitem()
