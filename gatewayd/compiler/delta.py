"""What has changed among the resources since the last compilation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import Any, NamedTuple

from gatewayd.release import release
from gatewayd.resources.meta import Resource

#: kind, namespace, name
Key = tuple[str, str, str]


class Change(NamedTuple):
    """A resource that came (no ``before``), went (no ``after``), or is another object now."""

    before: Resource[Any] | None
    after: Resource[Any] | None

    @property
    def either(self) -> Resource[Any]:
        """The newer of the two."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def both(self) -> Iterator[Resource[Any]]:
        """Those of the two that there are."""
        if self.before is not None:
            yield self.before
        if self.after is not None:
            yield self.after


class Delta:
    """Changes by kind."""

    def __init__(self, before: Mapping[Key, Resource[Any]], after: Mapping[Key, Resource[Any]]) -> None:
        self._by_kind: dict[str, list[Change]] = {}
        # In C: there may be tens of thousands, of which one has changed.
        for key in compress(after, map(is_not, after.values(), map(before.get, after))):
            self._by_kind.setdefault(key[0], []).append(Change(before.get(key), after[key]))
        for key in before.keys() - after.keys():
            self._by_kind.setdefault(key[0], []).append(Change(before[key], None))

    def __bool__(self) -> bool:
        return bool(self._by_kind)

    def __len__(self) -> int:
        return sum(map(len, self._by_kind.values()))

    def release(self) -> None:
        """Let go of what went, piece by piece; nothing has changed any more."""
        for changes in self._by_kind.values():
            release(changes)
        self._by_kind.clear()

    def of(self, *kinds: str) -> list[Change]:
        """The changes of some kinds."""
        return [change for kind in kinds for change in self._by_kind.get(kind, ())]


def keyed(resources: Iterable[Resource[Any]]) -> dict[Key, Resource[Any]]:
    """The resources by key; of two with one key the first counts."""
    found: dict[Key, Resource[Any]] = {}
    for resource in resources:
        found.setdefault((resource.kind, resource.metadata.namespace, resource.metadata.name), resource)
    return found
