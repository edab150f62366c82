"""Find every problem of a tree that does not fit its model.

`msgspec.convert` is fast and stops at the first problem; this walk reads the same model definition through
`msgspec.inspect` and goes on. It runs only for documents that have a problem.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from gatewayd.resources.faults import Fault, describe, nearest_word, unknown_word
from gatewayd.resources.meta import PathItem
from gatewayd.resources.model import Seconds, decode_hook

Path = tuple[PathItem, ...]

#: A document with more problems than this is not read to the end; nobody reads that many either.
MAX_FAULTS = 200


@lru_cache(maxsize=64)
def _type_of(model: Any) -> inspect.Type:
    return inspect.type_info(model)


def collect(tree: Any, model: Any, path: Path) -> list[Fault]:
    """Return what is wrong with `tree` as a `model`, in the order it is written; `path` leads to it."""
    out: list[Fault] = []
    _walk(tree, _type_of(model), path, out)
    return out


def unknown_fields(tree: Any, model: Any, path: Path = ()) -> list[tuple[Path, str, str]]:
    """Return the fields `model` does not know, also in its lists: path of the mapping, key, and what to say of it."""
    return list(_unknown(tree, _type_of(model), path))


def _unknown(value: Any, kind: inspect.Type, path: Path) -> Iterator[tuple[Path, str, str]]:
    if isinstance(kind, inspect.UnionType):
        for option in kind.types:
            yield from _unknown(value, option, path)
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        for index, child in enumerate(value):
            yield from _unknown(child, kind.item_type, (*path, index))
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        for key, child in value.items():
            yield from _unknown(child, kind.value_type, (*path, key))
    if not isinstance(kind, inspect.StructType) or not isinstance(value, dict):
        return
    fields = {field.encode_name: field.type for field in kind.fields}
    for key, child in value.items():
        if key in fields:
            yield from _unknown(child, fields[key], (*path, key))
        else:
            nearest = nearest_word(str(key), list(fields))
            guess = f'did you mean "{nearest}"? ' if nearest else ""
            yield path, key, f"{guess}supported here: {', '.join(sorted(fields))}"


def _walk(value: Any, kind: inspect.Type, path: Path, out: list[Fault]) -> None:
    if len(out) >= MAX_FAULTS:
        return
    check = _CHECKS.get(type(kind))
    if check is not None:
        check(value, kind, path, out)


def _struct(value: Any, kind: inspect.StructType, path: Path, out: list[Fault]) -> None:
    names = {field.encode_name: field for field in kind.fields}
    if not isinstance(value, dict):
        known = ", ".join(sorted(names))
        _wrong(value, "a mapping", path, out, f"expected one of: {known}" if known else "")
        return
    for key, child in value.items():
        field = names.get(key)
        if field is not None:
            if child is not None:
                _walk(child, field.type, (*path, key), out)
        elif kind.forbid_unknown_fields:
            message, help_text = unknown_word("field", str(key), sorted(names))
            out.append(Fault(path, message, help_text, key=key))
    for field in kind.fields:
        if field.required and value.get(field.encode_name) is None:
            required = ", ".join(other.encode_name for other in kind.fields if other.required)
            message = f'missing required field "{field.encode_name}"'
            out.append(Fault(path, message, f"required here: {required}"))


def _mapping(value: Any, kind: inspect.DictType, path: Path, out: list[Fault]) -> None:
    if not isinstance(value, dict):
        _wrong(value, "a mapping", path, out)
        return
    _length(len(value), "entries", kind, path, out)
    for key, child in value.items():
        if child is not None:
            _walk(child, kind.value_type, (*path, key), out)


def _list(value: Any, kind: Any, path: Path, out: list[Fault]) -> None:
    if not isinstance(value, list):
        help_text = (
            "write each item on a line of its own after a dash"
            if not isinstance(value, dict)
            else ("put a dash before its first field")
        )
        _wrong(value, "a list", path, out, help_text)
        return
    _length(len(value), "items", kind, path, out)
    for index, child in enumerate(value):
        _walk(child, kind.item_type, (*path, index), out)


def _text(value: Any, kind: inspect.StrType, path: Path, out: list[Fault]) -> None:
    if not isinstance(value, str):
        simple = isinstance(value, (bool, int, float))
        _wrong(value, "text", path, out, "put it in quotes" if simple else "")
        return
    _length(len(value), "characters", kind, path, out)
    if kind.pattern is not None and re.search(kind.pattern, value) is None:
        message = f'"{value[:60]}" is not allowed as {_label(path)}'
        out.append(Fault(path, message, f"expected to match {kind.pattern}"))


def _integer(value: Any, kind: inspect.IntType, path: Path, out: list[Fault]) -> None:
    whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, int) or whole):
        help_text = (
            "write it without quotes"
            if isinstance(value, str) and value.isascii() and value.isdigit()
            else ""
        )
        _wrong(value, "a whole number", path, out, help_text)
        return
    _range(value, kind, path, out)


def _float(value: Any, kind: inspect.FloatType, path: Path, out: list[Fault]) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _wrong(value, "a number", path, out)
        return
    _range(value, kind, path, out)


def _bool(value: Any, kind: inspect.BoolType, path: Path, out: list[Fault]) -> None:
    if not isinstance(value, bool):
        _wrong(value, "true or false", path, out)


def _bytes(value: Any, kind: inspect.BytesType, path: Path, out: list[Fault]) -> None:
    if not isinstance(value, str):
        _wrong(value, "base64 text", path, out)
        return
    try:
        msgspec.convert(value, bytes)
    except msgspec.ValidationError:
        out.append(Fault(path, f"{_label(path)} is not valid base64"))


def _literal(value: Any, kind: inspect.LiteralType, path: Path, out: list[Fault]) -> None:
    choices = [str(choice) for choice in kind.values]
    if not isinstance(value, str):
        _wrong(value, "text", path, out, f"expected one of: {', '.join(choices)}")
    elif value not in kind.values:
        out.append(Fault(path, *unknown_word("value", value, choices)))


def _custom(value: Any, kind: inspect.CustomType, path: Path, out: list[Fault]) -> None:
    try:
        decode_hook(kind.cls, value)
    except ValueError as error:
        message, _, help_text = str(error).partition(": ")
        out.append(Fault(path, message, help_text))
        return
    if kind.cls is Seconds and not isinstance(value, str):
        message = f"{_label(path)} has no unit: {value} is read as {value} seconds"
        out.append(Fault(path, message, f"write {value}s", code="GWD0015", level="warning"))


def _union(value: Any, kind: inspect.UnionType, path: Path, out: list[Fault]) -> None:
    options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
    if len(options) == 1:
        _walk(value, options[0], path, out)
    elif isinstance(value, bool) or not isinstance(value, (int, str)):  # the only other union: int | str
        _wrong(value, "a number or a name", path, out)


def _range(value: float, kind: Any, path: Path, out: list[Fault]) -> None:
    if (kind.ge is None or value >= kind.ge) and (kind.le is None or value <= kind.le):
        return
    if kind.ge is not None and kind.le is not None:
        expected = f"from {kind.ge} to {kind.le}"
    else:
        expected = f"{kind.ge} or more" if kind.ge is not None else f"{kind.le} or less"
    out.append(Fault(path, f"{_label(path)} must be {expected}, not {value}"))


def _length(length: int, noun: str, kind: Any, path: Path, out: list[Fault]) -> None:
    if kind.min_length is not None and length < kind.min_length:
        out.append(Fault(path, f"{_label(path)} must have at least {kind.min_length} {noun}"))
    elif kind.max_length is not None and length > kind.max_length:
        out.append(Fault(path, f"{_label(path)} must have at most {kind.max_length} {noun}, not {length}"))


def _wrong(value: Any, expected: str, path: Path, out: list[Fault], help_text: str = "") -> None:
    out.append(Fault(path, f"{_label(path)} must be {expected}, not {describe(value)}", help_text))


def _label(path: Path) -> str:
    """Return the last name of a path, with the indexes after it: `"hosts[0]"`."""
    end = len(path)
    while end > 1 and isinstance(path[end - 1], int):
        end -= 1
    name = str(path[end - 1]) if end else ""
    return f'"{name}{"".join(f"[{index}]" for index in path[end:])}"'


_CHECKS: dict[type[inspect.Type], Any] = {
    inspect.StructType: _struct,
    inspect.DictType: _mapping,
    inspect.VarTupleType: _list,
    inspect.StrType: _text,
    inspect.IntType: _integer,
    inspect.FloatType: _float,
    inspect.BoolType: _bool,
    inspect.BytesType: _bytes,
    inspect.LiteralType: _literal,
    inspect.CustomType: _custom,
    inspect.UnionType: _union,
}
