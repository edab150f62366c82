"""Which DestinationRule speaks for a service, and its subsets (semantics 8.1, 8.1.3, 8.2)."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gatewayd.compiler.delta import Delta
from gatewayd.compiler.endpoints import has_labels
from gatewayd.compiler.names import covers, full_name, specificity
from gatewayd.compiler.ordering import by_age
from gatewayd.compiler.visibility import PRIVATE, visibility
from gatewayd.resources.destination_rule import DestinationRule, Subset
from gatewayd.resources.meta import Resource
from gatewayd.resources.traffic_policy import TrafficPolicy


@dataclass(slots=True)
class MergedRule:
    """The rules of one host on one level as one (8.1.3)."""

    host: str
    resources: list[Resource[DestinationRule]] = field(default_factory=list)
    subsets: dict[str, Subset] = field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None

    def add(self, resource: Resource[DestinationRule]) -> None:
        """Merge a younger rule in: new subset names are added, the first whole policy stays."""
        self.resources.append(resource)
        for subset in resource.spec.subsets:
            self.subsets.setdefault(subset.name, subset)
        if self.traffic_policy is None:
            self.traffic_policy = resource.spec.traffic_policy


class _Level:
    """Rules by host; exact before wildcard, the longest wildcard first (8.1.2)."""

    def __init__(self) -> None:
        self._resources: dict[str, list[Resource[DestinationRule]]] = {}
        self._hosts: dict[str, MergedRule] = {}
        self._wildcards: list[str] = []

    def add(self, host: str, resource: Resource[DestinationRule]) -> None:
        """A rule came."""
        self._change(host, [*self._resources.get(host, ()), resource])

    def remove(self, host: str, resource: Resource[DestinationRule]) -> None:
        """A rule went."""
        self._change(host, [each for each in self._resources.get(host, ()) if each is not resource])

    def _change(self, host: str, resources: list[Resource[DestinationRule]]) -> None:
        if resources:
            self._resources[host] = resources
            self._hosts[host] = merged = MergedRule(host)
            for resource in by_age(resources):
                merged.add(resource)
        else:
            self._resources.pop(host, None)
            self._hosts.pop(host, None)
        if host.startswith("*") and (host in self._hosts) != (host in self._wildcards):
            if resources:
                insort(self._wildcards, host, key=specificity)
            else:
                self._wildcards.remove(host)

    def find(self, host: str) -> MergedRule | None:
        """The rule for a host."""
        found = self._hosts.get(host)
        if found is None:
            found = next((self._hosts[wild] for wild in self._wildcards if covers(wild, host)), None)
        return found


class RuleBook:
    """Every DestinationRule, as a proxy of one namespace with these labels sees them.

    It is kept from one compilation to the next, and says for which hosts there may be other rules.
    """

    def __init__(
        self,
        *,
        viewer: str,
        labels: Mapping[str, str] | None,
        root: str,
        domain: str,
        default_export_to: Sequence[str] = (),
    ) -> None:
        self._viewer = viewer
        self._labels = labels
        self._root = root
        self._domain = domain
        self._default_export_to = default_export_to
        self._selected, self._own = _Level(), _Level()
        self._exported: dict[str, _Level] = {}

    def update(self, delta: Delta) -> set[str]:
        """Take the changes in; the hosts, some of them wildcards, of which other rules may speak now."""
        hosts: set[str] = set()
        for before, after in delta.of("DestinationRule"):
            if before is not None:
                host = full_name(before.spec.host, before.namespace, self._domain)
                for level in self._levels(before):
                    level.remove(host, before)
                hosts.add(host)
            if after is not None:
                host = full_name(after.spec.host, after.namespace, self._domain)
                for level in self._levels(after):
                    level.add(host, after)
                hosts.add(host)
        return hosts

    def _levels(self, resource: Resource[DestinationRule]) -> Iterator[_Level]:
        """Where a rule counts."""
        spec, namespace, viewer = resource.spec, resource.namespace, self._viewer
        seen = visibility(spec.export_to or self._default_export_to, namespace, viewer)
        if seen is None:
            return
        if spec.workload_selector is not None and spec.workload_selector.match_labels:
            wanted = spec.workload_selector.match_labels
            if namespace == viewer and self._labels is not None and has_labels(wanted, self._labels):
                yield self._selected  # semantics 8.1.4
            return
        if namespace == viewer and (viewer != self._root or seen == PRIVATE):
            yield self._own
        yield self._exported.setdefault(namespace, _Level())

    def find(self, host: str, namespace: str) -> MergedRule | None:
        """The rule for the service ``host`` of ``namespace``: the proxy's own namespace, then the
        service's, then the mesh's root; the first that has a match, without merging across (8.1.1)."""
        for level in (self._selected, self._own):
            found = level.find(host)
            if found is not None:
                return found
        for owner in (namespace, self._root):
            if owner in self._exported:
                found = self._exported[owner].find(host)
                if found is not None:
                    return found
        return None
