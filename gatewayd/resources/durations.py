"""Durations as Istio writes them: Go's `1h`, `1m30s`, `1.5s`, `100ms`; as seconds here."""

import re
from functools import lru_cache

_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(r"[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
#: What a message says a duration looks like.
EXPECTED = "expected a number with a unit, such as 3s, 500ms or 1m30s"
_MAX_S = 315_576_000_000.0  # ten thousand years: the limit of a protobuf Duration


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> float:
    """Return `text` in seconds; ValueError says what a duration looks like."""
    if len(text) > 64 or _WHOLE.fullmatch(text) is None:
        raise ValueError(f'"{text[:64]}" is not a duration: {EXPECTED}')
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))
    if seconds > _MAX_S:
        raise ValueError(f'"{text}" is longer than ten thousand years')
    return -seconds if text[0] == "-" else seconds
