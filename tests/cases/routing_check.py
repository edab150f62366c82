"""Compares what came of a routing example with its expectation; each difference is one line of text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.cases.counts import SIGMAS, deviation
from tests.cases.endpoints import Backend
from tests.cases.loading import Call
from tests.cases.patterns import show_body
from tests.support.raw_client import Outcome
from tests.support.recorder import Seen

SeenBy = Mapping[Backend, Sequence[Seen]]
_REPEATS = {"distribution": 200, "sticky": 10}


def repeats(call: Call) -> int:
    """How often the call is made: as it says, else as its kind needs."""
    expect = call.data["expect"]
    for source in (expect, call.data):
        for word in ("repeat", "calls", "count", "requests"):
            if isinstance(source.get(word), int):
                return int(source[word])
    return _REPEATS.get(expect["kind"], 1)


def check_call(call: Call, outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    """Differences of a call; an unknown ``kind`` is one."""
    return _check(call.data["expect"], outcomes, seen)


def _check(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    check = KINDS.get(expect["kind"])
    if check is None:
        return [f"this runner does not know the expectation kind {expect['kind']!r}"]
    differences = check(expect, outcomes, seen)
    if not differences and outcomes[0].responses:
        differences = _response_differences(expect, outcomes[0])
    return differences


def _came(outcomes: Sequence[Outcome], seen: SeenBy) -> str:
    """One line on what happened."""
    outcome = outcomes[0]
    words = outcome.outcome
    if outcome.responses:
        response = outcome.response
        words = f"{response.status} {show_body(response.body)}"
        if location := response.values("location"):
            words += f" location {location[0]}"
    reached = [backend.name for backend, entries in seen.items() if entries]
    return f"{words} {outcome.error}".strip() + (f" from {', '.join(reached)}" if reached else "")


def _route(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    destination = expect.get("destination")
    reached = [(backend, entry) for backend, entries in seen.items() for entry in entries]
    right = [entry for backend, entry in reached if destination is None or backend.serves(destination)]
    if len(reached) != 1 or len(right) != 1 or outcomes[0].outcome not in ("response", "data"):
        return [f"expected one request at {_name(destination)}, came {_came(outcomes, seen)}"]
    wanted_status = expect.get("status", 200)
    if outcomes[0].responses and outcomes[0].response.status != wanted_status:
        return [f"expected status {wanted_status}, came {_came(outcomes, seen)}"]
    return _upstream_differences(expect.get("upstream") or {}, right[0])


def _name(destination: Mapping[str, Any] | None) -> str:
    if destination is None:
        return "any upstream"
    return "/".join(str(destination[key]) for key in ("host", "port", "subset") if destination.get(key))


def _no_upstream(seen: SeenBy) -> bool:
    return not any(seen.values())


def _answered(status: int | None) -> Callable[[Mapping[str, Any], Sequence[Outcome], SeenBy], list[str]]:
    """A response of the gateway itself; ``status`` stands in when the expectation names none."""

    def check(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
        wanted = expect.get("status", status)
        came = outcomes[0]
        if not came.responses or wanted not in (None, came.response.status) or not _no_upstream(seen):
            return [f"expected {expect['kind']} {wanted} from the gateway, came {_came(outcomes, seen)}"]
        return []

    return check


def _redirect(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    differences = _answered(301)(expect, outcomes, seen)
    if not differences and "redirect_location" in expect:
        location = outcomes[0].response.values("location")
        if location != [expect["redirect_location"]]:
            differences.append(f"location: expected {expect['redirect_location']}, came {location}")
    return differences


def _status(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    if not outcomes[0].responses or outcomes[0].response.status != expect["status"]:
        return [f"expected status {expect['status']}, came {_came(outcomes, seen)}"]
    return []


def _ended(*endings: str) -> Callable[[Mapping[str, Any], Sequence[Outcome], SeenBy], list[str]]:
    def check(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
        if outcomes[0].outcome not in endings or not _no_upstream(seen):
            return [f"expected {expect['kind']}, came {_came(outcomes, seen)}"]
        return []

    return check


def _blackhole(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    return [] if _no_upstream(seen) else [f"expected no upstream, came {_came(outcomes, seen)}"]


def _distribution(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    shares = expect.get("destinations") or expect.get("distribution") or expect.get("weights") or []
    whole = sum(float(share.get("weight", 1)) for share in shares)
    if not shares or not whole:
        return ["this runner found no destinations with weights in the expectation"]
    differences = []
    for share in shares:
        destination = share.get("destination", share)
        wanted = len(outcomes) * float(share.get("weight", 1)) / whole
        came = sum(len(entries) for backend, entries in seen.items() if backend.serves(destination))
        # The weights are known, so only this run is a sample: half the variance of two.
        if deviation(wanted, came, len(outcomes)) * math.sqrt(2) > SIGMAS:
            differences.append(
                f"{_name(destination)}: expected about {wanted:.0f} of {len(outcomes)}, came {came}"
            )
    return differences


def _sticky(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    counts = Counter({backend.name: len(entries) for backend, entries in seen.items() if entries})
    if len(counts) != 1 or counts.total() != len(outcomes):
        return [f"expected {len(outcomes)} calls at one upstream, came {dict(counts)}"]
    return []


def _one_of(expect: Mapping[str, Any], outcomes: Sequence[Outcome], seen: SeenBy) -> list[str]:
    options = (
        expect.get("options")
        or expect.get("one_of")
        or expect.get("expectations")
        or expect.get("destinations")
    )
    if not options:
        return ["this runner found no options in the expectation"]
    reasons = []
    for option in options:
        if "kind" not in option:
            option = {"kind": "route", "destination": option.get("destination", option)}
        differences = _check(option, outcomes, seen)
        if not differences:
            return []
        reasons += differences
    return [f"none of {len(options)} options holds: {'; '.join(reasons)}"]


# Kind of an expectation -> what compares it.
KINDS: dict[str, Callable[[Mapping[str, Any], Sequence[Outcome], SeenBy], list[str]]] = {
    "route": _route,
    "redirect": _redirect,
    "not_found": _answered(404),
    "direct_response": _answered(None),
    "no_listener": _ended("refused"),
    "tls_reject": _ended("tls_error", "closed", "reset"),
    "blackhole": _blackhole,
    "status": _status,
    "distribution": _distribution,
    "sticky": _sticky,
    "one_of": _one_of,
}


def _upstream_differences(expect: Mapping[str, Any], seen: Seen) -> list[str]:
    differences = []
    plain = {
        "path": seen.path,
        "method": seen.method,
        "host": ",".join(seen.values("host")) if seen.authority is None else seen.authority,
        "http_version": seen.version.removeprefix("HTTP/"),
        "sni": (seen.tls or {}).get("sni"),
    }
    for key, came in plain.items():
        if key in expect and str(expect[key]) != came:
            differences.append(f"upstream {key}: expected {expect[key]}, came {came}")
    if "tls" in expect and bool(expect["tls"]) != (seen.tls is not None):
        differences.append(f"upstream tls: expected {expect['tls']}, came {seen.tls}")
    return differences + _header_differences("upstream", expect, seen.values, "")


def _response_differences(expect: Mapping[str, Any], outcome: Outcome) -> list[str]:
    response = outcome.response
    differences = _header_differences("response", expect, response.values, "response_")
    if "body" in expect and expect["body"] != response.body.decode("latin-1"):
        differences.append(f"body: expected {expect['body']!r}, came {show_body(response.body)}")
    return differences


def _header_differences(
    side: str, expect: Mapping[str, Any], values: Callable[[str], list[str]], prefix: str
) -> list[str]:
    """``headers`` (equal), ``headers_absent`` and ``headers_match`` (regular expression) of one side."""
    differences = []
    for name, wanted in (expect.get(f"{prefix}headers") or {}).items():
        came = values(name.lower())
        if ",".join(came) != str(wanted):
            differences.append(f"{side} header {name}: expected {wanted!r}, came {came}")
    for name in expect.get(f"{prefix}headers_absent") or []:
        if came := values(name.lower()):
            differences.append(f"{side} header {name}: expected none, came {came}")
    for name, pattern in (expect.get(f"{prefix}headers_match") or {}).items():
        came = values(name.lower())
        if not any(re.fullmatch(str(pattern), value) for value in came):
            differences.append(f"{side} header {name}: expected to match {pattern!r}, came {came}")
    return differences
