"""Conditions of an HTTP rule (semantics 19.5)."""

from operator import attrgetter

from gatewayd.resources.validate.durations import check_regex
from gatewayd.resources.validate.names import check_labels, check_port, is_header_name
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.virtual_service import HTTPMatchRequest, StringMatch

#: Pseudo-headers that may be used as header conditions (semantics 5.8).
_PSEUDO = frozenset({":method", ":authority", ":scheme", ":path"})
_CLAIMS = "@request.auth.claims"


#: What most conditions do without: looked at all at once, because there may be 100,000 of them.
_LESS_USUAL = attrgetter(
    "scheme", "method", "authority", "without_headers", "query_params", "port", "source_labels"
)
_NONE_OF_THEM = _LESS_USUAL(HTTPMatchRequest())


def check_http_match(match: HTTPMatchRequest, path: Path, out: Notes) -> None:
    """Check one entry of `match`."""
    uri = match.uri
    if uri is not None and (uri.regex is not None or (uri.exact is None) is (uri.prefix is None)):
        check_string_match(uri, (*path, "uri"), out, empty_prefix=True)
    if match.headers:
        _check_headers(match.headers, (*path, "headers"), out)
    if _LESS_USUAL(match) == _NONE_OF_THEM:
        return
    if match.scheme is not None:
        check_string_match(match.scheme, (*path, "scheme"), out)
    if match.method is not None:
        check_string_match(match.method, (*path, "method"), out)
    if match.authority is not None:
        check_string_match(match.authority, (*path, "authority"), out)
    if match.without_headers:
        _check_headers(match.without_headers, (*path, "withoutHeaders"), out)
    for name, value in match.query_params.items():
        check_string_match(value, (*path, "queryParams", name), out, presence=True)
    if match.port:
        check_port(match.port, (*path, "port"), out)
    if match.source_labels:
        check_labels(match.source_labels, (*path, "sourceLabels"), out)


def check_string_match(
    match: StringMatch, path: Path, out: Notes, *, empty_prefix: bool = False, presence: bool = False
) -> None:
    """Check an exact, prefix or regex condition; `presence` allows `regex: "*"` (semantics 5.9)."""
    given = [
        name
        for name, text in (("exact", match.exact), ("prefix", match.prefix), ("regex", match.regex))
        if text is not None
    ]
    if len(given) > 1:
        out.error(path, f"only one of exact, prefix and regex may be set, not {' and '.join(given)}")
    if match.prefix == "" and not empty_prefix:
        out.error((*path, "prefix"), "an empty prefix is not allowed here")
    if match.regex is not None and not (presence and match.regex == "*"):
        check_regex(match.regex, (*path, "regex"), out)


def _check_headers(headers: dict[str, StringMatch], path: Path, out: Notes) -> None:
    for name, value in headers.items():
        here = (*path, name)
        if not name:
            out.error(here, "a header name may not be empty")
        elif not is_header_name(name) and name.lower() not in _PSEUDO and not name.startswith(_CLAIMS):
            out.error(here, f'"{name[:80]}" is not a header name')
        check_string_match(value, here, out, presence=True)
