"""Which DestinationRule speaks for a service, and its subsets (semantics 8.1, 8.1.3, 8.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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

    def __init__(self, rules: Iterable[tuple[str, Resource[DestinationRule]]]) -> None:
        self._hosts: dict[str, MergedRule] = {}
        for host, resource in rules:
            if host not in self._hosts:
                self._hosts[host] = MergedRule(host)
            self._hosts[host].add(resource)
        self._wildcards = sorted((h for h in self._hosts if h.startswith("*")), key=specificity)

    def find(self, host: str) -> MergedRule | None:
        found = self._hosts.get(host)
        if found is None:
            found = next((self._hosts[wild] for wild in self._wildcards if covers(wild, host)), None)
        return found


class RuleBook:
    """Every DestinationRule, as a proxy of one namespace with these labels sees them."""

    def __init__(
        self,
        rules: Iterable[Resource[DestinationRule]],
        *,
        viewer: str,
        labels: Mapping[str, str] | None,
        root: str,
        domain: str,
        default_export_to: Sequence[str] = (),
    ) -> None:
        self._viewer = viewer
        self._root = root
        selected: list[tuple[str, Resource[DestinationRule]]] = []
        own: list[tuple[str, Resource[DestinationRule]]] = []
        exported: dict[str, list[tuple[str, Resource[DestinationRule]]]] = {}
        for resource in by_age(rules):
            spec, namespace = resource.spec, resource.namespace
            seen = visibility(spec.export_to or default_export_to, namespace, viewer)
            if seen is None:
                continue
            entry = (full_name(spec.host, namespace, domain), resource)
            if spec.workload_selector is not None and spec.workload_selector.match_labels:
                wanted = spec.workload_selector.match_labels
                if namespace == viewer and labels is not None and has_labels(wanted, labels):
                    selected.append(entry)  # semantics 8.1.4
                continue
            if namespace == viewer and (viewer != root or seen == PRIVATE):
                own.append(entry)
            exported.setdefault(namespace, []).append(entry)
        self._own = (_Level(selected), _Level(own))
        self._exported = {namespace: _Level(entries) for namespace, entries in exported.items()}

    def find(self, host: str, namespace: str) -> MergedRule | None:
        """The rule for the service ``host`` of ``namespace``: the proxy's own namespace, then the
        service's, then the mesh's root; the first that has a match, without merging across (8.1.1)."""
        for level in self._own:
            found = level.find(host)
            if found is not None:
                return found
        for owner in (namespace, self._root):
            if owner in self._exported:
                found = self._exported[owner].find(host)
                if found is not None:
                    return found
        return None
