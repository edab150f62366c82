"""A plain tree becomes a typed one: the fast way first, then, if that fails, every reason."""

from typing import Any

import msgspec

from gatewayd.resources.collect import Path, collect
from gatewayd.resources.faults import Fault
from gatewayd.resources.model import LENIENCIES, decode_hook


def decode(tree: Any, model: Any, path: Path = ()) -> tuple[Any, list[Fault]]:
    """Return `tree` as a `model` and what there is to say about it; None in its place when there is an error.

    `path` leads from the top of the document to `tree`. A field whose value is empty (null) counts as left
    out, as it does for Kubernetes.
    """
    before = LENIENCIES.count
    try:
        value = msgspec.convert(tree, model, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        faults = collect(tree, model, path)
        if any(fault.level == "error" for fault in faults):
            return None, faults
        try:
            return msgspec.convert(drop_nulls(tree), model, dec_hook=decode_hook), faults
        except msgspec.ValidationError:
            # The two readers of the model disagree: say what the stricter one says, at the top of the tree.
            return None, [*faults, Fault(path, str(error))]
    if LENIENCIES.count != before:
        return value, collect(tree, model, path)
    return value, []


def drop_nulls(tree: Any) -> Any:
    """Return the tree without the mapping entries that are empty."""
    if isinstance(tree, dict):
        return {key: drop_nulls(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [drop_nulls(value) for value in tree]
    return tree
