"""One HTTP rule: its action and what surrounds it (semantics 19.4)."""

from operator import attrgetter

from gatewayd.resources.validate.destinations import check_destination, check_weights
from gatewayd.resources.validate.durations import check_duration, check_percentage
from gatewayd.resources.validate.http_actions import (
    check_direct_response,
    check_redirect,
    check_retries,
    check_rewrite,
)
from gatewayd.resources.validate.http_extras import check_cors, check_fault, check_headers, sets_authority
from gatewayd.resources.validate.http_match import check_http_match
from gatewayd.resources.validate.names import is_label
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.virtual_service import HTTPRoute

#: What most rules do without: looked at all at once, because there may be 50,000 rules.
_LESS_USUAL = attrgetter(
    "redirect",
    "direct_response",
    "delegate",
    "rewrite",
    "fault",
    "cors_policy",
    "mirror",
    "mirrors",
    "mirror_percent",
    "mirror_percent_old",
    "mirror_percentage",
)
_NONE_OF_THEM = _LESS_USUAL(HTTPRoute())


def check_http_route(route: HTTPRoute, path: Path, out: Notes, *, is_delegate: bool) -> None:
    """Check a rule; `is_delegate` says that it is one of a VirtualService without hosts."""
    for index, match in enumerate(route.match):
        check_http_match(match, (*path, "match", index), out)
    check_duration(route.timeout, (*path, "timeout"), out)
    if route.headers is not None:
        check_headers(route.headers, (*path, "headers"), out)
    if route.retries is not None:
        check_retries(route.retries, (*path, "retries"), out)
    if route.route:
        check_weights(route.route, path, out)
        for index, share in enumerate(route.route):
            here = (*path, "route", index)
            check_destination(share.destination, (*here, "destination"), out)
            if share.headers is not None:
                check_headers(share.headers, (*here, "headers"), out)
        if _LESS_USUAL(route) == _NONE_OF_THEM:
            return
    _check_action(route, path, out, is_delegate=is_delegate)
    if route.redirect is not None:
        check_redirect(route.redirect, route.match, (*path, "redirect"), out)
    if route.direct_response is not None:
        check_direct_response(route.direct_response, (*path, "directResponse"), out)
    if route.rewrite is not None:
        check_rewrite(route.rewrite, (*path, "rewrite"), out)
    if route.fault is not None:
        check_fault(route.fault, (*path, "fault"), out)
    if route.cors_policy is not None:
        check_cors(route.cors_policy, (*path, "corsPolicy"), out)
    _check_mirrors(route, path, out)
    if route.rewrite is not None and route.rewrite.authority and sets_authority(route.headers):
        out.error(
            (*path, "rewrite", "authority"), "the authority is set twice: here and in headers.request.set"
        )


def _check_action(route: HTTPRoute, path: Path, out: Notes, *, is_delegate: bool) -> None:
    given = [
        name
        for name, value in (
            ("route", route.route),
            ("redirect", route.redirect),
            ("directResponse", route.direct_response),
            ("delegate", route.delegate),
        )
        if value
    ]
    if not given:
        out.error(
            path, "a rule needs an action", "expected one of: route, redirect, directResponse, delegate"
        )
    elif len(given) > 1:
        out.error((*path, given[1]), f"a rule can have only one action, not {' and '.join(given)}")
    for action in ("redirect", "directResponse"):
        if action in given:
            for name, value in (("fault", route.fault), ("rewrite", route.rewrite)):
                if value is not None:
                    out.error((*path, name), f"a rule with {action} cannot have {name}")
    if route.delegate is not None:
        here = (*path, "delegate")
        if is_delegate:
            out.error(here, "a delegate cannot delegate again")
        if not route.delegate.name:
            out.error(here, 'missing required field "name"')
        for name, text in (("name", route.delegate.name), ("namespace", route.delegate.namespace)):
            if text and not (is_label(text) or (name == "name" and all(map(is_label, text.split("."))))):
                out.error((*here, name), f'"{text[:80]}" is not a name')


def _check_mirrors(route: HTTPRoute, path: Path, out: Notes) -> None:
    if route.mirror is not None:
        check_destination(route.mirror, (*path, "mirror"), out)
        if route.mirrors:
            out.error((*path, "mirrors"), "mirror and mirrors exclude each other")
    for index, mirror in enumerate(route.mirrors):
        here = (*path, "mirrors", index)
        check_destination(mirror.destination, (*here, "destination"), out)
        check_percentage(mirror.percentage, (*here, "percentage"), out)
    check_percentage(route.mirror_percentage, (*path, "mirrorPercentage"), out)
    for name, percent in (
        ("mirrorPercent", route.mirror_percent),
        ("mirror_percent", route.mirror_percent_old),
    ):
        if percent is not None and percent > 100:
            out.error((*path, name), f"a percentage must be from 0 to 100, not {percent}")
