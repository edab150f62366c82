"""HOT for traced listeners: the trace an exchange is part of, and what is noted of it while it goes on."""

from __future__ import annotations

from time import monotonic
from typing import Any

from gatewayd.errors import Failure
from gatewayd.http.message import Pair
from gatewayd.http.options import W3C, TraceOptions
from gatewayd.observe.propagation import Context, fields_of, new_span_id, new_trace_id


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

    def __init__(self, endpoint: str) -> None:
        self.id = new_span_id()
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
    """The ids of an exchange that is not sampled: they are told, and nothing is noted."""

    __slots__ = ("_span_id", "context", "options", "trace_id")

    #: whether spans are made of it
    sampled = False

    def __init__(self, options: TraceOptions, context: Context | None) -> None:
        self.options = options
        self.context = context
        self._span_id = b""
        if context is not None and context.trace_id:
            self.trace_id = context.trace_id
        else:
            self.trace_id = new_span_id() if options.short_ids else new_trace_id()

    @property
    def span_id(self) -> bytes:
        """The exchange's own span; made when somebody asks for it."""
        if not self._span_id:
            begins = self.context is None or not self.context.trace_id
            # With B3 the first span of a trace has its id's lower half.
            self._span_id = (
                self.trace_id[-16:] if begins and self.options.propagation != W3C else new_span_id()
            )
        return self._span_id

    @property
    def parent_id(self) -> bytes:
        """The span that called, b"" for none."""
        return self.context.span_id if self.context is not None else b""

    def _attempt_id(self) -> bytes:
        return new_span_id()

    def fields(self) -> list[Pair]:
        """What the upstream of this attempt is told."""
        options = self.options
        parent_id = b"" if options.propagation == W3C else self.span_id
        return fields_of(
            options.propagation,
            self.context,
            self.trace_id,
            parent_id,
            self._attempt_id(),
            sampled=self.sampled,
        )

    def lines(self) -> bytes:
        """The same as lines, where the client said nothing."""
        if self.options.propagation == W3C:
            return b"traceparent: 00-%b-%b-00\r\ntracestate: \r\n" % (self.trace_id, new_span_id())
        return b"".join([b"%b: %b\r\n" % pair for pair in self.fields()])

    def copied(self, pairs: list[Pair]) -> list[Pair]:
        """``pairs`` for a mirrored copy: it is called by the exchange, not by an attempt, and is no span itself."""
        own = self.span_id
        told = fields_of(
            self.options.propagation,
            self.context,
            self.trace_id,
            self.parent_id or own,
            own,
            sampled=self.sampled,
        )
        names = {name for name, _ in told}
        return [*(pair for pair in pairs if pair[0] not in names), *told]


class SampledTrace(Trace):
    """The ids of an exchange that is sampled, and its attempts."""

    __slots__ = ("attempts",)

    sampled = True

    def __init__(self, options: TraceOptions, context: Context | None) -> None:
        super().__init__(options, context)
        self.attempts: list[Attempt] = []

    def _attempt_id(self) -> bytes:
        return self.attempts[-1].id

    def lines(self) -> bytes:
        """See the base."""
        return b"".join([b"%b: %b\r\n" % pair for pair in self.fields()])

    @property
    def attempt(self) -> Attempt | None:
        """The one under way or just over."""
        return self.attempts[-1] if self.attempts else None


def is_sampled(options: TraceOptions, context: Context | None, *, chosen: bool) -> bool:
    """Whether spans are made of a request; ``chosen``: by chance, or because the client asks.

    With W3C a trace that is sampled elsewhere is sampled here only if it is chosen here, with B3 who decided first
    has decided for all (Envoy 1.40 was seen to do so with its two tracers).
    """
    said = context.sampled if context is not None else None
    if said is None:
        return chosen
    return chosen and said if options.propagation == W3C else said


def trace_of(info: Any) -> Trace | None:
    """The trace of an exchange, None where nothing is traced."""
    found: Trace | None = getattr(info, "trace", None)
    return found
