"""Spans wait in a bounded queue and are sent by a thread; whoever is asked for them never waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from gatewayd.observe import span_export
from gatewayd.observe.span_export import BATCH_SPANS, MAX_WAITING_SPANS, SendError, SpanExport
from gatewayd.observe.spans import SERVER, Span


def span(number: int = 0) -> Span:
    return Span(b"1" * 32, b"%016x" % (number + 1), b"", f"n{number}", SERVER, 1.0, 2.0, {}, False)


def until(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Taker:
    """A sink that takes, refuses or makes wait."""

    name = "taker"

    def __init__(self) -> None:
        self.batches: list[list[Span]] = []
        self.refuses = ""
        self.goes = threading.Event()
        self.goes.set()
        self.closed = False

    def send(self, spans: Sequence[Span]) -> None:
        self.goes.wait(30.0)
        if self.refuses:
            raise SendError(self.refuses)
        self.batches.append(list(spans))

    def close(self) -> None:
        self.closed = True
        self.goes.set()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "INTERVAL_S", 0.01)


def test_spans_are_sent_together_and_in_order() -> None:
    taker = Taker()
    export = SpanExport(taker)
    for number in range(10):
        export.take([span(number), span(number + 100)])
    export.close()
    assert [each.name for batch in taker.batches for each in batch] == [
        name for number in range(10) for name in (f"n{number}", f"n{number + 100}")
    ]
    assert (export.sent, export.failed, export.dropped, export.waiting) == (20, 0, 0, 0)
    assert taker.closed


def test_a_batch_has_a_size() -> None:
    taker = Taker()
    taker.goes.clear()
    export = SpanExport(taker)
    for number in range(3 * BATCH_SPANS):
        export.take([span(number)])
    taker.goes.set()
    until(lambda: export.sent == 3 * BATCH_SPANS)
    assert max(map(len, taker.batches)) <= BATCH_SPANS
    export.close()


def test_a_collector_that_hangs_makes_nobody_wait_and_costs_spans() -> None:
    taker = Taker()
    taker.goes.clear()
    export = SpanExport(taker)
    for number in range(MAX_WAITING_SPANS + 100):
        export.take([span(number)])
    assert export.dropped == 100
    assert export.waiting == MAX_WAITING_SPANS
    began = time.monotonic()
    export.close(0.05)
    assert time.monotonic() - began < 20.0
    assert taker.closed
    export.take([span()])
    assert export.dropped > 100, "after the end nothing is taken"


def test_failing_and_going_on_are_each_said_once(caplog: pytest.LogCaptureFixture) -> None:
    taker = Taker()
    export = SpanExport(taker)
    taker.refuses = "answered 503"
    with caplog.at_level(logging.INFO):
        for expected in (1, 2, 3):
            export.take([span()])
            until(lambda expected=expected: export.failed == expected)  # type: ignore[misc]  # a default
        taker.refuses = ""
        export.take([span()])
        until(lambda: export.sent == 1)
        export.close()
    assert [record.getMessage() for record in caplog.records] == [
        "spans do not reach taker: answered 503",
        "spans reach taker again; 3 were lost",
    ]


def test_a_sink_that_breaks_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    taker = Taker()
    export = SpanExport(taker)
    send, taker.send = taker.send, lambda spans: 1 / 0  # type: ignore[method-assign,assignment]  # broken
    export.take([span()])
    until(lambda: export.failed == 1)
    taker.send = send  # type: ignore[method-assign]  # mended
    export.take([span()])
    until(lambda: export.sent == 1)
    export.close()
    assert "ZeroDivisionError" in caplog.text
