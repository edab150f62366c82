"""Plain twins of the routing package: semantics sections 4 and 5 read aloud, top to bottom, no tricks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gatewayd.http.message import RequestHead

#: (field of match, header or parameter name, kind, value), as for MATCHERS
Spec = tuple[str, str, str, str]


def compare(kind: str, wanted: str, value: bytes) -> bool:
    """One comparison; tests use only patterns that mean the same to ``re`` and RE2."""
    text = value.decode("latin-1")
    if kind == "exact":
        return text == wanted
    if kind == "prefix":
        return text[: len(wanted)] == wanted
    if kind == "regex":
        return re.fullmatch(wanted, text) is not None
    assert kind == "segment_prefix"
    below = wanted.rstrip("/")
    return text == below or text.startswith(below + "/")


def header_lines(request: RequestHead, name: str) -> list[bytes]:
    pseudo = {
        ":method": request.method,
        ":scheme": request.scheme,
        ":authority": request.authority,
        ":path": request.target,
    }
    if name in pseudo:
        return [pseudo[name]]
    return [value for key, value in request.fields.pairs if key == name.lower().encode()]


def holds(spec: Spec, request: RequestHead) -> bool:
    field, key, kind, value = spec
    present_only = kind == "present" or (kind == "regex" and value == "*")
    match field:
        case "uri":
            return compare(kind, value, request.path)
        case "uri ignoring case":
            if kind == "regex":
                return compare(kind, value, request.path)
            return compare(kind, value.lower(), request.path.lower())
        case "method":
            return compare(kind, value, request.method)
        case "scheme":
            return compare(kind, value, request.scheme)
        case "authority":
            return compare(kind, value, request.authority)
        case "headers":
            lines = header_lines(request, key)
            return bool(lines) if present_only else any(compare(kind, value, line) for line in lines)
        case "withoutHeaders":
            lines = header_lines(request, key)
            if present_only:
                return not lines
            return not any(compare(kind, value, line) for line in lines or [b""])
        case _:
            assert field == "queryParams"
            parts = [] if request.query is None else request.query.split(b"&")
            values = [p[len(key) + 1 :] for p in parts if p.split(b"=")[0] == key.encode()]
            if not values:
                return False
            return present_only or compare(kind, value, values[0])


def first_match(rules: Sequence[Sequence[Spec]], request: RequestHead) -> int | None:
    """The position of the first rule all of whose conditions hold (semantics 4.7, 5.1)."""
    for position, specs in enumerate(rules):
        if all(holds(spec, request) for spec in specs):
            return position
    return None


def find_domain(domains: Sequence[str], host: str) -> str | None:
    """The domain that serves ``host``: exact, longest suffix, longest prefix, any (semantics 4.10)."""
    if "*" not in host and host in domains:
        return host
    suffixes = [d for d in domains if len(d) > 1 and d.startswith("*")]
    fitting = [d for d in suffixes if host.endswith(d[1:]) and len(host) > len(d) - 1]
    if fitting:
        return max(fitting, key=len)
    prefixes = [d for d in domains if len(d) > 1 and d.endswith("*") and not d.startswith("*")]
    fitting = [d for d in prefixes if host.startswith(d[:-1]) and len(host) > len(d) - 1]
    if fitting:
        return max(fitting, key=len)
    return "*" if "*" in domains else None
