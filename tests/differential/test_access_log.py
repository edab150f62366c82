"""The access log in the user's own form beside the real Envoy: the same template, the same requests, the same lines."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.differential.envoy import EnvoyProcess, cluster, route
from tests.differential.pair import GATEWAY, service, virtual_service
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

CLUSTER: Final = "outbound|80||a.test"
_FILE_LOG: Final = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
JSON_FORM: Final[dict[str, Any]] = {
    "code": "%RESPONSE_CODE%",
    "sent": "%BYTES_SENT%",
    "received": "%BYTES_RECEIVED%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "port": "%UPSTREAM_REMOTE_PORT%",
    "path": "%REQ(:PATH)%",
    "cut": "%REQ(:PATH):4%",
    "missing": "%REQ(x-none)%",
    "either": "%REQ(x-none?user-agent)%",
    "type": "%RESP(content-type)%",
    "server": "%RESP(server)%",
    "own": "%RESP(x-own)%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "trace": "%TRACE_ID%",
    "mixed": "%RESPONSE_CODE% of %REQ(x-none)% for %REQ(:METHOD)%",
    "literal": "100%% literal",
    "number": 5,
    "yes": True,
    "nothing": None,
    "list": ["%PROTOCOL%", "x", 1],
    "nest": {"a": {"b": "%RESPONSE_CODE%"}},
}
TEXT_FORM: Final = (
    '%REQ(:METHOD)% "%REQ(:PATH)%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_SENT% %RESP(content-type)% '
    "%RESP(x-own)% %UPSTREAM_CLUSTER% %REQ(x-none)% %TRACE_ID% end\n"
)
REQUESTS: Final = (
    b"GET /one?x=1 HTTP/1.1\r\nhost: a.test\r\nuser-agent: test\r\n\r\n",
    b"POST /two HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello",
    b"HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n",
    b"GET /missing HTTP/1.1\r\nhost: nobody.test\r\n\r\n",
)


def written(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def lines_of(path: Path, count: int, gateway: GatewayProcess | None = None) -> list[str]:
    if gateway is not None:
        return await gateway.log_lines(count)
    deadline = time.monotonic() + 30.0
    while (text := written(path)).count("\n") < count:
        assert time.monotonic() < deadline, text
        await asyncio.sleep(0.01)
    return text.splitlines()


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_the_same_form_makes_the_same_lines(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "envoy.log"
    form = (
        {"json_format": JSON_FORM} if kind == "json" else {"text_format_source": {"inline_string": TEXT_FORM}}
    )
    typed = {"@type": _FILE_LOG, "path": str(log), "log_format": form}
    manager = {"access_log": [{"name": "envoy.access_loggers.file", "typed_config": typed}]}
    template = json.dumps(JSON_FORM) if kind == "json" else TEXT_FORM
    mesh = {"accessLogEncoding": kind.upper(), "accessLogFormat": template}
    (tmp_path / "mesh.config").write_text(json.dumps(mesh))
    site = tmp_path / "site"
    site.mkdir()
    async with Recorder("one") as one:
        one.play({"headers": [["x-own", "here"]]})
        rules = "  - match: [{authority: {exact: a.test}}]\n    route: [{destination: {host: a.test}}]\n"
        (site / "all.yaml").write_text(
            "---".join([GATEWAY, virtual_service(rules), service("a.test", [one.port])])
        )
        to_one = {**route("/", CLUSTER), "match": {
            "prefix": "/", "headers": [{"name": ":authority", "string_match": {"exact": "a.test"}}],
        }}  # fmt: skip
        flags = ["--mesh-config", str(tmp_path / "mesh.config")]
        async with (
            EnvoyProcess([to_one], [cluster(CLUSTER, [one.port])], manager=manager) as envoy,
            GatewayProcess([site], listen=[80], hosts=["127.0.0.1"], flags=flags, log_format="") as ours,
        ):
            for request in REQUESTS:
                for port in (envoy.port, ours.port(80)):
                    await RawClient(port).http(request, observe_s=0.0)
            theirs = await lines_of(log, len(REQUESTS))
            mine = await lines_of(log, len(REQUESTS), ours)
    if kind == "json":
        assert [json.loads(line) for line in mine] == [json.loads(line) for line in theirs]
    else:
        assert mine == theirs


async def test_the_time_an_upstream_took_is_a_field_of_the_answer(tmp_path: Path) -> None:
    """The one that Istio's own form shows; its number is chance."""
    (tmp_path / "mesh.config").write_text("accessLogFormat: '%RESP(x-envoy-upstream-service-time)%'\n")
    site = tmp_path / "site"
    site.mkdir()
    async with Recorder("one") as one:
        rules = "  - route: [{destination: {host: a.test}}]\n"
        (site / "all.yaml").write_text(
            "---".join([GATEWAY, virtual_service(rules), service("a.test", [one.port])])
        )
        flags = ["--mesh-config", str(tmp_path / "mesh.config")]
        async with GatewayProcess(
            [site], listen=[80], hosts=["127.0.0.1"], flags=flags, log_format=""
        ) as ours:
            answer = await RawClient(ours.port(80)).http(REQUESTS[0])
            (line,) = await ours.log_lines(1)
    (sent,) = [
        value for name, value in answer.responses[0].headers if name == "x-envoy-upstream-service-time"
    ]
    assert re.fullmatch(r"\d+", line)
    assert line == sent
