"""What a reload changed, in a few words."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

from gatewayd.routing.table import VirtualHost
from gatewayd.runtime.configuration import Configuration
from gatewayd.snapshot import ListenerSpec, Snapshot
from gatewayd.sources import Key

_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class Difference:
    """Names that came, went, and mean something else now; each sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        before: Mapping[Any, Any],
        after: Mapping[Any, Any],
        title: Callable[[Any], str] = str,
        differ: Callable[[Any, Any], bool] = operator.ne,
    ) -> Difference:
        """Between two mappings; ``title`` names a key, ``differ`` compares values that are not the same object."""
        # In C: there may be tens of thousands, of which one has changed.
        other = compress(after, map(operator.is_not, after.values(), map(before.get, after)))
        return cls(
            tuple(sorted(map(title, after.keys() - before.keys()))),
            tuple(sorted(map(title, before.keys() - after.keys()))),
            tuple(sorted(title(key) for key in other if key in before and differ(before[key], after[key]))),
        )

    def and_then(self, other: Difference) -> Difference:
        """Both together."""
        return Difference(
            (*self.added, *other.added), (*self.removed, *other.removed), (*self.changed, *other.changed)
        )

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """What was added, removed and changed."""
        return self.added, self.removed, self.changed

    def __bool__(self) -> bool:
        return any(self.parts)

    def words(self, noun: str) -> str:
        """``clusters +1 -2 ~3``."""
        counts = (("+", self.added), ("-", self.removed), ("~", self.changed))
        return " ".join([noun, *(f"{sign}{len(names):,}" for sign, names in counts if names)])


@dataclass(frozen=True, slots=True)
class Changes:
    """Between two configurations."""

    listeners: Difference
    clusters: Difference
    hosts: Difference
    resources: Difference

    def __bool__(self) -> bool:
        return bool(self.listeners or self.clusters or self.hosts or self.resources)

    def __str__(self) -> str:
        """``listeners +1, hosts ~1; VirtualService shop/cart``."""
        parts = (
            (self.listeners, "listeners"),
            (self.hosts, "hosts"),
            (self.clusters, "clusters"),
            (self.resources, "resources"),
        )
        text = ", ".join(difference.words(noun) for difference, noun in parts if difference)
        names = [*self.resources.changed, *self.resources.added, *self.resources.removed]
        if not names:
            return text or "nothing changed"
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return f"{text} ({', '.join(names[:_NAMED])}{more})"


def changes(before: Configuration, after: Configuration) -> Changes:
    """What ``after`` changes. Takes time with many resources: call it in a thread."""
    if after.snapshot is before.snapshot:
        return Changes(*[Difference()] * 4)
    return Changes(
        Difference.of(_addresses(before.snapshot.listeners), _addresses(after.snapshot.listeners)),
        Difference.of(before.snapshot.adopted, after.snapshot.adopted),
        _hosts(before.snapshot, after.snapshot),
        _resources(before.compiled.used, after.compiled.used),
    )


def _resources(before: Mapping[Key, Any], after: Mapping[Key, Any]) -> Difference:
    """Secrets are left out: their values are nobody's business, and what they came to is said elsewhere."""
    found = Difference.of(before, after, _title, operator.is_not)
    return Difference(
        *(tuple(name for name in names if not name.startswith("Secret ")) for names in found.parts)
    )


def _title(key: Key) -> str:
    kind, namespace, name = key
    return f"{kind} {namespace}/{name}"


def _addresses(listeners: Sequence[ListenerSpec]) -> dict[str, Any]:
    """A listener is another one when it accepts otherwise; its routes are not its own."""
    return {
        listener.name: (
            listener.bind,
            listener.protocol,
            listener.proxy_protocol,
            tuple((chain.name, chain.server_names, chain.alpn, id(chain.tls)) for chain in listener.chains),
        )
        for listener in listeners
    }


def _hosts(before: Snapshot, after: Snapshot) -> Difference:
    """Virtual hosts and SNI names, by filter chain; what they do is compared by their rules."""
    known, found = _served(before), _served(after)
    difference = Difference()
    for chain in sorted(known.keys() | found.keys()):
        old, new = known.get(chain, {}), found.get(chain, {})
        if old is not new:
            difference = difference.and_then(
                Difference.of(old, new, f"{chain} {{}}".format, _has_other_rules)
            )
    return difference


def _has_other_rules(before: VirtualHost | None, after: VirtualHost | None) -> bool:
    return (before and len(before.rules)) != (after and len(after.rules))


def _served(snapshot: Snapshot) -> dict[str, Mapping[str, VirtualHost | None]]:
    """What answers under each name, by filter chain; None where bytes go on."""
    found: dict[str, Mapping[str, VirtualHost | None]] = {}
    for listener in snapshot.listeners:
        for chain in listener.chains:
            if chain.routes is not None:
                found[chain.name] = chain.routes.by_name
            else:
                names = dict.fromkeys(chain.server_names or ("*",))
                found[chain.name] = {**found.get(chain.name, {}), **names}
    return found
