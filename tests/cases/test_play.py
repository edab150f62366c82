"""The runner starts a process per case, says what differs, counts calls, and sees a broken process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cases.__main__ import main
from tests.cases.loading import Call
from tests.cases.play import LATE_CALLS, one_call
from tests.support.gateway_process import GatewayProcess

CASES = """
- id: one
  rule: ['1']
  config: |
    kind: ServiceEntry
    spec:
      endpoints: [{address: 127.0.0.1, ports: {http: 24101}}]
  upstreams: [{name: alpha, host: 127.0.0.1, port: 24101, kind: http}]
  calls:
  - id: right
    port: 24001
    protocol: http1
    request: {method: GET, path: /, version: HTTP/1.1, headers: [[host, a.test]]}
    expect: &right
      client: {outcome: response, status: 200, version: HTTP/1.1, body: alpha, after: closed,
               headers: [[content-type, text/plain], [content-length, '5']]}
      upstream: [{upstream: alpha, method: GET, path: /, version: HTTP/1.1, headers: [[host, a.test]]}]
      log: [{request: GET / HTTP/1.1, status: 200, flags: '-', details: via_upstream, authority: a.test,
             upstream_host: '127.0.0.1:24101', bytes_received: 0, bytes_sent: 5}]
  - id: wrong
    port: 24001
    protocol: http1
    request: {method: GET, path: /, version: HTTP/1.1, headers: [[host, a.test]]}
    behaviour: {alpha: {status: 404, reason: 'No'}}
    expect: *right
  - id: later
    port: 24001
    protocol: http2
    request: {method: GET, path: /, authority: a.test}
    expect: *right
  - id: many
    port: 24001
    protocol: http1
    repeat: 3
    request: {method: GET, path: '/{i}', version: HTTP/1.1, headers: [[host, a.test]]}
    expect: {distribution: {total: 3, by_status: {'200': 3}, by_upstream: {alpha: 3}}, flags: {'-': 3}}
  - id: nobody
    port: 24009
    protocol: http1
    request: {method: GET, path: /, version: HTTP/1.1, headers: [[host, a.test]]}
    expect: {client: {outcome: refused}, upstream: []}
"""


@pytest.fixture(autouse=True)
def _relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatewayProcess, "command", (sys.executable, "-m", "tests.support.relay_gateway"))


def _run(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, list[str]]:
    file = folder / "cases.yaml"
    file.write_text(CASES)
    scope = folder / "scope.yaml"
    scope.write_text("rules: [{where: {protocol: http2}, reason: the relay speaks HTTP/1}]")
    status = main([str(file), "--scope", str(scope), *arguments])
    return status, capsys.readouterr().out.splitlines()


def test_a_wrong_call_is_told_and_the_last_line_counts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, lines = _run(capsys, tmp_path)
    assert status == 1
    assert lines[0] == "cases.yaml one/wrong: failed"
    assert lines[1:3] == ["    status: expected 200, came 404", "    log status: expected 200, came 404"]
    assert lines[3:] == ["3 passed, 1 failed, 1 out of scope"]


async def test_a_call_that_was_late_is_made_again() -> None:
    class Process:
        exit_code = None

        def stderr_text(self) -> str:
            return ""

    class Slow:
        gateway: Any = Process()
        notes: ClassVar[list[list[str]]] = []

        async def call(self, call: Call) -> list[str]:
            return self.notes.pop(0)

    late = "elapsed: expected 100 ms, came 400 ms"
    left = "upstream alpha header x-envoy-expected-rq-timeout-ms: expected '86', came '24'"
    ended = ["status: expected 200, came 504", "log flags: expected -, came URX,UT"]
    for notes, verdict in (
        ([[late], []], []),
        ([[late]] * (1 + LATE_CALLS), [late]),
        ([[late, left], [late, "status"], []], []),
        ([[late], ["status"], []], ["status"]),
        ([ended, []], []),
        ([["log flags: expected UT, came -"], []], ["log flags: expected UT, came -"]),
    ):
        Slow.notes = notes
        assert await one_call(Slow(), Call("1", {})) == verdict


def test_only_the_calls_asked_for_are_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, lines = _run(capsys, tmp_path, "-k", "one/right", "-v")
    assert (status, lines) == (0, ["cases.yaml one/right: passed", "1 passed, 0 failed, 0 out of scope"])


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("exit3", "the gateway did not start: ended with exit status 3"),
        ("crash", "the gateway ended with exit status 5"),
        ("traceback", "a traceback on the gateway's stderr"),
    ],
)
def test_a_broken_process_fails_its_calls(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, words: str
) -> None:
    monkeypatch.setenv("RELAY", mode)
    status, lines = _run(capsys, tmp_path, "-k", "one/right")
    assert status == 1
    assert any(words in line for line in lines)
    assert lines[-1] == "0 passed, 1 failed, 0 out of scope"


def test_a_configuration_that_opens_no_port_refuses_connections(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY", "exit78")
    status, lines = _run(capsys, tmp_path)
    assert status == 1
    assert lines[-1] == "1 passed, 3 failed, 1 out of scope"
    monkeypatch.setenv("RELAY", "exit3")
    assert _run(capsys, tmp_path)[1][-1] == "0 passed, 4 failed, 1 out of scope"


def test_a_file_that_holds_no_cases_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("a: 1\n")
    assert main([str(tmp_path / "bad.yaml")]) == 2
    assert "expected a list of cases" in capsys.readouterr().err
