"""Small messages that others are made of."""

from __future__ import annotations

from typing import Any, Final

TYPE: Final = "type.googleapis.com/"
_EXTENSIONS: Final = TYPE + "envoy.extensions."

Message = dict[str, Any]


def typed(name: str, kind: str, **fields: Any) -> Message:
    """An extension ``name`` with its configuration; ``kind`` is the type below ``envoy.extensions``."""
    return {"name": name, "typed_config": {"@type": _EXTENSIONS + kind, **fields}}


def any_of(kind: str, **fields: Any) -> Message:
    """The configuration alone."""
    return {"@type": _EXTENSIONS + kind, **fields}


def duration(seconds: float) -> str:
    """``1.5s``; what is shorter than a nanosecond is nothing."""
    text = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{text or '0'}s"


def address(host: str, port: int) -> Message:
    """A socket address, or a pipe for ``unix:/path`` (``@`` stays: an abstract one)."""
    if host.startswith("unix:"):
        return {"pipe": {"path": host.removeprefix("unix:")}}
    return {"socket_address": {"address": host, "port_value": port}}


def text(value: bytes) -> str:
    """Bytes of a configuration, which are UTF-8, or of a client, which may be anything."""
    return value.decode("utf-8", "replace")


def string_match(kind: str, value: str) -> Message:
    """A StringMatcher of ``exact``, ``prefix`` or ``regex``."""
    return {"safe_regex": {"regex": value}} if kind == "regex" else {kind: value}


def millionths(share: int) -> Message:
    """A FractionalPercent."""
    return {"numerator": share, "denominator": "MILLION"}
