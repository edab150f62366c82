"""Compares what came of a repeated golden call: counts, order, flags, connections, cookies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from tests.cases.counts import counts_alike, rotated, same_shape
from tests.cases.golden_check import same_end
from tests.cases.loading import Call, Case
from tests.cases.observed import Observed
from tests.cases.patterns import text_alike
from tests.cases.port_plan import PortPlan
from tests.support.raw_client import Outcome

# Fields that throw dice; without them statuses and flags are exact.
_SAMPLED = re.compile(r"\b(?:weight|percent|percentage|mirrorPercentage|mirrorPercent)\b")


def check_repeat(case: Case, call: Call, observed: Observed, plan: PortPlan) -> list[str]:
    """Differences of a repeated call: counts, order, flags, connections, cookies."""
    expect = call.data["expect"]
    distribution = expect.get("distribution") or {}
    statuses = [str(_status(outcome)) for outcome in observed.outcomes]
    upstreams = Counter({name: len(entries) for name, entries in observed.seen.items() if entries})
    total = int(distribution.get("total", len(statuses)))
    sampled = bool(_SAMPLED.search(case.config)) and "sequence" not in expect
    differences = []

    def compare(what: str, wanted: Mapping[str, int], came: Mapping[str, int], alike: bool) -> None:
        if not alike:
            differences.append(f"{what} of {total} calls: expected {dict(wanted)}, came {dict(came)}")

    by_status = distribution.get("by_status") or {}
    came_status = Counter(statuses)
    compare("status", by_status, came_status, _counts_as(by_status, came_status, total, exact=not sampled))
    by_upstream = distribution.get("by_upstream") or {}
    compare("upstream", by_upstream, upstreams, _upstreams_as(by_upstream, upstreams, total, case, sampled))
    if "flags" in expect:
        flags = Counter(str(line.get("response_flags") or "-") for line in observed.log)
        compare("flags", expect["flags"], flags, _counts_as(expect["flags"], flags, total, exact=not sampled))
    if "sequence" in expect:
        wanted = [str(step) for step in expect["sequence"]]
        if not rotated(wanted, statuses, len(case.data.get("upstreams") or []) - 1):
            differences.append(f"sequence: expected {wanted}, came {statuses}")
    if "upstream_connections" in expect:
        used = {
            name: len({entry.connection for entry in entries})
            for name, entries in observed.seen.items()
            if entries
        }
        compare("connections", expect["upstream_connections"], used, used == expect["upstream_connections"])
    if "set_cookie" in expect:
        cookies = [value for o in observed.outcomes for r in o.responses for value in r.values("set-cookie")]
        if len(cookies) != len(expect["set_cookie"]) or not all(
            map(text_alike, expect["set_cookie"], cookies)
        ):
            differences.append(f"set_cookie: expected {expect['set_cookie']}, came {cookies}")
    return differences


def _status(outcome: Outcome) -> int | str:
    return outcome.response.status if outcome.outcome == "response" else same_end(outcome.outcome)


def _counts_as(wanted: Mapping[str, int], came: Mapping[str, int], total: int, *, exact: bool) -> bool:
    wanted, came = _merged(wanted), _merged(came)
    return counts_alike(wanted, came, total, exact=exact)


def _merged(counts: Mapping[str, int]) -> Counter[str]:
    merged: Counter[str] = Counter()
    for key, count in counts.items():
        merged[same_end(str(key))] += count
    return merged


def _upstreams_as(
    wanted: Mapping[str, int], came: Mapping[str, int], total: int, case: Case, sampled: bool
) -> bool:
    met = [name for name, count in wanted.items() if count]
    if "consistentHash" in case.config and len(met) == 1:
        return same_shape(wanted, came)
    if sampled:
        return counts_alike(wanted, came, total, exact=False)
    if "ROUND_ROBIN" in case.config:
        # Equal shares are equal; with a remainder the host a rotation begins with gets one more.
        slack = 0 if len(set(wanted.values())) == 1 else 1
        keys = wanted.keys() | came.keys()
        return sum(came.values()) == sum(wanted.values()) and all(
            abs(wanted.get(key, 0) - came.get(key, 0)) <= slack for key in keys
        )
    return counts_alike(wanted, came, total, exact=len(met) <= 1)
