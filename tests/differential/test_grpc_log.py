"""Statuses and trailers of gRPC in the access log beside the real Envoy: the same template, the same calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.differential.envoy import HTTP2, EnvoyProcess, cluster, route
from tests.differential.pair import GATEWAY, virtual_service
from tests.support.front import service
from tests.support.gateway_process import GatewayProcess
from tests.support.h2_client import H2Client, H2Request
from tests.support.h2_recorder import H2Recorder

FORM = {
    "path": "%REQ(:PATH)%",
    "upstream": "%UPSTREAM_PROTOCOL%",
    "status": "%GRPC_STATUS%",
    "camel": "%GRPC_STATUS(CAMEL_STRING)%",
    "snake": "%GRPC_STATUS(SNAKE_STRING)%",
    "number": "%GRPC_STATUS(NUMBER)%",
    "alone": "%GRPC_STATUS_NUMBER%",
    "trailer": "%TRAILER(x-t)%",
    "either": "%TRAILER(x-none?grpc-message)%",
    "cut": "%TRAILER(grpc-message):2%",
}
GRPC = ("content-type", "application/grpc")


def calls() -> list[tuple[str, dict[str, Any]]]:
    """Type of the request, what the server does."""
    found: list[tuple[str, dict[str, Any]]] = []
    for status in [*map(str, range(18)), "99", "x", "", "9" * 30]:
        fields = [("grpc-status", status), ("grpc-message", "words"), ("x-t", "1")]
        found.append((GRPC[1], {"bare": True, "headers": [GRPC], "body": "x", "trailers": fields}))
        found.append((GRPC[1], {"bare": True, "headers_only": True, "headers": [GRPC, *fields]}))
    found += [(GRPC[1], {"status": status}) for status in (200, 204, 400, 401, 403, 404, 429, 500, 503)]
    found += [
        (GRPC[1], {"reset": "before_headers", "code": "INTERNAL_ERROR"}),
        ("application/grpc+proto", {"status": 404}),
        ("application/grpc-web", {"status": 404, "trailers": [("grpc-status", "1")]}),
        ("text/plain", {"trailers": [("grpc-status", "1"), ("x-t", "2")]}),
    ]
    return found


async def test_the_same_template_makes_the_same_lines(tmp_path: Path) -> None:
    name = "outbound|80||a.test"
    mesh = {"accessLogEncoding": "JSON", "accessLogFormat": json.dumps(FORM)}
    (tmp_path / "mesh.config").write_text(json.dumps(mesh))
    site = tmp_path / "site"
    site.mkdir()
    flags = ["--mesh-config", str(tmp_path / "mesh.config")]
    rules = "  - route: [{destination: {host: a.test}}]\n    retries: {attempts: 0}\n"
    to_one = route("/", name, action={"retry_policy": {}})
    async with H2Recorder("one") as one:
        documents = [GATEWAY, virtual_service(rules), service("a.test", one.port, protocol="HTTP2")]
        (site / "all.yaml").write_text("---\n".join(documents))
        async with (
            EnvoyProcess([to_one], [cluster(name, [one.port]) | HTTP2], log_fields=FORM) as envoy,
            GatewayProcess([site], listen=[80], hosts=["127.0.0.1"], flags=flags, log_format="") as ours,
        ):
            for number, (kind, answer) in enumerate(calls()):
                request = H2Request(f"/{number}", "POST", headers=[("content-type", kind)], body=b"x")
                for port in (envoy.port, ours.port(80)):
                    one.play([answer])
                    await H2Client(port).http(request)
            theirs = await envoy.records(len(calls()), 20.0)
            mine = await ours.log_records(len(calls()))
    different = [
        f"{call}\n Envoy:    {said}\n gatewayd: {own}"
        for call, said, own in zip(calls(), theirs, mine, strict=True)
        if own != said
    ]
    assert not different, "\n".join(different)
