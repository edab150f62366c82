"""HOT for traced listeners: the trace an exchange is part of, and what is noted of it while it goes on."""

from __future__ import annotations

from time import monotonic
from typing import Any

from gatewayd.errors import Failure
from gatewayd.http.message import Pair
from gatewayd.http.options import B3, B3_W3C, TraceOptions
from gatewayd.observe.propagation import Context, fields_of, lines_of, new_span_id, new_trace_id


class Attempt:
    """One try of one endpoint, for its span. Times are monotonic."""

    __slots__ = (
        "began",
        "canceled",
        "connected",
        "ended",
        "endpoint",
        "failure",
        "grpc_status",
        "id",
        "status",
    )

    def __init__(self, id: bytes, endpoint: str) -> None:
        self.id = id
        self.endpoint = endpoint
        self.began = monotonic()
        #: 0.0: it is under way
        self.ended = 0.0
        self.status = 0
        self.grpc_status: bytes | None = None
        self.failure: Failure | None = None
        self.connected = False
        #: given up before its end, by us
        self.canceled = False

    def end(self, *, canceled: bool = False) -> None:
        """It is over; what is said later counts for nothing."""
        if not self.ended:
            self.ended = monotonic()
            self.canceled = canceled


class Trace:
    """The ids of an exchange, and, if it is sampled, its attempts."""

    __slots__ = (
        "attempt_id",
        "attempts",
        "context",
        "options",
        "parent_id",
        "sampled",
        "span_id",
        "trace_id",
    )

    def __init__(self, options: TraceOptions, context: Context | None, *, traced: bool) -> None:
        """``traced``: this proxy would sample it, by chance or because the client asks.

        With W3C a trace that is sampled elsewhere is sampled here only if this proxy would, with B3 who decided
        first has decided for all (Envoy 1.40 was seen to do so with its two tracers).
        """
        self.options = options
        self.context = context
        b3 = options.propagation in (B3, B3_W3C)
        said = context.sampled if context is not None else None
        self.sampled = traced if said is None else said if b3 else traced and said
        if context is not None and context.trace_id:
            self.trace_id = context.trace_id
            self.parent_id = context.span_id
            self.span_id = new_span_id()
        else:
            self.trace_id = new_span_id() if options.short_ids else new_trace_id()
            self.parent_id = b""
            self.span_id = self.trace_id[-16:] if b3 else new_span_id()
        self.attempt_id = b""
        self.attempts: list[Attempt] | None = [] if self.sampled else None

    def begin_attempt(self, endpoint: str) -> None:
        """Another attempt: the upstream is called by a span of its own."""
        self.attempt_id = new_span_id()
        if self.attempts is not None:
            self.attempts.append(Attempt(self.attempt_id, endpoint))

    @property
    def attempt(self) -> Attempt | None:
        """The one under way or just over, if anybody wants to know."""
        return self.attempts[-1] if self.attempts else None

    def fields(self) -> list[Pair]:
        """What the upstream of this attempt is told."""
        return fields_of(
            self.options.propagation,
            self.context,
            self.trace_id,
            self.span_id,
            self.attempt_id,
            sampled=self.sampled,
        )

    def lines(self) -> bytes:
        """The same as lines, where the client said nothing."""
        return lines_of(
            self.options.propagation, self.trace_id, self.span_id, self.attempt_id, sampled=self.sampled
        )

    def copied(self, pairs: list[Pair]) -> list[Pair]:
        """``pairs`` for a mirrored copy: it is called by the exchange, not by an attempt, and is no span itself."""
        told = fields_of(
            self.options.propagation,
            self.context,
            self.trace_id,
            self.parent_id or self.span_id,
            self.span_id,
            sampled=self.sampled,
        )
        names = {name for name, _ in told}
        return [*(pair for pair in pairs if pair[0] not in names), *told]


def trace_of(info: Any) -> Trace | None:
    """The trace of an exchange, None where nothing is traced."""
    found: Trace | None = getattr(info, "trace", None)
    return found
