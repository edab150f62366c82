"""HOT: one TCP connection and the one it is joined to: bytes go through as they come (semantics 7).

A :class:`TcpSession` holds two :class:`Leg` s, the client's connection and the upstream's, plain or TLS. A leg
hands each piece of bytes to the other's transport in one call; everything that is not bytes (ends, resets,
failures, timeouts) is the session's. The session picks its destination once (7.8), makes one attempt (7.10),
and is the connection's record in the access log (17.5).

An end of stream is passed on and the other direction stays open; a reset is passed on as a reset. Timeouts are
looked at in :meth:`TcpSession.tick`, about once a second, oftener for those shorter than that is good for.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableSet
from time import monotonic
from typing import Any, Final

from gatewayd.http.options import HttpOptions
from gatewayd.policies.hash_policy import source_ip_hash
from gatewayd.proxy.closing import end_and_close, pending_error, reset
from gatewayd.proxy.connection_record import ConnectionRecord
from gatewayd.proxy.forwarding import Client
from gatewayd.proxy.tcp_leg import Leg
from gatewayd.proxy.tunnel_out import dig
from gatewayd.routing.l4 import TcpRoute
from gatewayd.upstream.dialer import Hints
from gatewayd.upstream.dynamic import DynamicCluster, Pending

# Where a session stands; it moves along this table and nowhere else (tests drive it).
CONNECTING: Final = 0  # the client waits for the upstream
OPEN: Final = 1
CLIENT_ENDED: Final = 2  # the client's end of stream is passed on; the upstream may go on sending
UPSTREAM_ENDED: Final = 3  # the reverse
CLOSING: Final = 4  # nothing more is read; what was written is on its way
DONE: Final = 5

STATES: Final[dict[int, frozenset[int]]] = {
    CONNECTING: frozenset({OPEN, CLOSING, DONE}),
    OPEN: frozenset({CLIENT_ENDED, UPSTREAM_ENDED, CLOSING}),
    CLIENT_ENDED: frozenset({CLOSING}),
    UPSTREAM_ENDED: frozenset({CLOSING}),
    CLOSING: frozenset({DONE}),
    DONE: frozenset(),
}

#: How long the last bytes may rest before a peer that does not read them is cut off.
FLUSH_S: Final = 30.0
#: Timeouts shorter than this are looked at more often than once a second: this many times in their length.
_SHORT_S: Final = 8.0
_LOOKS: Final = 8

_ANY: Final = HttpOptions()


class TcpPort:
    """The proxy's side of a TCP filter chain; called, it makes the protocol of a connection."""

    __slots__ = ("connections", "proxy", "route")

    def __init__(self, proxy: Any, connections: MutableSet[Any], chain: Any) -> None:
        """``chain``: a FilterChain with ``tcp``; ``connections``: its listener's."""
        self.proxy = proxy
        self.connections = connections
        self.use(chain)

    def use(self, chain: Any) -> None:
        """Put ``chain`` in force for connections that begin from now on."""
        self.route: TcpRoute = chain.tcp

    def __call__(self, announced: Any = None, server_name: str = "") -> Leg:
        """A new connection.

        ``announced``: what a PROXY protocol header said (``remote``, ``local``); ``server_name``: of a ClientHello
        that is passed through.
        """
        return TcpSession(self, announced, server_name).client


class TcpSession(ConnectionRecord):
    """A client's connection, its upstream's, and what befell them."""

    __slots__ = (
        "_announced", "_changed_at", "_dialling", "_early", "_look", "_progress", "_server_name",
        "client", "cluster", "endpoint", "port", "state", "tcp_route", "upstream",
    )  # fmt: skip

    def __init__(self, port: TcpPort, announced: Any = None, server_name: str = "") -> None:
        super().__init__(None)
        self.port = port
        self.tcp_route = port.route
        self.state = CONNECTING
        self.client = Leg(self)
        self.upstream = Leg(self)
        self.client.other, self.upstream.other = self.upstream, self.client
        self.cluster: Any = None
        self.endpoint: Any = None
        self._announced = announced
        self._server_name = server_name
        #: what came before there was an upstream
        self._early: list[bytes] | None = None
        self._dialling: asyncio.Task[None] | Pending | None = None
        self._look: Any = None
        self._progress = -1
        self._changed_at = self.started_at

    # --- the beginning

    def on_connected(self, leg: Leg) -> None:
        """One of the two connections stands."""
        if leg is self.client:
            self._begin()
        elif self.state == CONNECTING:
            self._join()
        else:  # nobody waits for it any more, and uvloop may not tell when it is gone
            leg.transport.abort()
            leg.transport = None
            leg.lost = True

    def _begin(self) -> None:
        """Find the upstream, or turn the client away (semantics 7.8, 7.10)."""
        self.port.connections.add(self)
        self._describe()
        destination = self.tcp_route.pick()
        cluster = destination.cluster
        if cluster is None:
            self._refuse("NC")
            return
        self.upstream_cluster = cluster.name
        if not isinstance(cluster, DynamicCluster):
            self._connect(cluster)
            return
        # Where it goes is what its ClientHello asks for (semantics 11.3).
        self._keep_early()
        pending = cluster.for_sni(self.connection.requested_server_name, self._on_resolved)
        if pending is not None:
            self._dialling = pending

    def _on_resolved(self, cluster: Any, failure: Any) -> None:
        self._dialling = None
        if failure is None:
            self._connect(cluster)
        else:
            self._fail("UH")

    def _connect(self, cluster: Any) -> None:
        """Choose the endpoint and begin to open it."""
        budget = cluster.budget
        if budget is not None and not budget.room_for_session(cluster.active):  # semantics 8.3.2
            self._refuse("UO")
            return
        hashed: int | None = None
        if self.tcp_route.hash_source_ip:  # semantics 9.5
            hashed = source_ip_hash(self.connection.remote_address.rpartition(":")[0].strip("[]"))
        endpoint = cluster.pick() if hashed is None else cluster.pick_for(hashed)
        if endpoint is None:
            self._refuse("UH")
            return
        self.cluster, self.endpoint = cluster, endpoint
        for counted in (cluster, endpoint):
            counted.active += 1
            counted.total += 1
        self.attempts = 1
        self.upstream_host = endpoint.host_port
        if self._early is None:
            self._keep_early()
        self._dialling = self.port.proxy.loop.create_task(self._dial())
        if self._short_s():
            self._look_again()

    def _keep_early(self) -> None:
        """Keep what comes before there is an upstream."""
        self._early = []
        self.client.forward = self._early.append
        # uvloop begins to read after connection_made whatever is said there
        self.port.proxy.loop.call_soon(self._hold)

    def _describe(self) -> None:
        """What is known of the client."""
        transport, announced = self.client.transport, self._announced
        remote = announced.remote if announced is not None else None
        local = announced.local if announced is not None else None
        self.connection = info = Client(
            remote or transport.get_extra_info("peername"),
            local or transport.get_extra_info("sockname"),
            _ANY,
        )
        tls = transport.get_extra_info("tls")
        info.requested_server_name = self._server_name or (tls.server_name if tls is not None else "")

    def _hold(self) -> None:
        if self.state == CONNECTING:
            self.client.pause()

    async def _dial(self) -> None:
        """Open the upstream; the one task of a session, gone once it stands."""
        client = self.connection
        hints = Hints(remote=client.remote_address, local=client.local_address)
        tunnel, open_one = self.tcp_route.tunnel, self.endpoint.open
        if tunnel is None:
            failure, words = await open_one(lambda: self.upstream, hints)
        else:
            failure, words = await dig(tunnel, open_one, self.upstream, hints)
        if failure is None:
            return
        if self.state == CONNECTING:
            self._dialling = None
            self.transport_failure = words
            self._fail()
        else:  # the time was up in the very moment it stood: uvloop then closes it without a word
            self.upstream.connection_lost(None)

    def _join(self) -> None:
        """Both stand: what waited goes through, then everything does."""
        client, upstream = self.client, self.upstream
        address = upstream.transport.get_extra_info("sockname")
        if isinstance(address, tuple):
            self.upstream_local_address = ("%s:%d" if ":" not in address[0] else "[%s]:%d") % address[:2]
        self.state = OPEN
        self._dialling = None  # to cancel it now would close the transport behind the session's back
        early, self._early = self._early, None
        client.forward = upstream.transport.write
        upstream.forward = client.transport.write
        if early:
            client.forward(b"".join(early))
        client.resume()
        if client.ended:
            self.on_end(client)

    def _fail(self, flags: str = "UF,URX") -> None:
        """No upstream: one attempt is all there is (semantics 7.10)."""
        self.flags = flags
        early, self._early = self._early, None
        self.client.received = 0  # of which nobody got anything
        self._enter_closing()
        if early and self.client.transport.get_extra_info("tls") is None:
            reset(self.client.transport)  # as the kernel does for bytes that nobody read
        else:
            self.client.transport.close()
        self._settle()

    def _refuse(self, flag: str) -> None:
        """Turn the client away before anything was tried."""
        self.flags = flag
        self._enter_closing()
        end_and_close(self.client.transport)

    # --- the end

    def on_end(self, leg: Leg) -> None:
        """``leg`` has no more bytes: the other one is told, in its order after all bytes."""
        if self.state == OPEN:
            self.state = CLIENT_ENDED if leg is self.client else UPSTREAM_ENDED
            if self.tcp_route.tunnel is not None or not leg.other.end():
                self.close()  # a tunnel has no half that could stay open
        elif self.state in (CLIENT_ENDED, UPSTREAM_ENDED):
            self.close()
        # else: the client ended while the upstream was opened; ``_join`` comes back to it

    def on_lost(self, leg: Leg, *, broken: bool) -> None:
        """``leg`` is gone; the other one goes too, by a reset if it broke off."""
        if self.state not in (CLOSING, DONE):
            self._enter_closing()
            other = leg.other
            if broken and leg is self.upstream:
                self.flags = "UR"
            if other.transport is not None and not other.lost:
                if broken:
                    reset(other.transport)
                else:
                    other.transport.close()
        self._settle()

    def on_broken(self, leg: Leg) -> None:
        """``leg`` broke and its transport does not know it."""
        self._enter_closing()
        if leg is self.upstream:
            self.flags = "UR"
        for each in (self.client, self.upstream):
            if each.transport is not None and not each.lost:
                reset(each.transport)

    def close(self) -> None:
        """Close both sides once everything that was read has left."""
        self._enter_closing(flush=True)
        for leg in (self.client, self.upstream):
            if leg.transport is not None and not leg.lost and leg.other.splice is None:
                leg.transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._enter_closing()
        for leg in (self.client, self.upstream):
            if leg.transport is not None and not leg.lost:
                leg.transport.abort()

    def _enter_closing(self, *, flush: bool = False) -> None:
        """Nothing is read from here on; ``flush``: what was read still goes out."""
        self.client.stop(flush=flush)
        self.upstream.stop(flush=flush)
        if self.state in (CLOSING, DONE):
            return
        self.state = CLOSING
        self._progress = -1
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    def _settle(self) -> None:
        """With both connections gone the session is over: counters down, facts to the log."""
        client, upstream = self.client, self.upstream
        if not client.lost or not (upstream.lost or upstream.transport is None) or self.state == DONE:
            return
        self.state = DONE
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self.endpoint is not None:
            self.endpoint.active -= 1
            self.cluster.active -= 1
        self.bytes_received, self.bytes_sent = client.received, upstream.received
        self.finished_at = monotonic()
        self.port.connections.discard(self)
        self.port.proxy.log(self)

    # --- time (semantics 7.9)

    def _short_s(self) -> float:
        """The shortest of the route's timeouts if a look per second is too coarse for it, else 0."""
        route = self.tcp_route
        limits = [limit for limit in (route.idle_timeout_s, route.max_duration_s) if 0 < limit < _SHORT_S]
        return min(limits, default=0.0)

    def _look_again(self) -> None:
        self._look = self.port.proxy.wheel.arm(self._short_s() / _LOOKS, self._on_look)

    def _on_look(self) -> None:
        self._look = None
        self.tick(monotonic())
        if self.state not in (CLOSING, DONE):
            self._look_again()

    def tick(self, now: float) -> None:
        """Look at the timeouts; ``now`` is monotonic time, called about once a second."""
        client, upstream = self.client, self.upstream
        client.look()
        upstream.look()
        progress = client.received + upstream.received - client.unsent - upstream.unsent
        if progress != self._progress:
            self._progress = progress
            self._changed_at = now
        quiet_s = now - self._changed_at
        if self.state == CLOSING:
            if quiet_s >= FLUSH_S:
                self.abort()
            return
        route = self.tcp_route
        if 0 < route.max_duration_s <= now - self.started_at:
            self.flags = "DT"
            self.abort()
        elif 0 < route.idle_timeout_s <= quiet_s:
            self.abort()
        else:
            for leg in (client, upstream):
                # Of what is not read no loop tells us that it broke.
                if (leg.paused or leg.ended) and not leg.lost and pending_error(leg.transport):
                    self.on_broken(leg)

    # --- what a listener asks of a connection

    def drain(self) -> None:
        """A stream of bytes has no good moment to stop: it goes on."""

    def discourage(self) -> None:
        """Nor can it be told."""

    def end_tunnel(self) -> None:
        """Close, once everything written has left."""
        self.close()

    @property
    def idle_since(self) -> float:
        """0.0: whether anything is under way only the peers know."""
        return 0.0
