"""Words of the golden format this runner knows: a word it does not know would otherwise go unheeded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.cases.loading import Case

CALL = {
    *(
        "id",
        "port",
        "protocol",
        "tls",
        "request",
        "requests",
        "raw",
        "pieces",
        "data",
        "half_close",
        "wait_first",
    ),
    *("tunnel", "responses", "repeat", "parallel", "gap_ms", "keep_cookies", "timeout", "idle", "pause_ms"),
    *("behaviour", "timing", "conns", "body_size", "header_size", "header_count", "expect"),
}
EXPECT = {
    *("client", "upstream", "log", "distribution", "elapsed_ms", "sequence", "flags", "upstream_connections"),
    "set_cookie",
}
CLIENT = {
    *("outcome", "status", "version", "headers", "body", "trailers", "interim", "after", "truncated", "tls"),
    *("tls_error", "extra_bytes", "data", "tunnel", "tunnel_data", "responses", "h2_error"),
}
UPSTREAM = {
    *(
        "upstream",
        "protocol",
        "method",
        "path",
        "version",
        "authority",
        "scheme",
        "headers",
        "chunked",
        "body",
    ),
    *("trailers", "truncated", "tls", "data", "tunnel"),
}


def unknown_words(cases: Iterable[Case]) -> list[str]:
    """Words of the cases that are neither played nor compared, each once, with a case that has it."""
    found: dict[str, str] = {}
    for case in cases:
        for call in case.calls if case.format == "golden" else ():
            expect = call.data.get("expect") or {}
            found |= dict.fromkeys(_beyond("call", call.data, CALL), case.id)
            found |= dict.fromkeys(_beyond("expect", expect, EXPECT), case.id)
            if isinstance(expect.get("client"), Mapping):
                found |= dict.fromkeys(_beyond("expect.client", expect["client"], CLIENT), case.id)
            for entry in expect.get("upstream") or []:
                found |= dict.fromkeys(_beyond("expect.upstream", entry, UPSTREAM), case.id)
    return [f"{word} (in {case})" for word, case in sorted(found.items())]


def _beyond(place: str, words: Mapping[str, Any], known: set[str]) -> list[str]:
    return [f"{place}.{word}" for word in words if word not in known]
