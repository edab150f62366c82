"""The status port: /healthz/ready and /healthz/live (product.md section 4)."""

from __future__ import annotations

import pytest

from gatewayd.admin.messages import Rejected, Request, read_head
from gatewayd.admin.status import Readiness, StatusServer, decide_answer
from tests.admin.asking import served


def ask(path: str, method: str = "GET") -> Request:
    return Request(method, path)


def ready() -> Readiness:
    readiness = Readiness()
    readiness.release("starting")
    return readiness


def test_a_worker_that_starts_is_alive_and_not_ready() -> None:
    readiness = Readiness()
    assert decide_answer(ask("/healthz/live"), readiness).status == 200
    answer = decide_answer(ask("/healthz/ready"), readiness)
    assert (answer.status, answer.body) == (503, "starting\n")


def test_a_worker_that_serves_is_ready() -> None:
    assert decide_answer(ask("/healthz/ready"), ready()).status == 200


def test_a_worker_that_drains_is_alive_and_not_ready() -> None:
    readiness = ready()
    readiness.hold("draining", "draining")
    assert decide_answer(ask("/healthz/live"), readiness).status == 200
    answer = decide_answer(ask("/healthz/ready"), readiness)
    assert (answer.status, answer.body) == (503, "draining\n")


def test_each_reason_has_to_go_before_it_is_ready_again() -> None:
    readiness = ready()
    readiness.hold("draining", "draining")
    readiness.hold("health", "failed by the admin")
    assert readiness.reason == "draining; failed by the admin"
    readiness.release("draining")
    assert not readiness.ready
    assert readiness.held("health")
    readiness.release("health")
    assert readiness.ready


def test_what_is_not_served_as_written_is_said_to_who_asks_whether_it_is_ready() -> None:
    readiness = Readiness(lambda: [f"kept: {n}" for n in range(12)])
    readiness.release("starting")
    lines = str(decide_answer(ask("/healthz/ready"), readiness).body).splitlines()
    assert lines[0] == "ready"
    assert lines[1] == "kept: 0"
    assert lines[-1] == "and 2 more"
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /healthz/ready?x=1 HTTP/1.1", 200),
        (b"HEAD /healthz/ready HTTP/1.1", 200),
        (b"GET /healthz/ready HTTP/1.0", 200),
        (b"POST /healthz/ready HTTP/1.1", 405),
        (b"GET / HTTP/1.1", 404),
        (b"GET /healthz/readyz HTTP/1.1", 404),
        (b"GET /stats/prometheus HTTP/1.1", 404),
        (b"GET http://x/healthz/ready HTTP/1.1", 400),
        (b"GET /healthz/ready HTTP/2.0", 400),
        (b"GET /healthz/ready", 400),
        (b"GET  /healthz/ready HTTP/1.1", 400),
        (b"", 400),
        (b"\x16\x03\x01\x02\x00", 400),
    ],
)
def test_each_request_has_one_answer(head: bytes, expected: int) -> None:
    if expected == 400:
        with pytest.raises(Rejected, match="bad request"):
            read_head(head + b"\r\nhost: localhost")
        return
    request, _ = read_head(head + b"\r\nhost: localhost")
    assert decide_answer(request, ready()).status == expected


async def test_the_port_answers_probes() -> None:
    async with served(StatusServer(ready())) as port:
        answer = await port.get("/healthz/ready")
        assert (answer.status, answer.body) == (200, b"ready\n")
        assert (await port.get("/healthz/live", "HEAD")).body == b""


async def test_probes_come_through_a_crowd_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = StatusServer(ready())
    server.max_connections = 3
    async with served(server) as port:
        crowd = [await port.connect() for _ in range(3)]
        await port.until(lambda: len(server.connections) == 3)
        assert (await port.get("/healthz/live")).status == 200
        for _, writer in crowd:
            writer.close()
        await port.until(lambda: not server.connections)
        assert (await port.get("/healthz/live")).status == 200
