"""Plain scalars follow the core schema of YAML 1.2."""

import math
from typing import Any

import pytest

from gatewayd.sources.scalars import ScalarError, resolve_plain, resolve_tagged

TAG = "tag:yaml.org,2002:"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-17", -17),
        ("+4", 4),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_special_forms(text: str, value: Any) -> None:
    resolved = resolve_plain(text)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "yes",
        "on",
        "off",
        "y",
        "N",
        "nULL",
        "tRue",
        "12:30:45",
        "1_000",
        "2024-01-01",
        "2024-01-01T10:00:00Z",
        "0b101",
        "0o18",
        "0xG",
        "1.2.3",
        "10.0.0.1",
        "e3",
        "-",
        ".",
        "+",
        "..",
        "1e",
        "<<",
        "=",
        "١٢",
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert resolve_plain(text) == text
    assert isinstance(resolve_plain(text), str)


def test_not_a_number_is_read() -> None:
    assert math.isnan(resolve_plain(".nan"))


def test_thousands_of_digits_do_not_raise() -> None:
    assert resolve_plain("9" * 5000) == math.inf
    assert isinstance(resolve_plain("0x" + "f" * 5000), str)


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("!", "12", "12"),
        (TAG + "str", "true", "true"),
        (TAG + "int", "12", 12),
        (TAG + "float", "12", 12.0),
        (TAG + "bool", "false", False),
        (TAG + "null", "", None),
    ],
)
def test_tags_of_the_core_schema(tag: str, text: str, value: Any) -> None:
    resolved = resolve_tagged(tag, text)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (TAG + "int", "x"),
        (TAG + "bool", "1"),
        (TAG + "binary", "AAAA"),
        (TAG + "python/object/apply:os.system", "true"),
        ("!local", "x"),
    ],
)
def test_other_tags_are_refused(tag: str, text: str) -> None:
    with pytest.raises(ScalarError):
        resolve_tagged(tag, text)
