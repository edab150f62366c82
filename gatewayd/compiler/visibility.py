"""Who may see a resource: ``exportTo`` (semantics 1.10, 1.11)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

PRIVATE: Final = 0  # exported to its own namespace, which is the viewer's
EXPORTED: Final = 1  # exported to the viewer's namespace by name
PUBLIC: Final = 2  # exported to all

_ANNOTATION: Final = "networking.istio.io/exportTo"


def visibility(export_to: Sequence[str], owner: str, viewer: str) -> int | None:
    """How a resource of namespace ``owner`` is seen from namespace ``viewer``; None when it is not.

    ``*`` wins over everything else in the list; ``~`` without ``*`` hides the resource; an empty list
    is ``*`` (1.10). The numbers order VirtualServices at a gateway (1.11).
    """
    if not export_to or "*" in export_to:
        return PUBLIC
    if "~" in export_to:
        return None
    if owner == viewer and ("." in export_to or owner in export_to):
        return PRIVATE
    return EXPORTED if viewer in export_to else None


def export_annotation(annotations: Iterable[tuple[str, str]] | dict[str, str] | None) -> tuple[str, ...]:
    """``exportTo`` of a Service, from its annotation, a comma list (12.10)."""
    if not annotations:
        return ()
    value = dict(annotations).get(_ANNOTATION, "")
    return tuple(item.strip() for item in value.split(",") if item.strip())
