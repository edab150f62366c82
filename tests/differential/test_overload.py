"""What a client is told under overload (hardening 9.13), beside the real Envoy whose overload manager has to act."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.envoy_process import EnvoyProcess
from tests.support.in_process import InProcess, request
from tests.support.raw_client import RawClient, Response

_MONITOR = "envoy.resource_monitors.injected_resource"
_CONFIG = "type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig"
#: They say who answers, or when.
_NOISE = frozenset({"date", "server"})

REQUESTS = [
    request(),
    request("HEAD"),
    request("POST", body=b"abc"),
    request("DELETE", "/x?y=z", headers=["x-request-id: 1"]),
    request("POST", headers=["content-type: application/grpc", "transfer-encoding: chunked"]) + b"0\r\n\r\n",
]


def manager(pressure: Path) -> dict[str, Any]:
    """An overload manager that believes the file."""
    return {
        "refresh_interval": "0.05s",
        "resource_monitors": [
            {"name": _MONITOR, "typed_config": {"@type": _CONFIG, "filename": str(pressure)}}
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": _MONITOR, "threshold": {"value": 0.9}}],
            }
        ],
    }


def seen(response: Response) -> Any:
    headers = sorted((name.lower(), value) for name, value in response.headers if name.lower() not in _NOISE)
    return response.status, headers, response.body


@pytest.mark.parametrize("message", REQUESTS, ids=["GET", "HEAD", "POST", "query", "gRPC"])
async def test_both_refuse_alike(message: bytes, tmp_path: Path) -> None:
    pressure = tmp_path / "pressure"
    pressure.write_text("0.95")
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    async with InProcess([1]) as ours, EnvoyProcess(routes, [], overload_manager=manager(pressure)) as theirs:
        while (await RawClient(theirs.port).http(request(), observe_s=0.0)).response.status == 200:
            pass  # until it has looked at the file
        ours.proxy.refuse(True)
        answers = [(await RawClient(each.port).http(message)).response for each in (ours, theirs)]
        assert seen(answers[0]) == seen(answers[1])
