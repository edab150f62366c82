"""A trace of an exchange: what is told of it, and when it is sampled."""

from __future__ import annotations

import pytest

from gatewayd.http.options import B3, W3C, TraceOptions
from gatewayd.observe.propagation import Context, new_span_id, new_trace_id, read_context, tells
from gatewayd.observe.trace import Attempt, SampledTrace, Trace, is_sampled

TRACE, SPAN = b"4" * 32, b"5" * 16


def context(sampled: bool | None) -> Context:
    made = Context()
    made.trace_id, made.span_id, made.sampled = TRACE, SPAN, sampled
    return made


@pytest.mark.parametrize(
    ("propagation", "said", "chosen", "sampled"),
    [
        (W3C, None, True, True),
        (W3C, None, False, False),
        (W3C, True, True, True),
        (W3C, True, False, False),  # sampled elsewhere, not chosen here
        (W3C, False, True, False),
        (B3, True, False, True),  # who decided first has decided for all
        (B3, False, True, False),
        (B3, None, True, True),
    ],
)
def test_who_decides(propagation: str, said: bool | None, chosen: bool, sampled: bool) -> None:
    assert is_sampled(TraceOptions(0, propagation), context(said), chosen=chosen) is sampled


def test_ids_are_fresh() -> None:
    spans = {new_span_id() for _ in range(1000)}
    traces = {new_trace_id() for _ in range(1000)}
    assert (len(spans), len(traces)) == (1000, 1000)
    assert {len(each) for each in spans} == {16}
    assert {len(each) for each in traces} == {32}


def test_lines_are_the_fields() -> None:
    trace = SampledTrace(TraceOptions(0, W3C), None)
    trace.attempts.append(Attempt("127.0.0.1:1"))
    assert trace.lines() == b"".join(b"%b: %b\r\n" % pair for pair in trace.fields())
    quiet = Trace(TraceOptions(0, W3C), None)
    (parent, state) = quiet.lines().split(b"\r\n")[:2]
    assert parent.startswith(b"traceparent: 00-" + quiet.trace_id + b"-")
    assert parent.endswith(b"-00")
    assert state == b"tracestate: "


def test_an_attempt_ends_once() -> None:
    attempt = Attempt("a:1")
    attempt.end(canceled=True)
    ended = attempt.ended
    attempt.end()
    assert (attempt.ended, attempt.canceled) == (ended, True)


def test_short_ids_are_of_zipkin() -> None:
    trace = Trace(TraceOptions(0, B3, short_ids=True), None)
    assert len(trace.trace_id) == 16
    assert trace.span_id == trace.trace_id, "the first span of a trace has its id"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (b"traceparent: x\r\n", True),
        (b"a: b\r\ntracestate: x\r\n", True),
        (b"a: traceparent: x\r\n", False),
        (b"x-traceparent: x\r\n", False),
        (b"", False),
    ],
)
def test_a_block_that_tells_is_found_by_its_names(lines: bytes, told: bool) -> None:
    assert tells(W3C, lines) is told


def test_what_is_read_is_bounded_by_what_a_head_may_hold() -> None:
    """Nothing here repeats what a stranger sends: a long state is one value."""
    pairs = [(b"traceparent", b"00-%b-%b-01" % (TRACE, SPAN)), *((b"tracestate", b"a=1"),) * 100]
    assert read_context(W3C, pairs).state == b",".join([b"a=1"] * 100)
