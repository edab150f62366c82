"""What an endpoint says of its load in an answer: ORCA reports, in the forms Envoy reads (semantics 9.19)."""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any, Final

import msgspec

from gatewayd.http.message import Pair

#: Metric -> value. Those of the three maps are named ``named_metrics.NAME`` and so on.
Report = dict[str, float]

_BINARY: Final = b"endpoint-load-metrics-bin"
_FIELD: Final = b"endpoint-load-metrics"

#: Fields of OrcaLoadReport, xds/data/orca/v3, by number.
_NUMBERS: Final = {
    1: "cpu_utilization",
    2: "mem_utilization",
    6: "rps_fractional",
    7: "eps",
    9: "application_utilization",
}
_MAPS: Final = {4: "request_cost", 5: "utilization", 8: "named_metrics"}
#: A number of an older form that nobody reads.
_OLD_RATE: Final = "rps"
_SCALARS: Final = frozenset(_NUMBERS.values())


class ReportError(Exception):
    """It cannot be read; the words say why."""


def said(pairs: Iterable[Pair]) -> bytes | None:
    """The report among the fields of an answer, in the form of ``endpoint-load-metrics``; None: there is none."""
    written: bytes | None = None
    for name, value in pairs:
        if name == _BINARY:
            return b"BIN " + value
        if name == _FIELD and written is None:
            written = value
    return written


def read(written: bytes) -> Report:
    """The report of a field. Raises ReportError."""
    form, _, rest = written.partition(b" ")
    reader = _FORMS.get(form)
    if reader is None:
        raise ReportError("it begins with none of BIN, TEXT and JSON")
    return reader(rest)


# --- TEXT


def _text(written: bytes) -> Report:
    report: Report = {}
    for part in written.decode("latin-1").split(","):
        item = part.strip(" \t")
        if not item:
            continue
        name, _, digits = item.partition(":")
        if name in report:
            raise ReportError(f"{name} occurs twice")
        family, _, key = name.partition(".")
        if name not in _SCALARS and not (family == "named_metrics" and key):
            raise ReportError(f"there is no metric {name}")
        value = _number(digits)
        if not isfinite(value) or value < 0:
            raise ReportError(f"{name} is {digits}")
        report[name] = value
    return report


def _number(digits: str) -> float:
    try:
        if "_" not in digits:
            return float(digits)
    except ValueError:
        pass
    raise ReportError(f"{digits} is no number")


# --- JSON, as protobuf writes it


def _json(written: bytes) -> Report:
    try:
        document = msgspec.json.decode(written)
    except msgspec.DecodeError as error:
        raise ReportError(str(error)) from None
    if not isinstance(document, dict):
        raise ReportError("it is no object")
    report: Report = {}
    for key, value in document.items():
        name = _NAMES.get(key)
        if name is None:
            raise ReportError(f"there is no field {key}")
        if value is None:
            continue
        if name in _SCALARS:
            report[name] = _json_number(value)
        elif name != _OLD_RATE:
            if not isinstance(value, dict):
                raise ReportError(f"{key} is no object")
            for metric, number in value.items():
                report[f"{name}.{metric}"] = _json_number(number)
    return report


def _json_number(value: Any) -> float:
    if isinstance(value, str):
        return _number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ReportError(f"{value} is no number")


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


#: Both spellings that protobuf has of a field -> its name.
_NAMES: Final = {
    spelling: name for name in (*_SCALARS, *_MAPS.values(), _OLD_RATE) for spelling in (name, _camel(name))
}


# --- BIN, protobuf in base64


def _binary(written: bytes) -> Report:
    try:
        # A missing end is no matter, foreign characters are.
        message = b64decode(written + b"=" * (-len(written) % 4), validate=True)
    except binascii.Error as error:
        raise ReportError(str(error)) from None
    if not message:
        raise ReportError("it is empty")
    report: Report = {}
    for number, value in _fields(message):
        if (family := _MAPS.get(number)) and isinstance(value, bytes):
            entry = dict(_fields(value))
            key, amount = entry.get(1, b""), entry.get(2, 0.0)
            if not isinstance(key, bytes) or not isinstance(amount, float):
                raise ReportError("a map is none")
            report[f"{family}.{key.decode('latin-1')}"] = amount
        elif (name := _NUMBERS.get(number)) and isinstance(value, float):
            report[name] = value
    return report


def _fields(message: bytes) -> Iterator[tuple[int, float | bytes | None]]:
    """Number and value of each field: a double, bytes, or None for what is neither."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        value: float | bytes | None = None
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 1:
            at += 8
            if at <= end:
                (value,) = struct.unpack_from("<d", message, at - 8)
        elif kind == 2:
            size, start = _varint(message, at)
            at = start + size
            value = message[start:at]
        elif kind == 5:
            at += 4
        else:
            raise ReportError("it is no protobuf message")
        if at > end or not tag >> 3:
            raise ReportError("it is no protobuf message")
        yield tag >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ReportError("it is no protobuf message")


_FORMS: Final = {b"BIN": _binary, b"TEXT": _text, b"JSON": _json}
