"""Telemetry."""

from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.telemetry import Telemetry
from gatewayd.resources.validate.names import check_labels
from gatewayd.resources.validate.notes import SPEC, Notes


def check_telemetry(telemetry: Telemetry, metadata: ObjectMeta, out: Notes) -> None:
    """Check a Telemetry."""
    targets = [bool(telemetry.selector), bool(telemetry.target_ref), bool(telemetry.target_refs)]
    if sum(targets) > 1:
        out.error(SPEC, "only one of selector, targetRef and targetRefs can be given")
    if telemetry.selector is not None:
        check_labels(telemetry.selector.match_labels, (*SPEC, "selector", "matchLabels"), out)
    for index, tracing in enumerate(telemetry.tracing):
        path = (*SPEC, "tracing", index)
        if len(tracing.providers) > 1:
            out.warning((*path, "providers", 1), "only the first provider counts")
        for name, tag in tracing.custom_tags.items():
            given = [tag.literal, tag.environment, tag.header, tag.formatter]
            if sum(value is not None for value in given) != 1:
                out.error(
                    (*path, "customTags", name),
                    f'tag "{name[:80]}" needs one of: literal, environment, header, formatter',
                )
