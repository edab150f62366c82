"""YAML 1.2 core schema: what a plain scalar means.

Only these forms are special; everything else is text. So `no`, `on`, `12:30:45`, `1_000` and `2024-01-01` are
text, `012` is twelve and `0o14` too.
"""

import re
from typing import Any

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMBER_STARTS = frozenset("0123456789+-.")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
#: Python refuses to read whole numbers of thousands of digits; nothing we model needs more than 20.
_MAX_DIGITS = 64

_TAG = "tag:yaml.org,2002:"


class ScalarError(ValueError):
    """A scalar does not fit the tag written before it, or the tag has no meaning here."""


def resolve_plain(text: str) -> Any:
    """Return the value of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _NUMBER_STARTS else text


def resolve_tagged(tag: str, text: str) -> Any:
    """Return the value of a scalar with a tag: `!`, `!!str`, `!!int`, `!!float`, `!!bool` or `!!null`."""
    if tag in ("!", _TAG + "str"):
        return text
    value = resolve_plain(text)
    short = tag.removeprefix(_TAG)
    if tag.startswith(_TAG) and short in _TAGGED:
        if short == "float" and type(value) is int:
            return float(value)
        if type(value) in _TAGGED[short]:
            return value
        raise ScalarError(f'"{text[:40]}" is not what its tag !!{short} says')
    raise unknown_tag(tag)


def unknown_tag(tag: str) -> ScalarError:
    """Return the error for a tag that has no meaning here."""
    return ScalarError(f'unknown tag "{tag.replace(_TAG, "!!")[:60]}"')


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        return int(text) if len(text) <= _MAX_DIGITS else float(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _OCTAL.fullmatch(text) and len(text) <= _MAX_DIGITS:
        return int(text[2:], 8)
    if _HEX.fullmatch(text) and len(text) <= _MAX_DIGITS:
        return int(text[2:], 16)
    return text


_TAGGED: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "null": (type(None),),
}
