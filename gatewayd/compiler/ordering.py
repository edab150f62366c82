"""The age order that settles conflicts between resources (semantics 1.2, 1.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from gatewayd.resources.meta import ObjectMeta, Resource

_Spec = TypeVar("_Spec")


def age_key(metadata: ObjectMeta) -> tuple[str, str, str]:
    """Sort key, oldest first: time, then name, then namespace, bytewise; no time sorts first."""
    return (metadata.creation_timestamp, metadata.name, metadata.namespace)


def by_age(resources: Iterable[Resource[_Spec]]) -> list[Resource[_Spec]]:
    """The resources, oldest first. The order of files is never an input."""
    return sorted(resources, key=lambda resource: age_key(resource.metadata))
