"""DestinationRule (semantics 19.7)."""

from gatewayd.resources.destination_rule import DestinationRule
from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.validate.names import check_export_to, check_labels, domain_problem, is_ip, is_label
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.validate.traffic_policy import check_traffic_policy


def check_destination_rule(rule: DestinationRule, metadata: ObjectMeta, out: Notes) -> None:
    """Check a DestinationRule."""
    if (problem := domain_problem(rule.host)) and not is_ip(rule.host):
        out.error(("spec", "host"), problem)
    if rule.traffic_policy is not None:
        check_traffic_policy(rule.traffic_policy, ("spec", "trafficPolicy"), out)
    names: set[str] = set()
    for index, subset in enumerate(rule.subsets):
        path: Path = ("spec", "subsets", index)
        if not is_label(subset.name):
            out.error((*path, "name"), f'"{subset.name[:80]}" is not a subset name (a DNS label)')
        elif subset.name in names:
            out.error((*path, "name"), f'subset "{subset.name}" is declared twice')
        names.add(subset.name)
        check_labels(subset.labels, (*path, "labels"), out)
        if subset.traffic_policy is not None:
            check_traffic_policy(subset.traffic_policy, (*path, "trafficPolicy"), out)
    selector = rule.workload_selector
    if selector is not None:
        here: Path = ("spec", "workloadSelector", "matchLabels")
        if not selector.match_labels:
            out.error(here[:-1], "a workloadSelector needs matchLabels")
        for key in selector.match_labels:
            if not key or "*" in key or "*" in selector.match_labels[key]:
                out.error((*here, key), "a selector matches whole labels: no empty keys, no wildcards")
    check_export_to(rule.export_to, ("spec", "exportTo"), out, own_only=selector is not None)
