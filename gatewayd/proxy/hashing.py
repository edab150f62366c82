"""What consistent hashing sees of an exchange: the request as it goes upstream (semantics 9.2 to 9.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.http.message import Fields
from gatewayd.policies.hash_policy import HashInput
from gatewayd.proxy.upstream_head import built_parts

if TYPE_CHECKING:
    from gatewayd.proxy.exchange import Exchange


def hash_input(exchange: Exchange) -> HashInput:
    """The request of ``exchange`` for its route's hash policies."""
    route, destination = exchange.route, exchange.destination
    head = exchange.request
    assert head is not None
    client = exchange.connection
    as_received = (
        route.policies.hashes_as_received
        and not exchange.stream.edge.options.trusted_proxies  # then the client's address is known only later
        and route.rewrite is None
        and destination.request_ops is None
        and destination.authority is None
    )
    if as_received:
        fields, target = head.fields, head.target
    else:
        _, target, authority, pairs = built_parts(exchange)
        fields = Fields([(b"host", authority), *pairs])
    trusted = exchange.trusted_address or client.address
    return HashInput(fields, target, trusted.decode(), f"{client.remote_address}{client.local_address}")
