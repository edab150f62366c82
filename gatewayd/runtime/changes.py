"""What a reload changed, in a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.resources.meta import Resource
from gatewayd.runtime.configuration import Configuration
from gatewayd.runtime.last_good import key_of
from gatewayd.snapshot import ListenerSpec, Snapshot

_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class Difference:
    """Names that came, went, and mean something else now; each sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @classmethod
    def of(cls, before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
        """Between two mappings whose values are compared."""
        return cls(
            tuple(sorted(after.keys() - before.keys())),
            tuple(sorted(before.keys() - after.keys())),
            tuple(sorted(name for name, value in after.items() if name in before and before[name] != value)),
        )

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

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
    resources = Difference.of(_by_title(before.compiled.used), _by_title(after.compiled.used))
    return Changes(
        Difference.of(_addresses(before.snapshot.listeners), _addresses(after.snapshot.listeners)),
        Difference.of(before.snapshot.clusters, after.snapshot.clusters),
        Difference.of(_hosts(before.snapshot), _hosts(after.snapshot)),
        resources,
    )


def _by_title(resources: Iterable[Resource[Any]]) -> dict[str, tuple[Any, Any]]:
    return {
        " ".join((each.kind, each.full_name)): (each.spec, each.metadata)
        for each in resources
        if key_of(each)[0]
        != "Secret"  # their values are nobody's business; what they came to is said elsewhere
    }


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


def _hosts(snapshot: Snapshot) -> dict[str, int]:
    """Virtual hosts and SNI names, by filter chain; what they do is compared by their resources."""
    found: dict[str, int] = {}
    for listener in snapshot.listeners:
        for chain in listener.chains:
            if chain.routes is not None:
                for host in chain.routes.virtual_hosts:
                    found[f"{chain.name} {host.name}"] = len(host.rules)
            else:
                found.update((f"{chain.name} {name}", 0) for name in chain.server_names or ("*",))
    return found
