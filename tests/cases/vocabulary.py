"""Words of the golden format this runner knows: a word it does not know would otherwise go unheeded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.cases.loading import Call, Case
from tests.cases.tls_check import CLIENT_CERTIFICATE

CASE = {
    *("id", "rule", "config", "mesh_config", "proxy_config", "certs", "secrets", "upstreams", "calls"),
}
UPSTREAMS = {"name", "host", "port", "kind", "cert", "alpn", "client_ca"}
SECRET = {"namespace", "name", "type", "data"}
CALL_TLS = {"sni", "alpn", "min", "max", "ciphers", "client_cert", "trust"}
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
CLIENT_TLS = {"version", "cipher", "alpn", "server_cert"}
UPSTREAM_TLS = {"sni", "version", "alpn", *CLIENT_CERTIFICATE}


def unknown_words(cases: Iterable[Case]) -> list[str]:
    """Words of the cases that are neither played nor compared, each once, with a case that has it."""
    found: dict[str, str] = {}
    for case in cases:
        if case.format != "golden":
            continue
        found |= dict.fromkeys(_beyond("case", case.data, CASE), case.id)
        for upstream in case.data.get("upstreams") or []:
            found |= dict.fromkeys(_beyond("upstreams", upstream, UPSTREAMS), case.id)
        for secret in case.data.get("secrets") or []:
            found |= dict.fromkeys(_beyond("secrets", secret, SECRET), case.id)
        for call in case.calls:
            found |= dict.fromkeys(_of_call(call), case.id)
    return [f"{word} (in {case})" for word, case in sorted(found.items())]


def _of_call(call: Call) -> list[str]:
    expect = call.data.get("expect") or {}
    unknown = _beyond("call", call.data, CALL) + _beyond("call.tls", call.data.get("tls"), CALL_TLS)
    unknown += _beyond("expect", expect, EXPECT)
    client = expect.get("client")
    if isinstance(client, Mapping):
        unknown += _beyond("expect.client", client, CLIENT)
        unknown += _beyond("expect.client.tls", client.get("tls"), CLIENT_TLS)
    for entry in expect.get("upstream") or []:
        unknown += _beyond("expect.upstream", entry, UPSTREAM)
        unknown += _beyond("expect.upstream.tls", entry.get("tls"), UPSTREAM_TLS)
    return unknown


def _beyond(place: str, words: Mapping[str, Any] | None, known: set[str]) -> list[str]:
    return [f"{place}.{word}" for word in words or () if word not in known]
