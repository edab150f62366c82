"""Names to addresses, kept fresh: TTLs honoured, the last good answer kept on failure, nobody waits.

One :class:`Resolver` per worker. Whoever needs a name :meth:`watches <Resolver.watch>` it and is told
the addresses now and after every change. All watchers of a name share one query and one timer, so a
reload that keeps a name asks nothing. (semantics 11.3, 11.5; hardening 9.16)
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gatewayd.upstream.dns_lookup import HOSTS_TTL_S, Answer, HostsFile, Lookup, choose_lookup

#: Bounds of a TTL (hardening 9.16).
MIN_TTL_S: Final = 1.0
MAX_TTL_S: Final = 3600.0
#: Waits after failures in a row: quick first, then MeshConfig ``dnsRefreshRate`` (semantics 11.5).
RETRY_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
#: How long a name keeps its addresses while name servers say that it has none. As long as they say nothing, it
#: keeps them (hardening 9.16).
STALE_S: Final = 3600.0
#: Names asked for at the same time; the others wait, so that thousands do not drown the name server.
MAX_QUERIES: Final = 64

#: Told the addresses of a name, in the order of the answer; empty means there are none.
OnAddresses = Callable[[list[str]], None]

_log = logging.getLogger("gatewayd.dns")


class Watch:
    """One party's interest in a name. It ends by :meth:`cancel`."""

    __slots__ = ("_callback", "_name")

    def __init__(self, name: _Name | None, callback: OnAddresses) -> None:
        self._name = name
        self._callback: OnAddresses | None = callback

    def cancel(self) -> None:
        """Hear no more. The last watcher of a name takes its timer along."""
        self._callback = None
        name, self._name = self._name, None
        if name is not None:
            name.leave(self)

    def _tell(self, addresses: tuple[str, ...]) -> None:
        if self._callback is not None:
            self._callback(list(addresses))


class NameStatus(NamedTuple):
    """A frozen view of a watched name, for the admin pages."""

    name: str
    addresses: tuple[str, ...]
    failures: int  # in a row
    problem: str  # of the last failure; empty after a success
    watchers: int


class Resolver:
    """The watched names of one worker.

    ``lookup``, ``hosts``, ``clock`` (monotonic seconds) and ``call_later`` are for tests; by default they
    are the system's and the loop's, and c-ares is not even loaded before a name needs it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        lookup: Lookup | None = None,
        hosts: HostsFile | None = None,
        clock: Callable[[], float] | None = None,
        call_later: Callable[[float, Callable[[], None]], Any] | None = None,
    ) -> None:
        self.loop = loop
        self.hosts = HostsFile() if hosts is None else hosts
        self.clock = loop.time if clock is None else clock
        self.call_later = loop.call_later if call_later is None else call_later
        self._lookup = lookup
        self._names: dict[str, _Name] = {}
        self._asking = 0
        self._queue: deque[_Name] = deque()

    def watch(self, name: str, callback: OnAddresses) -> Watch:
        """Tell ``callback`` the addresses of ``name``, now and after every change, until cancelled.

        It is called before this returns when the answer is known: an IP address (with or without
        brackets), a name of the hosts file, or a name another party already watches. It is also called
        with no addresses when the first query fails, and again when a later one succeeds.
        """
        literal = _literal(name)
        if literal:
            watch = Watch(None, callback)
            callback([literal])
            return watch
        key = name.lower()
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = _Name(key, self)
            watch = known.join(callback)
            known.ask()
        else:
            watch = known.join(callback)
            if known.answered:
                callback(list(known.addresses))
        return watch

    def problem(self, name: str) -> str:
        """Why ``name`` could not be resolved last; "" when it could, or nobody watches it."""
        known = self._names.get(name.lower())
        return known.status().problem if known is not None else ""

    def statistics(self) -> list[NameStatus]:
        """The watched names and what is known of them."""
        return [name.status() for name in self._names.values()]

    async def close(self) -> None:
        """Forget all names; no callback is called any more."""
        for name in list(self._names.values()):
            name.stop()
        self._names.clear()
        self._queue.clear()
        if self._lookup is not None:
            await self._lookup.close()
            self._lookup = None

    def query(self, name: _Name) -> None:
        """Ask for ``name``, now or when fewer questions are open."""
        self._queue.append(name)
        self._next()

    def _next(self) -> None:
        if self._asking >= MAX_QUERIES:
            return
        while self._queue:
            name = self._queue.popleft()
            if not name.stopped:
                self._asking += 1
                self._start(name)
                return

    def _start(self, name: _Name) -> None:
        if self._lookup is None:
            self._lookup = choose_lookup(self.loop)

        def done(answer: Answer) -> None:
            self._asking -= 1
            name.take(answer)
            self._next()

        self._lookup.start(name.name, done)

    def forget(self, name: _Name) -> None:
        """Drop a name nobody watches."""
        if self._names.get(name.name) is name:
            del self._names[name.name]


class _Name:
    """One watched name: its watchers, its addresses, and its one query or timer."""

    def __init__(self, name: str, resolver: Resolver) -> None:
        self.name = name
        self.addresses: tuple[str, ...] = ()
        self.answered = False  # the watchers know the addresses, if only that there are none
        self._resolver = resolver
        self._watches: list[Watch] = []
        self._timer: Any = None
        self._failures = 0
        self._problem = ""
        self._keep_until: float | None = (
            None  # clock: since a first denial, when the last addresses are dropped
        )
        self.stopped = False

    def join(self, callback: OnAddresses) -> Watch:
        watch = Watch(self, callback)
        self._watches.append(watch)
        return watch

    def leave(self, watch: Watch) -> None:
        self._watches.remove(watch)
        if not self._watches:
            self.stop()
            self._resolver.forget(self)

    def stop(self) -> None:
        """No more queries; an answer under way is thrown away when it comes."""
        self.stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ask(self) -> None:
        self._timer = None
        listed = self._resolver.hosts.find(self.name)
        if listed:
            self.take(Answer(listed, HOSTS_TTL_S))
        else:
            self._resolver.query(self)

    def take(self, answer: Answer) -> None:
        if self.stopped:
            return
        now = self._resolver.clock()
        if answer.addresses:
            if self._failures:
                _log.info("dns: %s resolves again: %s", self.name, ", ".join(answer.addresses))
            self._failures, self._problem = 0, ""
            ttl_s = min(max(answer.ttl_s, MIN_TTL_S), MAX_TTL_S)
            self._keep_until = None
            self._publish(_usable(answer.addresses))
            wait_s = ttl_s
        else:
            self._failed(answer, now)
            wait_s = RETRY_S[min(self._failures, len(RETRY_S)) - 1]
        if not self.stopped:  # a watcher may have left when it was told
            self._timer = self._resolver.call_later(wait_s, self.ask)

    def _failed(self, answer: Answer, now: float) -> None:
        if not self._failures:
            kept = "keeping the last addresses" if self.addresses else "no address yet"
            _log.warning("dns: cannot resolve %s: %s (%s)", self.name, answer.problem, kept)
        self._failures += 1
        self._problem = answer.problem
        if not self.answered:
            self._publish(())
        elif answer.denied and self.addresses:
            if self._keep_until is None:
                self._keep_until = now + STALE_S
            elif now >= self._keep_until:
                _log.error("dns: %s does not exist since %d s: its addresses are dropped", self.name, STALE_S)
                self._publish(())

    def _publish(self, addresses: tuple[str, ...]) -> None:
        if self.answered and addresses == self.addresses:
            return
        self.answered, self.addresses = True, addresses
        for watch in tuple(self._watches):
            try:
                watch._tell(addresses)
            except Exception as error:  # one watcher's fault must not starve the others
                self._resolver.loop.call_exception_handler(
                    {"message": f"a watcher of {self.name} failed", "exception": error}
                )

    def status(self) -> NameStatus:
        return NameStatus(self.name, self.addresses, self._failures, self._problem, len(self._watches))


def _literal(name: str) -> str:
    """``name`` without brackets if it is an IP address, else empty."""
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return ""
    return bare


def _usable(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """IPv4 first, and without IPv6 addresses this host has no route to, unless there is nothing else.

    Half of the requests to a dual-stack name would otherwise fail to connect on an IPv4-only host.
    """
    v4 = tuple(address for address in addresses if ":" not in address)
    v6 = tuple(address for address in addresses if ":" in address)
    if not v4 or not v6:
        return addresses
    return v4 + tuple(address for address in v6 if _has_route(address))


def _has_route(address: str) -> bool:
    """Ask the kernel's route table; connecting a datagram socket sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
    except OSError:
        return False
    return True
