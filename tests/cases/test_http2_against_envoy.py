"""The runner's HTTP/2 client and upstreams see of the real Envoy what the recordings say of it.

What a case fails for in gatewayd is then gatewayd's, not the runner's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.envoy_play import EnvoyPlay
from tests.cases.loading import Case, load_cases

GOLDEN = Path(__file__).parents[1] / "golden"
#: file -> cases whose configuration ``envoy_play`` translates
CASES = {
    "02_gateway": ["https-route-tables-are-separate"],
    "06_01_destinations": ["subsets"],
    "06_04_redirect": ["codes"],
    "06_05_direct": ["direct-response-b"],
    "06_06_timeout": ["timeouts-b"],
    "06_07_retry": ["grpc-conditions"],
    "08_destination_rule": ["upstream-h2-port-grpc"],
    "11_service_entry": ["protocol-unknown-name-is-http1"],
    "14_06_protocol": ["versions-and-methods-c", "framing-e", "expect-continue", "limits-b"],
    "16_failures": ["upstream-misbehaviour-b", "no-endpoints"],
}


def cases() -> list[Case]:
    return [
        case for name, ids in CASES.items() for case in load_cases(GOLDEN / f"{name}.yaml") if case.id in ids
    ]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
async def test_envoy_answers_as_recorded(case: Case) -> None:
    kinds = {upstream["kind"] for upstream in case.data["upstreams"]}
    calls = [call for call in case.calls if call.data["protocol"] == "http2" or "h2c" in kinds]
    assert calls
    async with EnvoyPlay.of(case) as play:
        differences = {call.id: await play.call(call) for call in calls}
    assert not {call: found for call, found in differences.items() if found}
