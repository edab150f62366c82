"""Where something is, as labels say it: ``region/zone/subzone``, later parts may be missing (semantics 9.14)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Region, zone and subzone, each in a label of its own.
TOPOLOGY: Final = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)
#: One label for all three, with dots where slashes cannot stand.
_LOCALITY: Final = "istio-locality"

Parts = tuple[str, str, str]


def parts_of(locality: str) -> Parts:
    """Region, zone and subzone."""
    region, _, rest = locality.partition("/")
    zone, _, subzone = rest.partition("/")
    return region, zone, subzone


def locality_of(labels: Mapping[str, str]) -> str:
    """The locality that labels tell: ``istio-locality``, else those of the topology; "" when none does."""
    if not labels:
        return ""
    whole = labels.get(_LOCALITY, "")
    if whole:
        return whole if "/" in whole else whole.replace(".", "/")
    return "/".join(labels.get(part, "") for part in TOPOLOGY).rstrip("/")
