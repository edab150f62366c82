"""Are two values alike? Expectations may hold placeholders for what differs from run to run."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

PLACEHOLDERS = {
    "<date>": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
    "<uuid>": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "<ms>": r"\d+",
    "<sha256>": r"[0-9a-f]{64}",
    "<urlencoded pem>": r"-----BEGIN%20CERTIFICATE-----[A-Za-z0-9%+/=._-]+",
    "<16 hex>": r"[0-9a-f]{16}",
    "<client port>": r"\d{1,5}",
}
# Left out by an implementation without tracing (golden README).
IGNORED_HEADERS = frozenset({"x-envoy-decorator-operation"})
_SPLIT = re.compile("(" + "|".join(map(re.escape, PLACEHOLDERS)) + ")")


@functools.lru_cache(maxsize=4096)
def _compiled(expected: str) -> re.Pattern[str]:
    return re.compile(
        "".join(PLACEHOLDERS.get(part) or re.escape(part) for part in _SPLIT.split(expected)), re.S
    )


def text_alike(expected: str, came: str) -> bool:
    """Equal, with placeholders of ``expected`` standing for what they say."""
    if expected == came:
        return True
    return "<" in expected and _compiled(expected).fullmatch(came) is not None


def body_alike(expected: Any, came: bytes) -> bool:
    """A body: text, ``{base64}``, or ``{sha256, len}``."""
    if isinstance(expected, Mapping):
        if "base64" in expected:
            return base64.b64decode(expected["base64"]) == came
        wanted = (int(expected["len"]), str(expected["sha256"]))
        return wanted == (len(came), hashlib.sha256(came).hexdigest())
    text = "" if expected is None else str(expected)
    return text_alike(text, came.decode("latin-1")) or text_alike(text, came.decode("utf-8", "replace"))


def show_body(body: bytes) -> str:
    """A body for a message, cut short."""
    text = repr(body.decode("latin-1"))
    return text if len(text) <= 200 else f"{text[:160]}... ({len(body)} bytes)"


def _by_name(headers: Sequence[Sequence[str]], ignored: frozenset[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in headers:
        if str(name).lower() not in ignored:
            grouped.setdefault(str(name), []).append(str(value))
    return grouped


def header_differences(
    expected: Sequence[Sequence[str]],
    came: Sequence[Sequence[str]],
    *,
    slack: Mapping[str, float] | None = None,
    ignored: frozenset[str] = IGNORED_HEADERS,
) -> list[str]:
    """What differs between two header lists; names as on the wire, order only among equal names.

    slack: header name -> how far its number may be off.
    """
    wanted, got = _by_name(expected, ignored), _by_name(came, ignored)
    differences = []
    for name in wanted.keys() | got.keys():
        mine, theirs = wanted.get(name, []), got.get(name, [])
        far = (slack or {}).get(name)
        if len(mine) == len(theirs) and all(map(functools.partial(_value_alike, far), mine, theirs)):
            continue
        if not theirs:
            differences.append(f"header {name}: expected {_values(mine)}, absent")
        elif not mine:
            differences.append(f"header {name}: expected none, came {_values(theirs)}")
        else:
            differences.append(f"header {name}: expected {_values(mine)}, came {_values(theirs)}")
    return sorted(differences)


def _value_alike(slack: float | None, expected: str, came: str) -> bool:
    if text_alike(expected, came):
        return True
    return slack is not None and came.isdigit() and abs(int(came) - int(expected)) <= slack


def _values(values: Sequence[str]) -> str:
    shown = [value if len(value) <= 120 else f"{value[:80]}... ({len(value)} characters)" for value in values]
    return repr(shown[0]) if len(shown) == 1 else repr(shown)
