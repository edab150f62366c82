"""``match`` of a rule: what is known at compile time, and the conditions left for requests (semantics 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatewayd.compiler.endpoints import has_labels
from gatewayd.compiler.names import gateway_names
from gatewayd.resources.virtual_service import HTTPMatchRequest, StringMatch
from gatewayd.routing.conditions import Always, Condition
from gatewayd.routing.matchers import MATCHERS
from gatewayd.routing.route import PathMatched

_CLAIMS: Final = "@request.auth.claims"


@dataclass(frozen=True, slots=True)
class Vantage:
    """From where a rule is looked at: a Gateway's server, and this proxy."""

    gateway: str  # namespace/name
    port: int  # the server's port number, as the Gateway has it (2.1.4)
    namespace: str  # the proxy's
    labels: Mapping[str, str]


def applies(match: HTTPMatchRequest, seen: Vantage, namespace: str) -> bool:
    """Whether an alternative exists on this port and gateway at all (5.12 to 5.15).

    ``namespace`` is the VirtualService's. A match that lists the gateway is not asked about its source
    (5.13); source conditions compare with the proxy, not with the client (5.14).
    """
    if match.port and match.port != seen.port:
        return False
    if match.gateways:
        return seen.gateway in gateway_names(match.gateways, namespace)
    if match.source_namespace and match.source_namespace != seen.namespace:
        return False
    return not match.source_labels or has_labels(match.source_labels, seen.labels)


def is_catch_all(match: HTTPMatchRequest) -> bool:
    """URI absent, ``prefix: /`` or ``regex: .*``, and no header, query or claim condition (4.4)."""
    if match.headers or match.without_headers or match.query_params:
        return False
    if match.method or match.authority or match.scheme:
        return False
    uri = match.uri
    return uri is None or uri.prefix == "/" or uri.regex == ".*"


def kind_and_value(text: StringMatch) -> tuple[str, str]:
    """``exact``, ``prefix`` or ``regex`` with its text; ``present`` when none is written (5.9)."""
    if text.exact is not None:
        return "exact", text.exact
    if text.prefix is not None:
        return "prefix", text.prefix
    if text.regex is not None:
        return "regex", text.regex
    return "present", ""


def conditions(match: HTTPMatchRequest) -> tuple[Condition, ...]:
    """What a request must meet, the path first. ValueError, in words, for a regex that is not RE2."""
    found: list[Condition] = []
    uri = match.uri
    if uri is not None:
        kind, value = kind_and_value(uri)
        # A prefix every path has: "/" starts each one after normalisation, "" any text.
        if kind != "present" and not (kind == "prefix" and value in ("", "/")):
            row = "uri ignoring case" if match.ignore_uri_case else "uri"
            found.append(MATCHERS[row]("", kind, value))
    if match.method is not None:
        found.append(MATCHERS["method"]("", *kind_and_value(match.method)))
    if match.authority is not None:
        found.append(MATCHERS["authority"]("", *kind_and_value(match.authority)))
    if match.scheme is not None:
        found.append(MATCHERS["scheme"]("", *kind_and_value(match.scheme)))
    for name, text in match.headers.items():
        found.append(_header("headers", name, text))
    for name, text in match.without_headers.items():
        found.append(_header("withoutHeaders", name, text))
    for name, text in match.query_params.items():
        found.append(MATCHERS["queryParams"](name, *kind_and_value(text)))
    return tuple(found)


def _header(row: str, name: str, text: StringMatch) -> Condition:
    if name.startswith(_CLAIMS):
        # No token is ever validated here, so a claim is never there (5.18).
        return Always(row == "withoutHeaders", f"no validated token for {name}")
    return MATCHERS[row](name, *kind_and_value(text))


#: Most rules match by nothing or by a plain prefix: those share what describes it.
NOTHING_MATCHED: Final = PathMatched()


def path_matched(match: HTTPMatchRequest | None) -> PathMatched:
    """What rewrites and redirects replace (6.3.1)."""
    if match is None or match.uri is None:
        return NOTHING_MATCHED
    kind, value = kind_and_value(match.uri)
    return NOTHING_MATCHED if kind == "present" else PathMatched(kind, value.encode())


def operation_path(match: HTTPMatchRequest | None) -> str:
    """The path in ``x-envoy-decorator-operation`` (14.3.5): ``/exact``, ``/pre*``, the regex, or ``/*``."""
    if match is None or match.uri is None:
        return "/*"
    kind, value = kind_and_value(match.uri)
    return f"{value}*" if kind == "prefix" else value or "/*"
