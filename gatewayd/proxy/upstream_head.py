"""HOT: the request head as it goes upstream, when it is not simply the plan's prepared bytes.

``plain_head`` serves a route that changes no head, when the client came through other proxies; ``built_head``
everything with rewrites, operations or more than one attempt. Both write down in the exchange what they sent.
"""

from __future__ import annotations

from time import monotonic

from gatewayd.http.h2.encoder import encode_all, encode_once, encode_request, encoded_request, upstream_scheme
from gatewayd.http.message import Fields, Pair, RequestHead
from gatewayd.policies.grpc_timeout import written
from gatewayd.proxy.exchange_base import ExchangeBase
from gatewayd.proxy.forwarding import client_pairs
from gatewayd.proxy.plan import NOTHING_FOLLOWS, first_timeout_ms, request_head


def plain_head(exchange: ExchangeBase) -> bytes:
    """The head on a route that changes none, when the client came through other proxies."""
    plan = exchange.plan
    block = exchange.parsed.block
    if plan.client_told:
        client = exchange.connection
        exchange.x_forwarded_for = client.appended
        told = exchange.trace.lines()  # type: ignore[attr-defined]  # a traced plan has a traced exchange
        return b"".join(
            (block.prefix, plan.extra_lines, told, client.lines, exchange.request_id, plan.suffix)
        )
    options = exchange.stream.edge.options
    out = [block.prefix, plan.extra_lines]
    if plan.traced:
        out.append(exchange.trace.lines())  # type: ignore[attr-defined]  # a traced plan has a traced exchange
    for name, value in _client_pairs(exchange):
        out += (name, b": ", value, b"\r\n")
    if options.request_id:
        out += (b"x-request-id: ", exchange.request_id)
    out.append(plan.suffix)
    return b"".join(out)


def built_head(exchange: ExchangeBase) -> bytes:
    """A head with rewrites, operations or another attempt's count."""
    return request_head(*built_parts(exchange)) + b"\r\n"


def encoded_head(exchange: ExchangeBase) -> bytes:
    """The head of any request, for HTTP/2."""
    plan = exchange.plan
    parsed = exchange.parsed
    if not plan.prepared or exchange.attempts > 1:
        return encoded_parts(exchange, built_parts(exchange))
    block = parsed.block
    begun = block.encoded
    if begun is None:
        assert parsed.head is not None
        begun = block.encoded = encoded_request(parsed.head, block)
    extra, suffix = plan.encoded
    client = exchange.connection
    if plan.client_plain:
        exchange.x_forwarded_for = client.appended
        return b"".join((begun, extra, client.encoded, exchange.request_id, suffix))
    told = exchange.trace.fields() if plan.traced else ()  # type: ignore[attr-defined]  # as above
    if plan.client_told:
        exchange.x_forwarded_for = client.appended
        return b"".join((begun, extra, encode_once(told), client.encoded, exchange.request_id, suffix))
    pairs = encode_all(_client_pairs(exchange))
    if exchange.stream.edge.options.request_id:
        told = [*told, (b"x-request-id", exchange.request_id)]
    return b"".join((begun, extra, pairs, encode_once(told), suffix))


def encoded_parts(exchange: ExchangeBase, parts: tuple[bytes, bytes, bytes, list[Pair]]) -> bytes:
    """What :func:`built_parts` gave, for HTTP/2."""
    method, target, authority, fields = parts
    parsed = exchange.parsed
    assert parsed.head is not None
    fields = [pair for pair in fields if pair is not NOTHING_FOLLOWS]
    return encode_request(
        method,
        upstream_scheme(parsed.head, parsed.block),
        target,
        authority,
        fields,
        protocol=exchange.plan.upgrade,
        never=parsed.block.never_indexed,
    )


def _client_pairs(exchange: ExchangeBase) -> list[Pair]:
    """The fields about the client; what of them the exchange remembers is written down."""
    block = exchange.parsed.block
    exchange.x_forwarded_for, exchange.trusted_address, pairs = client_pairs(
        exchange.connection,
        block.forwarded_for,
        block.forwarded_proto or b"http",
        exchange.stream.edge.options.trusted_proxies,
        block.forwarded_certificate,
    )
    return pairs


def built_parts(exchange: ExchangeBase) -> tuple[bytes, bytes, bytes, list[Pair]]:
    """Method, target, authority and fields of such a head."""
    plan = exchange.plan
    route = exchange.route
    head = exchange.parsed.head
    assert head is not None
    block = exchange.parsed.block
    options = exchange.stream.edge.options
    fields = [*block.forward, *(plan.extra or ()), *_client_pairs(exchange)]
    if plan.traced:
        if plan.context is not None:
            replaced = plan.context.replaced
            fields = [pair for pair in fields if pair[0] not in replaced]
        fields += exchange.trace.fields()  # type: ignore[attr-defined]  # as above
    if options.x_forwarded_host:
        fields.append((b"x-forwarded-host", head.authority))
    if options.x_forwarded_port:
        fields.append((b"x-forwarded-port", b"%d" % exchange.stream.port.number))
    if options.request_id:
        fields.append((b"x-request-id", exchange.request_id))
    if route.decorator:
        fields.append((b"x-envoy-decorator-operation", route.decorator))
    if options.attempt_count:
        fields.append((b"x-envoy-attempt-count", b"%d" % exchange.attempts))
    expected = _expected_timeout_ms(exchange)
    if expected and options.debug_headers:
        fields.append((b"x-envoy-expected-rq-timeout-ms", b"%d" % expected))
    if expected and (plan.tells_timeout or (exchange.attempts > 1 and exchange.is_grpc)):
        fields = [pair for pair in fields if pair[0] != b"grpc-timeout"]
        fields.append((b"grpc-timeout", written(expected)))
    destination = exchange.destination
    if destination.request_ops is not None:
        fields = destination.request_ops.apply(fields, exchange)
    target = head.target
    if route.rewrite is not None:
        target = route.rewrite(head.path, head.query)
        if options.debug_headers:
            fields.append((b"x-envoy-original-path", head.target))
        else:
            exchange.path = target  # the log's column is that field or the path as sent (semantics 17.2)
    authority = head.authority
    if destination.authority is not None:
        authority = destination.authority
        if options.debug_headers and destination.authority_told:
            fields.append((b"x-envoy-original-host", head.authority))
    if destination.request_ops is not None or destination.authority is not None:
        _note_as_sent(exchange, authority, fields)
    return head.method, target, authority, fields


def _note_as_sent(exchange: ExchangeBase, authority: bytes, pairs: list[Pair]) -> None:
    """The log and response operations see the request as it was sent (golden 06_02, 06_03)."""
    head = exchange.parsed.head
    assert head is not None
    fields = Fields(pairs)
    exchange.request = RequestHead(head.method, head.target, authority, head.scheme, fields)
    exchange.request_id = fields.get(b"x-request-id") or b""
    exchange.x_forwarded_for = fields.get(b"x-forwarded-for") or b""


def _expected_timeout_ms(exchange: ExchangeBase) -> int:
    """The smaller of the request's remaining and the try's time, in ms; 0 = none (semantics 14.3.4)."""
    expected = first_timeout_ms(exchange.plan)
    if exchange.attempts > 1 and exchange.timeout is not None:
        left = max(0.001, exchange.timeout.at - monotonic())
        expected = min(expected, round(left * 1000))
    return expected
