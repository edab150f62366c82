"""What is a secret in a request, and is shown to nobody."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gatewayd.http.message import Pair

REDACTED: Final = "[redacted]"
_NAMES: Final = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "cookie2", "set-cookie2"),
        *("www-authenticate", "proxy-authenticate", "authentication-info"),
    }
)
#: Our own pattern over names of fields and parameters.
_SUSPECT: Final = re.compile(
    r"(?i)token|secret|passw|passphrase|api[-_]?key|access[-_]?key|private|credential|signature|session|jwt|"
    r"^auth|^sig$|^code$|^key$"
)


def is_secret(name: str) -> bool:
    """Whether the value of a header or parameter of that name may be one."""
    return name.lower() in _NAMES or _SUSPECT.search(name) is not None


def shown_fields(pairs: Iterable[Pair]) -> list[list[str]]:
    """Header fields with secrets taken out."""
    shown = []
    for name, value in pairs:
        text = name.decode("latin-1")
        shown.append([text, REDACTED if is_secret(text) else value.decode("utf-8", "replace")])
    return shown


def shown_target(target: bytes) -> str:
    """A path with its query, secrets in parameters taken out."""
    text = target.decode("utf-8", "replace")
    path, mark, query = text.partition("?")
    if not mark:
        return text
    parts = []
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        parts.append(f"{name}={REDACTED}" if equals and is_secret(name) else part)
    return f"{path}?{'&'.join(parts)}"
