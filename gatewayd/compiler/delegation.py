"""Which VirtualServices hang together by delegation, so that a change of one is a matter of others (semantics 4.16)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from gatewayd.resources.meta import Resource
from gatewayd.resources.virtual_service import VirtualService


def delegates_of(root: Resource[VirtualService] | None) -> frozenset[str]:
    """``namespace/name`` of each delegate that the rules of ``root`` name."""
    if root is None or not root.spec.hosts:
        return frozenset()
    return frozenset(
        f"{rule.delegate.namespace or root.namespace}/{rule.delegate.name}"
        for rule in root.spec.http
        if rule.delegate is not None
    )


class Delegation:
    """Roots and the delegates they name, both by ``namespace/name``."""

    def __init__(self) -> None:
        self._delegates: dict[str, frozenset[str]] = {}
        self._roots: dict[str, set[str]] = {}
        self._pulled: dict[str, set[str]] = {}
        self._pulls: Counter[str] = Counter()

    def update(self, links: Mapping[str, frozenset[str]], also: Iterable[str]) -> set[str]:
        """The VirtualServices of ``links`` changed, and delegate to these now.

        Returns who hangs together with one of them, or with one of ``also``, now or before; empty when there is no
        delegation among them. A mistake in a delegate is a matter of all its roots, and what one root is told of it
        the others need not be told again: so they are prepared together.
        """
        reached = set(also)
        for name, delegates in links.items():
            if delegates or name in self._delegates or name in self._roots:
                reached.add(name)
        together = self._closure(reached)
        for name, delegates in links.items():
            self._link(name, delegates)
        together |= self._closure(reached)
        for name in together:
            if name in self._pulled:
                self.pulls_in(name, ())
        return together

    def _closure(self, reached: Iterable[str]) -> set[str]:
        together: set[str] = set()
        waiting = list(reached)
        while waiting:
            name = waiting.pop()
            if name not in together:
                together.add(name)
                waiting += self._delegates.get(name, ())
                waiting += self._roots.get(name, ())
        return together

    def _link(self, root: str, delegates: frozenset[str]) -> None:
        for name in self._delegates.pop(root, ()):
            self._roots[name].discard(root)
            if not self._roots[name]:
                del self._roots[name]
        if delegates:
            self._delegates[root] = delegates
            for name in delegates:
                self._roots.setdefault(name, set()).add(root)

    def pulls_in(self, root: str, delegates: Iterable[str]) -> None:
        """The rules of ``root`` have those of ``delegates`` among them."""
        for name in self._pulled.pop(root, ()):
            self._pulls[name] -= 1
            if not self._pulls[name]:
                del self._pulls[name]
        pulled = set(delegates)
        if pulled:
            self._pulled[root] = pulled
            self._pulls.update(pulled)

    def is_pulled_in(self, name: str) -> bool:
        """Whether some root has the rules of this one."""
        return name in self._pulls
