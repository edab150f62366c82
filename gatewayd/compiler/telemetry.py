"""Which Telemetry speaks for this proxy, and what they say together (as istiod merges them).

The mesh's root namespace first, then the proxy's own, then what selects the proxy there: of each level the oldest.
What a later one says goes before, field by field; ``customTags`` are taken whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from gatewayd.compiler.delta import Delta
from gatewayd.compiler.endpoints import has_labels
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.ordering import by_age
from gatewayd.observe.formatter import compile_format
from gatewayd.resources.mesh_observing import CustomTag
from gatewayd.resources.meta import Resource
from gatewayd.resources.telemetry import Telemetry, TracingTag

_T = TypeVar("_T")

#: (name, kind, text or name, default) of an attribute, as in ``TraceOptions.tags`` but for the order
Tag = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class TracingSpec:
    """What the levels say of tracing. None: nothing."""

    provider: str | None = None
    percent: float | None = None
    disabled: bool = False
    tags: tuple[Tag, ...] | None = None
    istio_tags: bool | None = None


@dataclass(frozen=True, slots=True)
class TelemetrySpec:
    """What the levels say. ``tracing`` None: nothing about it."""

    tracing: TracingSpec | None = None
    access_log: bool = True


NOTHING = TelemetrySpec()


class TelemetryBook:
    """The Telemetry resources, and what they say for a proxy of namespace ``viewer`` with ``labels``.

    ``root``: the mesh's root namespace.
    """

    def __init__(self, viewer: str, labels: Mapping[str, str] | None, root: str, report: Reporter) -> None:
        self._viewer = viewer
        self._labels = labels
        self._root = root
        self._report = report
        self._resources: dict[str, Resource[Telemetry]] = {}
        self.spec = NOTHING

    def update(self, delta: Delta) -> bool:
        """Take what has changed; whether they say something else now."""
        changes = delta.of("Telemetry")
        if not changes:
            return False
        for before, after in changes:
            if before is not None:
                del self._resources[before.full_name]
            if after is not None:
                self._resources[after.full_name] = after
        former = self.spec
        with self._report.by("Telemetry"):
            self.spec = _merge(
                _levels(by_age(self._resources.values()), self._viewer, self._labels, self._root),
                self._report,
            )
        return self.spec != former


def _merge(levels: Iterable[Resource[Telemetry]], report: Reporter) -> TelemetrySpec:
    tracing: TracingSpec | None = None
    access_log = True
    for resource in levels:
        for index, each in enumerate(resource.spec.tracing):
            if each.match is not None and each.match.mode == "SERVER":
                continue
            spec = tracing or TracingSpec()
            tracing = replace(
                spec,
                provider=each.providers[0].name if each.providers else spec.provider,
                percent=_newer(each.random_sampling_percentage, spec.percent),
                disabled=bool(_newer(each.disable_span_reporting, spec.disabled)),
                tags=tuple(sorted(_tags(each.custom_tags, resource, index, report))) or spec.tags,
                istio_tags=_newer(each.enable_istio_tags, spec.istio_tags),
            )
        for log in resource.spec.access_logging:
            if (log.match is None or log.match.mode != "SERVER") and log.disabled is not None:
                access_log = not log.disabled
    return TelemetrySpec(tracing, access_log)


def _levels(
    resources: Iterable[Resource[Telemetry]], viewer: str, labels: Mapping[str, str] | None, root: str
) -> Iterator[Resource[Telemetry]]:
    known = [each for each in resources if each.spec.target_ref is None and not each.spec.target_refs]
    for namespace in dict.fromkeys((root, viewer)):
        whole = (each for each in known if each.namespace == namespace and not _wanted(each))
        yield from _first(whole)
    if labels is not None:
        own = (each for each in known if each.namespace == viewer and _wanted(each))
        yield from _first(each for each in own if has_labels(_wanted(each), labels))


def _wanted(resource: Resource[Telemetry]) -> Mapping[str, str]:
    selector = resource.spec.selector
    return selector.match_labels if selector is not None else {}


def _first(resources: Iterable[Resource[Telemetry]]) -> list[Resource[Telemetry]]:
    found = next(iter(resources), None)
    return [found] if found is not None else []


def _newer(newer: _T | None, older: _T | None) -> _T | None:
    return older if newer is None else newer


def plain_tag(name: str, tag: TracingTag | CustomTag) -> Tag | None:
    """An attribute as the settings of listeners say it; None: it has no value, or one of another kind."""
    if tag.literal is not None:
        return name, "literal", tag.literal.value, ""
    if tag.environment is not None:
        return name, "environment", tag.environment.name, tag.environment.default_value
    if tag.header is not None and tag.header.name:
        return name, "header", tag.header.name, tag.header.default_value
    return None


def _tags(
    written: Mapping[str, TracingTag], resource: Resource[Telemetry], index: int, report: Reporter
) -> Iterator[Tag]:
    for name, tag in written.items():
        plain = plain_tag(name, tag)
        if plain is not None:
            yield plain
        elif tag.formatter is not None:
            try:
                compile_format(tag.formatter.value)
            except ValueError as error:
                path = f"spec.tracing[{index}].customTags"
                report.say("error", "GWD0104", f'tag "{name}" is left out: {error}', resource, path)
            else:
                yield name, "format", tag.formatter.value, ""
