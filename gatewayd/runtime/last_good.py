"""The last good version of what has an error now: it stays in force, and nothing else does.

A resource that was good and has an error keeps its former version until it is mended or deleted. Of a file that
cannot be read or parsed nobody knows what it declares, so all it declared before stays; the same of one that has become
empty, as files are for a moment while they are written. What was deleted goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.findings import Finding
from gatewayd.resources.meta import Resource
from gatewayd.sources import Key, LoadResult, key_of

Good = Mapping[Key, Resource[Any]]


_EMPTIED: Final = "the file is empty now; delete it if that shall go"


@dataclass(frozen=True, slots=True)
class Kept:
    """A resource that stays in force in its last good version, and the error that is why."""

    resource: Resource[Any]
    reason: Finding | None = None

    def __str__(self) -> str:
        resource, reason = self.resource, self.reason
        because = f", because of {reason.place}: {reason.message}" if reason is not None else ""
        return f"{resource.kind} {resource.full_name} stays as it was{because}"


def keep_last_good(before: Good, loaded: LoadResult) -> list[Kept]:
    """Which resources of ``before`` stay because their new version could not be loaded."""
    if not before or not (loaded.unreadable or loaded.set_aside or loaded.empty_names):
        return []
    present = loaded.declared
    errors = [finding for finding in loaded.findings if finding.level == "error"]
    kept: list[Kept] = []
    for key in dict.fromkeys((each.kind, each.namespace, each.name) for each in loaded.set_aside):
        if key in before and key not in present:
            kept.append(Kept(before[key], reason_for(key, errors)))
    # Documents of which not even the name is known: any of the file's may be meant.
    unclear = {each.file for each in loaded.set_aside if not each.kind or not each.name}
    unclear.update(loaded.unreadable_names)
    unclear.update(loaded.empty_names)
    errors += [
        Finding(code="GWD0001", level="error", message=_EMPTIED, file=name) for name in loaded.empty_names
    ]
    if unclear:
        known = {key_of(each.resource) for each in kept}
        for key, resource in before.items():
            if key not in present and key not in known:
                place = next((name for name in unclear if _is_in(resource.file, name)), None)
                if place is not None:
                    reason = next((each for each in errors if each.file == place), None)
                    kept.append(Kept(resource, reason))
    return kept


def reason_for(key: Key, errors: Iterable[Finding]) -> Finding | None:
    """The first error about the resource of that ``key``."""
    return next((each for each in errors if (each.kind, each.namespace, each.name) == key), None)


def _is_in(file: str, name: str) -> bool:
    """Whether ``file`` is ``name``, or is below it when that is a folder."""
    return file == name or file.startswith(name.rstrip("/") + "/")
