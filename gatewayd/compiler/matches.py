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

#: More shapes than this are not kept so that equal ones are one object: paths come and go for as long as we run.
_MAX_SHARED: Final = 200_000
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

#: Conditions besides the uri, as words that compare: (what, name, kind of comparison, text).
Others = frozenset[tuple[str, str, str, str]]
NO_OTHERS: Final[Others] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One alternative as requests meet it. Equal plain ones are one object, so 50,000 routes stay lean."""

    conditions: tuple[Condition, ...]
    catch_all: bool
    path_matched: PathMatched
    #: the path in ``x-envoy-decorator-operation`` (14.3.5): ``/exact``, ``/pre*``, the regex, or ``/*``
    operation_path: str
    #: kind of comparison and text, or ("any", ""); with ``others`` it says what is taken from later rules
    uri: tuple[str, str]
    others: Others = NO_OTHERS


EVERYTHING: Final = Shape((), True, NOTHING_MATCHED, "/*", ("any", ""))


class Shapes:
    """Compiles alternatives; remembers those that only look at the uri."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str | None, str | None, bool], Shape] = {}

    def of(self, match: HTTPMatchRequest | None) -> Shape:
        """The shape of an alternative, or of a rule without it; ValueError as in :func:`conditions`."""
        if match is None:
            return EVERYTHING
        uri = match.uri
        if (
            uri is None
            or match.headers
            or match.without_headers
            or match.query_params
            or match.method is not None
            or match.authority is not None
            or match.scheme is not None
        ):
            return _shape(match)
        key = (uri.exact, uri.prefix, uri.regex, match.ignore_uri_case)
        shape = self._known.get(key)
        if shape is None:
            if len(self._known) > _MAX_SHARED:
                self._known.clear()
            shape = self._known[key] = _shape(match)
        return shape


def _shape(match: HTTPMatchRequest) -> Shape:
    found = conditions(match)
    if match.uri is None:
        return Shape(found, is_catch_all(match), NOTHING_MATCHED, "/*", ("any", ""), _others(match))
    kind, value = kind_and_value(match.uri)
    matched = NOTHING_MATCHED if kind == "present" else PathMatched(kind, value.encode())
    operation = f"{value}*" if kind == "prefix" else value or "/*"
    return Shape(found, is_catch_all(match), matched, operation, _taken(match, kind, value), _others(match))


def _taken(match: HTTPMatchRequest, kind: str, value: str) -> tuple[str, str]:
    if kind == "present" or (kind == "prefix" and value in ("", "/")) or (kind == "regex" and value == ".*"):
        return "any", ""
    if match.ignore_uri_case and kind != "regex":
        return f"{kind} ignoring case", value.lower()
    return kind, value


def _others(match: HTTPMatchRequest) -> Others:
    found: list[tuple[str, str, str, str]] = []
    for name, text in (("method", match.method), ("scheme", match.scheme), ("authority", match.authority)):
        if text is not None:
            found.append((name, "", *kind_and_value(text)))
    for name, text in match.headers.items():
        found.append(("header", name.lower(), *kind_and_value(text)))
    for name, text in match.without_headers.items():
        found.append(("without header", name.lower(), *kind_and_value(text)))
    for name, text in match.query_params.items():
        found.append(("query parameter", name, *kind_and_value(text)))
    return frozenset(found) if found else NO_OTHERS
