"""The porter of a listener: reads what a connection says of itself first, and shows it to its filter chain.

A PROXY protocol header (semantics 10.12), then a ClientHello where the listener has TLS chains. Nothing is
altered: what was read is replayed to whoever takes over, which from then on is the transport's protocol; the
porter is gone. A connection that no chain takes is reset (semantics 2.5.4), and so is one whose server has no
usable certificate (3.13). All are counted and said in the process's log. The access log has those that no chain
took and those of TCP chains; an HTTP chain writes down requests, and there was none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableSet
from time import monotonic
from typing import Any, Final

from gatewayd.http.options import HttpOptions
from gatewayd.listeners.filter_chains import ChainIndex
from gatewayd.listeners.proxy_protocol import INVALID, MORE, Announced, read_header
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy.closing import reset
from gatewayd.proxy.connection_record import log_refused
from gatewayd.proxy.forwarding import Client
from gatewayd.tls.client_hello import MORE as MORE_HELLO
from gatewayd.tls.client_hello import NOT_TLS, ClientHello, least_missing, read_client_hello

_log = logging.getLogger("gatewayd.listeners")

#: For what comes before anybody's own limits hold (semantics 3.17).
ARRIVAL_TIMEOUT_S: Final = 15.0
_ANY: Final = HttpOptions()
#: Counts those whose handshake failed.
TLS_HANDSHAKE: Final = "tls_handshake"


class Desk:
    """What the arrivals of one listener share."""

    __slots__ = ("connections", "factories", "index", "log", "proxy_protocol", "reads_hello", "refused")

    def __init__(
        self,
        connections: MutableSet[Any],
        chains: Iterable[Any],
        factories: Mapping[Any, Callable[..., asyncio.Protocol]],
        log: Callable[[StreamInfo], None],
        *,
        reads_hello: bool,
        proxy_protocol: bool,
    ) -> None:
        self.connections = connections
        self.index = ChainIndex(chains)
        #: by chain: makes the protocol behind TLS, or behind the PROXY header
        self.factories = factories
        self.log = log
        self.reads_hello = reads_hello
        self.proxy_protocol = proxy_protocol
        #: how many were turned away, by reason
        self.refused: Counter[str] = Counter()

    def use(self, chains: Iterable[Any], factories: Mapping[Any, Callable[..., asyncio.Protocol]]) -> None:
        """Put other chains in force, for arrivals under way too."""
        self.index = ChainIndex(chains)
        self.factories = factories

    def replace(self, old: Any, new: Any) -> None:
        """One chain in the place of another that takes the same connections; ``factories`` has it already."""
        self.index.replace(old, new)


class Arrival(asyncio.Protocol):
    """A connection of which nothing is known yet."""

    __slots__ = ("_announced", "_buffer", "_chain", "_deadline", "_desk", "_enough", "_hello", "_transport")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._transport: Any = None
        self._buffer = b""
        self._enough = 0  # so many bytes of a hello there have to be before it is read again
        self._announced: Announced | None = None
        self._hello: ClientHello | None = None
        self._chain: Any = None
        self._deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register until somebody takes over."""
        self._transport = transport
        self._deadline = monotonic() + ARRIVAL_TIMEOUT_S
        self._desk.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes, of which a part may belong to the porter."""
        if self._transport.is_closing():
            return
        if self._buffer:
            data = self._buffer + data
        desk = self._desk
        if desk.proxy_protocol and self._announced is None:
            length, announced = read_header(data)
            if length == MORE:
                self._buffer = data
                return
            if length == INVALID:
                self._refuse("invalid PROXY protocol header", "proxy_protocol_error")
                return
            assert announced is not None
            self._announced = announced
            data = data[length:]
            if not data and desk.reads_hello:
                self._buffer = b""
                return
        hello = None
        if desk.reads_hello:
            if len(data) < self._enough:
                self._buffer = data
                return
            found = read_client_hello(data)
            if found is MORE_HELLO:
                self._buffer = data
                self._enough = len(data) + least_missing(data)
                return
            if found is not NOT_TLS:
                assert isinstance(found, ClientHello)
                hello = self._hello = found
        chain = desk.index.choose(hello.server_name, hello.alpn) if hello else desk.index.choose("")
        if chain is None:
            name = f"SNI {hello.server_name or 'none'}" if hello else "not TLS"
            self._refuse(f"no filter chain ({name})", "filter_chain_not_found", flags="NR")
            return
        self._hand_over(chain, data)

    def _hand_over(self, chain: Any, data: bytes) -> None:
        desk, transport = self._desk, self._transport
        make = desk.factories[chain]
        self._chain = chain
        announced = self._announced
        hello = self._hello
        server_name = hello.server_name if hello else ""
        if chain.tcp is not None:
            inner = make(announced, server_name)
        else:
            inner = make(announced) if announced is not None else make()
        taker: Any = inner
        if chain.tls is not None:
            context = chain.tls.context
            if context is None:
                self._refuse(f"no certificate for {chain.name}: {chain.tls.problem}", "no_certificate")
                return
            from gatewayd.tls.layer import TlsLayer  # see gatewayd/tls/__init__.py

            older = hello is not None and hello.older
            taker = TlsLayer(context, inner, self._shaken, server_name=server_name, older=older)
            desk.connections.add(taker)
        desk.connections.discard(self)
        transport.set_protocol(taker)
        taker.connection_made(transport)
        if data and not transport.is_closing():
            taker.data_received(data)

    def _shaken(self, layer: Any, failure: str) -> None:
        """The handshake is over, ``failure`` says how (empty: well)."""
        self._desk.connections.discard(layer)
        if failure:
            self._note(f"TLS handshake of {self._chain.name} failed: {failure}", transport_failure=failure)

    def _refuse(self, reason: str, details: str, flags: str = "") -> None:
        self._note(reason, details=details, flags=flags)
        self._desk.connections.discard(self)
        reset(self._transport)

    def _note(self, reason: str, *, details: str = "", flags: str = "", transport_failure: str = "") -> None:
        desk = self._desk
        # Not the reason: that has words of strangers in it.
        desk.refused[details or TLS_HANDSHAKE] += 1
        client = self._client()
        _log.info("connection from %s refused: %s", client.remote_address, reason)
        if self._chain is None or self._chain.tcp is not None:
            log_refused(desk.log, client, flags=flags, details=details, transport_failure=transport_failure)

    def _client(self) -> Client:
        transport, announced = self._transport, self._announced
        remote = announced.remote if announced is not None else None
        local = announced.local if announced is not None else None
        client = Client(
            remote or transport.get_extra_info("peername"),
            local or transport.get_extra_info("sockname"),
            _ANY,
        )
        if self._hello is not None:
            client.requested_server_name = self._hello.server_name
        return client

    def eof_received(self) -> bool:
        """It ended before it began."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone without having said what it wants."""
        self._desk.connections.discard(self)

    # What a listener and the worker ask of a connection

    def tick(self, now: float) -> None:
        """Called about once a second."""
        if now >= self._deadline:
            self._refuse("nothing of use within the time", "arrival_timeout")

    def drain(self) -> None:
        """Nothing is under way yet."""
        self._transport.abort()

    def discourage(self) -> None:
        """What becomes of it will hear."""

    def end_tunnel(self) -> None:
        """There is none."""

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    @property
    def idle_since(self) -> float:
        """Since when nothing is under way."""
        return self._deadline - ARRIVAL_TIMEOUT_S
