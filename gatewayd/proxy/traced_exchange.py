"""HOT for listeners that are traced: exchanges that tell their upstreams of a trace and note what befell each attempt.

An exchange on a listener that is not traced is none of these and pays nothing. What they add stands around the steps
of the exchange, with policies or without, and never changes one.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any, Final

from gatewayd.errors import Failure
from gatewayd.http.h1.response import ResponseHead
from gatewayd.http.message import Pair
from gatewayd.http.options import HttpOptions
from gatewayd.observe.trace import Trace
from gatewayd.proxy.exchange import DONE, Exchange
from gatewayd.proxy.forwarding import CLIENT_ASKED, SAMPLED, marked, new_request_id, request_ids
from gatewayd.proxy.policy_exchange import PolicyExchange

_TEN_THOUSAND: Final = 10_000


class _Traced(Exchange):
    """What is added to an exchange; its steps are those of the class behind it."""

    __slots__ = ()

    trace: Trace | None

    def begin(self) -> None:
        """Decide whether this one is sampled; the request id says so, as Envoy's does (semantics 14.3.3)."""
        options: HttpOptions = self.stream.edge.options
        tracing = options.tracing
        context = self.plan.context
        mark = b""
        if tracing is not None:
            if context is not None and context.asked:
                mark = CLIENT_ASKED
            elif random() * _TEN_THOUSAND < tracing.sampling:
                mark = SAMPLED
        if options.request_id:
            self.request_id = marked(new_request_id(), mark) if mark else new_request_id()
        refused = self.request is None or (context is not None and context.refused)
        trace = None
        if tracing is not None and tracing.propagation and not refused:
            trace = Trace(tracing, context, traced=bool(mark))
        self.trace = trace  # type: ignore[misc]  # the slot is in the subclasses: two bases cannot both have some
        super().begin()

    def _attempt(self, endpoint: Any, *, fresh: bool = False) -> None:
        if self.trace is not None:
            self.trace.begin_attempt(endpoint.host_port)
        super()._attempt(endpoint, fresh=fresh)

    def on_connected(self, connection: Any) -> None:
        """Send the request on ``connection``."""
        if self.trace is not None and (attempt := self.trace.attempt) is not None:
            attempt.connected = True
        super().on_connected(connection)

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """The upstream's answer begins; see ResponseHandler."""
        if self.trace is not None and (attempt := self.trace.attempt) is not None:
            attempt.status = head.status
            attempt.grpc_status = head.grpc_status
        edge = self.stream.edge
        if edge.options.keep_response:
            self.response_pairs = list(head.pairs)
        super().on_response(head, data, end)

    def on_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """101: bytes go through from here on; see ResponseHandler."""
        if self.trace is not None and (attempt := self.trace.attempt) is not None:
            attempt.status = 101
        super().on_upgraded(head, data)

    def _finished_pairs(self, pairs: list[Pair], operations: Any) -> list[Pair]:
        pairs = super()._finished_pairs(pairs, operations)
        if self.stream.edge.options.keep_response:
            self.response_pairs = pairs
        return pairs

    def _retry(self, *, at_once: bool = False) -> None:
        self._end_attempt(canceled=True)
        super()._retry(at_once=at_once)

    def _attempt_failed(self, failure: Failure, transport: str, *, unread: bool) -> None:
        if self.trace is not None and (attempt := self.trace.attempt) is not None:
            attempt.failure = failure
            attempt.end()
        super()._attempt_failed(failure, transport, unread=unread)

    def _drop_upstream(self) -> None:
        self._end_attempt(canceled=True)
        super()._drop_upstream()

    def _end_attempt(self, *, canceled: bool) -> None:
        if self.trace is not None and (attempt := self.trace.attempt) is not None:
            attempt.end(canceled=canceled)

    def _finish(self, now: float) -> None:
        if self.phase == DONE:
            return
        super()._finish(now)
        if self.trace is not None and self.trace.sampled:
            self._end_attempt(canceled=False)
            if self.proxy.spans is not None:
                self.proxy.spans(self)


class TracedExchange(_Traced):
    """A traced exchange on a route without policies."""

    __slots__ = ("trace",)


class TracedPolicyExchange(_Traced, PolicyExchange):
    """A traced exchange on a route, or towards a cluster, with policies."""

    __slots__ = ("trace",)


def exchanges_for(
    options: HttpOptions,
) -> tuple[type[Exchange], type[PolicyExchange], Callable[[], bytes] | None]:
    """What serves requests under ``options``, without policies and with; and what makes their ids, if anything does.

    Where nothing is told and nothing kept, a trace is a mark on some ids, which costs nothing.
    """
    tracing = options.tracing
    if options.keep_response or (tracing is not None and tracing.propagation):
        return TracedExchange, TracedPolicyExchange, None
    new_id = request_ids(0 if tracing is None else tracing.sampling) if options.request_id else None
    return Exchange, PolicyExchange, new_id
