"""CORS: what browsers are told about other origins (semantics 6.10). Pure; nothing here ever blocks a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gatewayd.http.message import Fields, Pair

_ORIGIN: Final = b"origin"
_REQUEST_METHOD: Final = b"access-control-request-method"
_REQUEST_HEADERS: Final = b"access-control-request-headers"
_ALLOW_ORIGIN: Final = b"access-control-allow-origin"
_ALLOW_CREDENTIALS: Final = b"access-control-allow-credentials"
_EXPOSE_HEADERS: Final = b"access-control-expose-headers"


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """``corsPolicy`` of a rule; lists are joined already, empty ones give no field (6.10.4)."""

    #: whether an Origin is allowed (6.10.2)
    allows: Callable[[bytes], bool]
    methods: bytes = b""
    headers: bytes = b""
    expose: bytes = b""
    max_age: bytes = b""  # whole seconds, b"" = not set
    credentials: bool = False
    #: preflights of foreign origins go upstream untouched (6.10.5)
    forward_unmatched: bool = True
    #: what ``allows`` was made of: (exact, prefix or regex; text)
    origins: tuple[tuple[str, str], ...] = ()

    def preflight(self, method: bytes, fields: Fields) -> list[Pair] | None:
        """The fields of the answer to a preflight; None when the request is none, or goes upstream."""
        origin = _origin(fields)
        if method != b"OPTIONS" or not origin:
            return None
        asked = fields.get(_REQUEST_METHOD)
        if not asked:
            return None
        allowed = self.allows(origin)
        if not allowed and self.forward_unmatched:
            return None
        out: list[Pair] = []
        if allowed:
            out.append((_ALLOW_ORIGIN, origin))
            if self.credentials:
                out.append((_ALLOW_CREDENTIALS, b"true"))
        methods = asked if self.methods == b"*" else self.methods
        if methods:
            out.append((b"access-control-allow-methods", methods))
        headers = self.headers
        if headers:
            # A lone star echoes what was asked for, also when that is nothing: then the field is empty.
            echoed = fields.get(_REQUEST_HEADERS) or b""
            out.append((b"access-control-allow-headers", echoed if headers == b"*" else headers))
        if self.max_age:
            out.append((b"access-control-max-age", self.max_age))
        if self.expose:
            out.append((_EXPOSE_HEADERS, self.expose))
        return out

    def answer(self, fields: Fields) -> list[Pair]:
        """What answers to a request with ``fields`` get; empty for a foreign origin or none (6.10.6)."""
        origin = _origin(fields)
        if not origin or not self.allows(origin):
            return []
        out: list[Pair] = [(_ALLOW_ORIGIN, origin)]
        if self.credentials:
            out.append((_ALLOW_CREDENTIALS, b"true"))
        if self.expose:
            out.append((_EXPOSE_HEADERS, self.expose))
        return out


def apply_answer(pairs: Sequence[Pair], added: Sequence[Pair]) -> list[Pair]:
    """``pairs`` with ``added`` in place of the same fields of the upstream (6.10.6)."""
    names = {name for name, _ in added}
    return [pair for pair in pairs if pair[0] not in names] + list(added)


def _origin(fields: Fields) -> bytes:
    """The Origin; several lines are one value, which then matches nothing exact (6.10.6)."""
    values = fields.values(_ORIGIN)
    return values[0] if len(values) == 1 else b",".join(values)
