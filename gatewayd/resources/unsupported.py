"""Which fields of a resource are in use but have no effect, or none yet, by the table in `support.py`.

The table is compiled, once per kind, into a plan: for each struct, the fields to look at and the structs
worth descending into. A resource that uses nothing of the kind costs a few attribute reads per struct.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import NODEFAULT, Struct, inspect

from gatewayd.resources.faults import Fault
from gatewayd.resources.meta import PathItem
from gatewayd.resources.support import HONOURED, NOT_YET, WITHOUT_EFFECT

_CHOICE = re.compile(r"<([^<>]*)>")


class Entry(NamedTuple):
    """One expanded entry of the tables; `reason` is empty when it is honoured."""

    path: str
    reason: str
    key_prefix: str = ""  # of `{prefix*}`
    value: str = ""  # of `=VALUE`
    later: bool = True  # whether Istio honours it, so that it is missing here

    def fault(self, path: tuple[PathItem, ...], words: str, key: str | None = None) -> Fault:
        """What is said about the use of the field; `words` begin the sentence and end in `is` or `are`."""
        if self.later:
            message = f"{words} accepted, but not honoured yet: {self.reason}"
            return Fault(path, message, key=key, code="GWD0014", level="warning")
        return Fault(path, f"{words} without effect: {self.reason}", key=key, code="GWD0014", level="info")


class _Plan:
    """What to look at in a struct of one type at one place."""

    __slots__ = ("children", "defaults", "entries", "flags", "values")

    def __init__(self) -> None:
        self.flags: list[tuple[str, str, Any, Entry]] = []  # attribute, name, default, entry
        self.entries: list[tuple[str, str, Entry]] = []  # attribute, name, entry with a prefix or a value
        self.children: list[tuple[str, str, _Plan]] = []
        self.values: Any = None  # all attributes of `flags` at once, to compare with all defaults at once
        self.defaults: Any = None

    def seal(self) -> "_Plan":
        """Work out what makes the usual case, nothing used, one comparison."""
        if self.flags:
            self.values = attrgetter(*(attribute for attribute, *_ in self.flags))
            defaults = tuple(default for _, _, default, _ in self.flags)
            self.defaults = defaults if len(defaults) > 1 else defaults[0]
        return self


def expand(pattern: str) -> list[str]:
    """`a.<b|c>` -> `a.b`, `a.c`."""
    pieces = _CHOICE.split(pattern)
    choices = [piece.split("|") if index % 2 else [piece] for index, piece in enumerate(pieces)]
    return ["".join(parts) for parts in product(*choices)]


@lru_cache(maxsize=1)
def entries() -> dict[str, list[Entry]]:
    """Return the expanded tables by field path, an entry with a condition under the field's own path."""
    table: dict[str, list[Entry]] = {}
    said = [
        *((pattern, "", True) for pattern in HONOURED),
        *((pattern, reason, False) for pattern, reason in WITHOUT_EFFECT.items()),
        *((pattern, reason, True) for pattern, reason in NOT_YET.items()),
    ]
    for pattern, reason, later in said:
        for path in expand(pattern):
            entry = Entry(path, reason, later=later)
            if "=" in path:
                path, value = path.split("=")
                entry = Entry(path, reason, value=value, later=later)
            elif path.endswith("*}"):
                path, prefix = path.removesuffix("*}").split("{")
                entry = Entry(path, reason, key_prefix=prefix, later=later)
            table.setdefault(path, []).append(entry)
    return table


def field_paths(model: Any, top: str) -> Iterator[tuple[str, bool]]:
    """Yield the path of every field of `model` and whether it is a leaf (nothing below it has a name)."""
    for path, field, inner in _fields(model, top):
        yield path, inner is None
        if inner is not None:
            yield from field_paths(inner, path + _suffix(field.type))


def find_unsupported(spec: Any, top: str) -> list[Fault]:
    """Return a warning for each field in use that is not honoured yet, information for one without effect.

    Fields side by side that share a reason share a warning. `top` is `Kind.spec`, or `MeshConfig`.
    """
    whole = [entry for entry in entries().get(top, ()) if entry.reason]
    kind, _, first = top.partition(".")
    start: tuple[PathItem, ...] = (first,) if first else ()
    if whole:
        message = f"{kind} is accepted, but not honoured yet: {whole[0].reason}"
        return [Fault(("kind",), message, code="GWD0014", level="warning")]
    model: Any = type(spec)
    plan = _plan(model, top)
    if plan is None:
        return []
    out: list[Fault] = []
    _look(spec, plan, start, out)
    return out


def _look(value: Any, plan: _Plan, path: tuple[PathItem, ...], out: list[Fault]) -> None:
    if plan.values is not None and plan.values(value) != plan.defaults:
        _note_used(value, plan, path, out)
    for attribute, name, entry in plan.entries:
        found = getattr(value, attribute)
        if entry.value:
            if found == entry.value:
                out.append(entry.fault((*path, name), f'{name} "{entry.value}" is'))
        elif found:
            for key in found:
                if key.startswith(entry.key_prefix):
                    out.append(entry.fault((*path, name), f'"{key}" is', key))
    for attribute, name, child in plan.children:
        found = getattr(value, attribute)
        if not found:
            continue
        if isinstance(found, tuple):
            for index, item in enumerate(found):
                _look(item, child, (*path, name, index), out)
        elif isinstance(found, dict):
            for key, item in found.items():
                _look(item, child, (*path, name, key), out)
        else:
            _look(found, child, (*path, name), out)


def _note_used(value: Any, plan: _Plan, path: tuple[PathItem, ...], out: list[Fault]) -> None:
    used: dict[str, tuple[Entry, list[str]]] = {}
    for attribute, name, default, entry in plan.flags:
        if getattr(value, attribute) != default:
            used.setdefault(entry.reason, (entry, []))[1].append(name)
    for entry, names in used.values():
        verb = "is" if len(names) == 1 else "are"
        quoted = ", ".join(f'"{name}"' for name in names)
        out.append(entry.fault(path, f"{quoted} {verb}", names[0]))


@lru_cache(maxsize=64)
def _plan(model: Any, top: str) -> _Plan | None:
    """Return what to look at in a `model` that stands at `top`; None if there is nothing."""
    plan = _Plan()
    for path, field, inner in _fields(model, top):
        found = entries().get(path, [])
        general = [entry for entry in found if not entry.value and not entry.key_prefix]
        for entry in found:
            if entry.value or entry.key_prefix:
                plan.entries.append((field.name, field.encode_name, entry))
            elif entry.reason:
                default = field.default if field.default is not NODEFAULT else None
                plan.flags.append((field.name, field.encode_name, default, entry))
        if not general and inner is not None:
            child = _plan(inner, path + _suffix(field.type))
            if child is not None:
                plan.children.append((field.name, field.encode_name, child))
    return plan.seal() if plan.flags or plan.entries or plan.children else None


def _fields(model: Any, top: str) -> Iterator[tuple[str, inspect.Field, Any]]:
    """Yield path, field and the struct inside it, if there is one, of each field of `model`."""
    kind = inspect.type_info(model)
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield f"{top}.{field.encode_name}", field, _inner(field.type)


def _inner(kind: inspect.Type) -> type[Struct] | None:
    if isinstance(kind, inspect.StructType):
        return kind.cls
    if isinstance(kind, inspect.UnionType):
        return next((inner for option in kind.types if (inner := _inner(option)) is not None), None)
    if isinstance(kind, inspect.VarTupleType):
        return _inner(kind.item_type)
    if isinstance(kind, inspect.DictType):
        return _inner(kind.value_type)
    return None


def _suffix(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.UnionType):
        return next((suffix for option in kind.types if (suffix := _suffix(option))), "")
    if isinstance(kind, inspect.VarTupleType):
        return "[]"
    return "{}" if isinstance(kind, inspect.DictType) else ""
