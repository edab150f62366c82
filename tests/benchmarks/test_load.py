"""A run whose answers were not all right is never a figure."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.macro import sink
from benchmarks.macro.load import parse_wrk
from benchmarks.macro.open_loop import open_loop, percentile, response_length, schedule
from benchmarks.macro.scenarios.bulk import SLOW_RATE_BYTES_S, amounts_read, judge_slow

GOOD = {
    "requests": 10,
    "bytes": 13_000,
    "p50_us": 1,
    "p99_us": 2,
    "errors": {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0},
}


def wrk_output(**changes: object) -> str:
    return f"Running 1s test\nRESULT {json.dumps({**GOOD, **changes})}\n"


def test_wrk_run_without_errors_is_valid() -> None:
    result = parse_wrk(wrk_output(), 1024, 1.0)
    assert (result.requests, result.invalid) == (10, None)


@pytest.mark.parametrize("kind", ["connect", "read", "write", "status", "timeout"])
def test_any_error_makes_a_run_invalid(kind: str) -> None:
    result = parse_wrk(wrk_output(errors={**GOOD["errors"], kind: 3}), 1024, 1.0)  # type: ignore[dict-item]
    assert result.invalid == f"errors: {kind} 3"


@pytest.mark.parametrize("received", [10_000, 100_000])
def test_bodies_too_short_or_too_long_make_a_run_invalid(received: int) -> None:
    assert "do not fit" in str(parse_wrk(wrk_output(bytes=received), 1024, 1.0).invalid)


def test_no_answers_and_no_result_are_invalid() -> None:
    assert parse_wrk(wrk_output(requests=0), 1024, 1.0).invalid == "no request was answered"
    assert "connection refused" in str(parse_wrk("unable to connect: connection refused", 1024, 1.0).invalid)


def test_schedule_keeps_the_rate_without_bursts_of_all_connections() -> None:
    times = schedule(1000, 10, seed=1)
    assert times == sorted(times) == schedule(1000, 10, seed=1)
    assert 9_600 < len(times) < 10_400
    assert times != schedule(1000, 10, seed=2)


def test_percentile_is_a_value_that_occurred() -> None:
    assert percentile([5.0, 1.0, 9.0, 2.0], 0.5) == 5.0
    assert percentile([1.0], 0.99) == 1.0


def test_response_length_needs_a_whole_head() -> None:
    assert response_length(b"HTTP/1.1 200 OK\r\ncontent-le") is None
    assert response_length(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{") == 45


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_response_that_is_not_a_200_of_known_length_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"answered|without content-length"):
        response_length(answer)


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    """Answer everything that is sent on up to ten connections with `answer`, or close when it is empty."""

    def serve(client: socket.socket) -> None:
        with client:
            while client.recv(65536) and answer:
                client.sendall(answer)

    def accept() -> None:
        for _ in range(10):
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def run_open_loop(port: int) -> tuple[int, str | None]:
    result = open_loop(port, b"GET / HTTP/1.1\r\n\r\n", 2, rate_per_s=500, seconds=0.2, connections=4, seed=1)
    return result.requests, result.invalid


def test_open_loop_counts_every_request_that_was_due() -> None:
    with server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") as port:
        assert run_open_loop(port) == (len(schedule(500, 0.2, seed=1)), None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "body is not 2"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokok", "bytes where the response has"),
    ],
)
def test_open_loop_is_invalid_after_a_wrong_answer(answer: bytes, reason: str) -> None:
    with server(answer) as port:
        _, invalid = run_open_loop(port)
    assert reason in str(invalid)


def test_sink_reads_the_length_and_refuses_chunks() -> None:
    assert sink.content_length(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12") == 12
    assert sink.content_length(b"GET / HTTP/1.1\r\nHost: a") == 0
    with pytest.raises(ValueError, match="chunked"):
        sink.content_length(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked")


def test_sink_answers_with_the_bytes_it_has_read() -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=sink.serve, args=(theirs, 0))
    thread.start()
    with ours:
        for body in (os.urandom(100_000), b"", b"x"):
            ours.sendall(b"PUT / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            count = b"%d" % len(body)
            expected = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(count), count)
            assert ours.recv(1000) == expected
    thread.join()


def test_slow_sink_tells_how_much_it_has_read(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair()
    size = 2 * sink.READ_BYTES + 10
    writer = threading.Thread(target=ours.sendall, args=(b"x" * size,))
    writer.start()
    assert sink.swallow(theirs, size, rate_bytes_s=1 << 30) == size
    writer.join()
    ours.close()
    theirs.close()
    amounts = amounts_read(capsys.readouterr().out)
    assert len(amounts) == 1
    assert sink.READ_BYTES <= amounts[0] <= size


def test_only_the_last_amount_of_a_connection_counts() -> None:
    assert amounts_read("progress 4 10\nprogress 5 7\nprogress 4 20\nnoise\n") == [20, 7]


def test_slow_upload_that_stood_still_is_invalid() -> None:
    assert judge_slow([20 * SLOW_RATE_BYTES_S] * 3, 3, 20) is None
    assert judge_slow([20 * SLOW_RATE_BYTES_S, 4096], 2, 20) is not None
    assert judge_slow([20 * SLOW_RATE_BYTES_S], 2, 20) is not None
    assert judge_slow([], 2, 20) is not None
