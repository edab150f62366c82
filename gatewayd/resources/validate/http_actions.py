"""Redirects, direct answers, rewrites and retries."""

from gatewayd.resources.validate.durations import check_duration, check_regex
from gatewayd.resources.validate.names import check_port
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.virtual_service import (
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
)

_MAX_BODY_BYTES = 1024 * 1024
_LARGE_BODY_BYTES = 100 * 1024
_REDIRECT_CODES = (301, 302, 303, 307, 308)

#: Conditions of `retryOn` (semantics 15); a bare status code is also one.
RETRY_CONDITIONS: tuple[str, ...] = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)


def check_redirect(
    redirect: HTTPRedirect, matches: tuple[HTTPMatchRequest, ...], path: Path, out: Notes
) -> None:
    """Check a redirect (semantics 6.4)."""
    given = (redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme)
    if not any(given) and redirect.port is None and redirect.derive_port is None:
        out.error(path, "a redirect needs a uri, prefixRewrite, authority, port or scheme")
    if redirect.uri and redirect.prefix_rewrite:
        out.error((*path, "prefixRewrite"), "uri and prefixRewrite exclude each other")
    if redirect.port is not None:
        check_port(redirect.port, (*path, "port"), out)
        if redirect.derive_port is not None:
            out.error((*path, "derivePort"), "port and derivePort exclude each other")
    if redirect.scheme and redirect.scheme not in ("http", "https"):
        out.unknown((*path, "scheme"), "scheme", redirect.scheme, ("http", "https"))
    code = redirect.redirect_code
    if code and not 300 <= code <= 399:
        out.error((*path, "redirectCode"), f"redirectCode must be from 300 to 399, not {code}")
    elif code and code not in _REDIRECT_CODES:
        expected = ", ".join(str(known) for known in _REDIRECT_CODES)
        out.warning(
            (*path, "redirectCode"), f"redirectCode {code} makes no redirect", f"expected one of: {expected}"
        )
    uris = [match.uri for match in matches if match.uri is not None]
    if redirect.prefix_rewrite and any(uri.prefix is None for uri in uris):
        out.error((*path, "prefixRewrite"), "prefixRewrite needs every uri of the rule to be a prefix")


def check_direct_response(answer: HTTPDirectResponse, path: Path, out: Notes) -> None:
    """Check a direct answer (semantics 6.5)."""
    if not 200 <= answer.status <= 600:
        out.error((*path, "status"), f"status must be from 200 to 599, not {answer.status}")
    body = answer.body
    if body is None:
        return
    if body.string is not None and body.raw is not None:
        out.error((*path, "body"), "string and bytes exclude each other")
    size = len(body.string.encode()) if body.string is not None else len(body.raw or b"")
    if size > _MAX_BODY_BYTES:
        out.error((*path, "body"), f"a body may have at most {_MAX_BODY_BYTES} bytes, not {size}")
    elif size > _LARGE_BODY_BYTES:
        out.warning((*path, "body"), f"a body of {size} bytes is kept in memory by every worker")


def check_rewrite(rewrite: HTTPRewrite, path: Path, out: Notes) -> None:
    """Check a rewrite (semantics 6.3)."""
    regex = rewrite.uri_regex_rewrite
    if not rewrite.uri and not rewrite.authority and regex is None:
        out.warning(path, "this rewrites nothing: it has no uri, authority or uriRegexRewrite")
    if regex is None:
        return
    here = (*path, "uriRegexRewrite")
    if rewrite.uri:
        out.error(here, "uri and uriRegexRewrite exclude each other")
    if not regex.match or not regex.rewrite:
        out.error(here, "uriRegexRewrite needs both match and rewrite")
    if regex.match:
        check_regex(regex.match, (*here, "match"), out)


def check_retries(retries: HTTPRetry, path: Path, out: Notes) -> None:
    """Check a retry policy (semantics 6.7)."""
    if retries.attempts < 0:
        out.error((*path, "attempts"), f"attempts may not be negative ({retries.attempts})")
    elif retries.attempts == 0:
        settings = (retries.per_try_timeout, retries.backoff, retries.retry_remote_localities)
        if retries.retry_on or any(setting is not None for setting in settings):
            out.error(
                path,
                "a retry policy is given, but attempts is 0, which switches retries off",
                "set attempts, or leave everything else out",
            )
    check_duration(retries.per_try_timeout, (*path, "perTryTimeout"), out)
    check_duration(retries.backoff, (*path, "backoff"), out)
    for word in retries.retry_on.split(",") if retries.retry_on else ():
        condition = word.strip()
        if condition and condition not in RETRY_CONDITIONS and not _is_status(condition):
            out.unknown((*path, "retryOn"), "retry condition", condition, RETRY_CONDITIONS)


def _is_status(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) == 3
