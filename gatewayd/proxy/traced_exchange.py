"""HOT for listeners that are traced: exchanges that tell their upstreams of a trace and note what befell each attempt.

An exchange on a listener that is not traced is none of these and pays nothing. Most of a traced listener's are not
sampled: they tell ids and note nothing. What a sampled one adds stands around the steps of the exchange, with policies
or without, and never changes one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatewayd.errors import Failure
from gatewayd.http.message import Pair
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import ParsedRequest
from gatewayd.http.response import ResponseHead
from gatewayd.observe.trace import Attempt, SampledTrace, Trace, is_sampled
from gatewayd.proxy.counted_exchange import counted
from gatewayd.proxy.exchange import Exchange
from gatewayd.proxy.exchange_base import DONE
from gatewayd.proxy.forwarding import CLIENT_ASKED, is_sampled_by_chance, marked, request_ids
from gatewayd.proxy.mirrored_exchange import MirroredExchange
from gatewayd.proxy.plan import Planner
from gatewayd.proxy.policy_exchange import PolicyExchange


class ToldExchange(Exchange):
    """An exchange that tells its upstream of a trace; ``trace``: None if it is part of none after all."""

    __slots__ = ("trace",)


class ToldMirroredExchange(MirroredExchange):
    """The same with mirrors and nothing else."""

    __slots__ = ("trace",)


class ToldPolicyExchange(PolicyExchange):
    """The same with policies."""

    __slots__ = ("trace",)


class _Noting(Exchange):
    """Notes what befalls each attempt, and what is answered; the steps are those of the class behind it."""

    __slots__ = ()

    trace: Trace | None

    @property
    def _now(self) -> Attempt | None:
        """The attempt under way, or just over, if it is noted."""
        trace = self.trace
        return trace.attempt if isinstance(trace, SampledTrace) else None

    def _attempt(self, endpoint: Any, *, fresh: bool = False) -> None:
        if isinstance(self.trace, SampledTrace):
            self.trace.attempts.append(Attempt(endpoint.host_port))
        super()._attempt(endpoint, fresh=fresh)

    def _send_on(self, connection: Any) -> None:
        if attempt := self._now:
            attempt.connected = True
        super()._send_on(connection)

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """The upstream's answer begins; see ResponseHandler."""
        if attempt := self._now:
            attempt.status = head.status
            attempt.grpc_status = head.grpc_status
        options = self.stream.edge.options
        if options.keep_response:
            # As it is relayed, but for what the log knows by itself: the time the upstream took.
            server = options.server_header
            pairs = [pair for pair in head.pairs if server is None or pair[0] != b"server"]
            self.response_pairs = pairs if server is None else [*pairs, (b"server", server)]
        super().on_response(head, data, end)

    def on_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """101: bytes go through from here on; see ResponseHandler."""
        if attempt := self._now:
            attempt.status = 101
        super().on_upgraded(head, data)

    def _finished_pairs(self, pairs: list[Pair], operations: Any) -> list[Pair]:
        pairs = super()._finished_pairs(pairs, operations)
        if self.stream.edge.options.keep_response:
            self.response_pairs = pairs
        return pairs

    def _retry(self, *, at_once: bool = False) -> None:
        self._give_up()
        super()._retry(at_once=at_once)

    def _attempt_failed(self, failure: Failure, transport: str, *, unread: bool) -> None:
        if attempt := self._now:
            attempt.failure = failure
            attempt.end()
        super()._attempt_failed(failure, transport, unread=unread)

    def _drop_upstream(self) -> None:
        self._give_up()
        super()._drop_upstream()

    def _give_up(self) -> None:
        if attempt := self._now:
            attempt.end(canceled=True)

    def _finish(self, now: float) -> None:
        if self.phase == DONE:
            return
        super()._finish(now)
        if attempt := self._now:
            attempt.end()
        if self.trace is not None and self.trace.sampled and self.proxy.spans is not None:
            self.proxy.spans(self)


class NotedExchange(_Noting, ToldExchange):
    """A sampled exchange, or one whose answer is kept, on a route without policies."""

    __slots__ = ()


class NotedMirroredExchange(_Noting, ToldMirroredExchange):
    """The same on a route with mirrors and nothing else."""

    __slots__ = ()


class NotedPolicyExchange(_Noting, ToldPolicyExchange):
    """The same on a route, or towards a cluster, with policies."""

    __slots__ = ()


def is_observed(options: HttpOptions) -> bool:
    """Whether exchanges under ``options`` tell of traces, or keep what was answered."""
    return options.keep_response or (options.tracing is not None and bool(options.tracing.propagation))


def observed_begin(proxy: Any, chain: Any, planner: Planner) -> Callable[[Any, ParsedRequest], None]:
    """What begins the exchanges of an HTTP filter chain whose options are observed (``Edge.begin``)."""
    options: HttpOptions = chain.options
    tracing = options.tracing
    told = tracing if tracing is not None and tracing.propagation else None
    keep, has_id = options.keep_response, options.request_id
    plan = planner.plan if told is None else planner.plan_told
    new_id = request_ids(tracing.sampling if tracing is not None else 0)
    #: by Plan.served_by
    telling: tuple[type[Exchange], ...] = (ToldExchange, ToldMirroredExchange, ToldPolicyExchange)
    noting: tuple[type[Exchange], ...] = (NotedExchange, NotedMirroredExchange, NotedPolicyExchange)
    if options.counts_messages:
        telling, noting = tuple(map(counted, telling)), tuple(map(counted, noting))

    def begin(stream: Any, request: ParsedRequest) -> None:
        if request.plan_for is not chain:
            request.plan = plan(request)
            request.plan_for = chain
        context = request.plan.context
        request_id = new_id()  # which says whether chance has chosen it, as Envoy's does (semantics 14.3.3)
        noted = keep
        trace: Trace | None = None
        if told is not None and request.head is not None:
            if context is None:
                sampled = is_sampled_by_chance(request_id)
            else:
                chosen = context.asked or is_sampled_by_chance(request_id)
                if context.asked:
                    request_id = marked(request_id, CLIENT_ASKED)
                sampled = is_sampled(told, context, chosen=chosen)
            if context is None or not context.refused:
                trace = SampledTrace(told, context) if sampled else Trace(told, context)
                noted = keep or sampled
        exchange: Any = (noting if noted else telling)[request.plan.served_by](proxy, stream, request)
        exchange.trace = trace
        if has_id:
            exchange.request_id = request_id
        exchange.begin()

    return begin
