"""What else is wrong with a document that does not fit its model: all problems at once, of whatever kind."""

from typing import Any

import msgspec

from gatewayd.resources.collect import Path
from gatewayd.resources.decode import drop_nulls
from gatewayd.resources.faults import Fault
from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.model import decode_hook
from gatewayd.resources.validate import validate


def check_rest(tree: Any, model: Any, path: Path, faults: list[Fault], metadata: ObjectMeta) -> list[Fault]:
    """Errors that the checks find in `tree` without what `faults` are about; `path` leads to it.

    Left out is what they say of values that something was taken out of, or of their neighbours in a list: it may
    come of that alone.
    """
    rest = drop_nulls(tree)  # a copy
    gone = [_take_out(rest, fault, path) for fault in faults if fault.level == "error"]
    if () in gone:
        return []
    try:
        value = msgspec.convert(rest, model, dec_hook=decode_hook)
    except msgspec.ValidationError:
        return []
    shapes = [_shape(each) for each in gone]
    return [
        fault
        for fault in validate(value, metadata)
        if fault.level == "error" and not any(_begins(each, _shape(fault.path)) for each in shapes)
    ]


def _take_out(tree: Any, fault: Fault, path: Path) -> Path:
    """Take out what `fault` is about, where it stands in a list all of the list; where that was, () if it is all."""
    where = fault.path if fault.key is None else (*fault.path, fault.key)
    while len(where) > len(path) and isinstance(where[-1], int):
        where = where[:-1]
    if len(where) <= len(path):
        return ()
    holder = tree
    for item in where[len(path) : -1]:
        try:
            holder = holder[item]
        except (KeyError, IndexError, TypeError):
            return where  # gone with something else
    if isinstance(holder, dict):
        holder.pop(where[-1], None)
    return where


def _shape(path: Path) -> Path:
    """A path without its indexes."""
    return tuple(-1 if isinstance(item, int) else item for item in path)


def _begins(path: Path, beginning: Path) -> bool:
    return path[: len(beginning)] == beginning
