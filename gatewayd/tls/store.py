"""The contexts in use: one holder per spec, refreshed when its credentials change (semantics 3.13).

A holder is given out once and never replaced: chains and clusters keep it and look at ``context`` when a connection
comes. A new context is built first and put in its place by one assignment, so no handshake ever meets half of one. A
credential that has become unusable leaves the context it had in use; one that was missing starts to work when it
appears. Contexts of connections that are open stay with them.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from gatewayd.findings import Level
from gatewayd.tls.credentials import CredentialSource, files_of
from gatewayd.tls.dates import DAY_S, when
from gatewayd.tls.material import Material, MaterialError
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec

if TYPE_CHECKING:  # see gatewayd/tls/__init__.py
    from gatewayd.tls.inspect import Leaf

_log = logging.getLogger("gatewayd.tls")

SpecT = TypeVar("SpecT", ServerTlsSpec, ClientTlsSpec)
#: How long before its end a certificate is spoken of.
SOON_DAYS: Final = 30.0
#: Lines in the log for one refresh; a broken folder may hurt thousands of servers.
_MAX_LOGGED: Final = 20


class Holder(Generic[SpecT]):
    """What became of one spec. Read ``context`` for each new connection; None: nothing can be served."""

    __slots__ = ("context", "leaves", "material_digest", "problem", "spec")

    def __init__(self, spec: SpecT) -> None:
        self.spec: SpecT = spec
        #: what the builder made; None when there is none
        self.context: Any = None
        #: why there is no context, or why the one in use is not the newest; empty when all is well
        self.problem = ""
        #: SHA-256 of the PEM behind ``context``, hex; empty without one
        self.material_digest = ""
        #: the certificates behind ``context``, one per pair
        self.leaves: tuple[Leaf, ...] = ()

    def __repr__(self) -> str:
        state = "in use" if self.context is not None else "no context"
        problem = f", {self.problem}" if self.problem else ""
        return f"<{type(self).__name__} {self.spec.owner}: {state}{problem}>"


class ServerTls(Holder[ServerTlsSpec]):
    """TLS of a listener's filter chain."""

    __slots__ = ()


class ClientTls(Holder[ClientTlsSpec]):
    """TLS towards the endpoints of a cluster."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to say about a certificate, for a finding at the place its spec comes from."""

    level: Level
    code: str
    message: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh came to: owners whose context is new, and those whose problem is new."""

    renewed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.renewed or self.broken)


class TlsStore:
    """All holders of a process.

    ``build_server(spec, material)`` and ``build_client(spec, material)`` make contexts and raise
    :class:`MaterialError`. ``now_s`` is the time of day in seconds since 1970. Safe to call from several threads: a
    refresh runs beside the loop.
    """

    def __init__(
        self,
        credentials: CredentialSource,
        build_server: Callable[[ServerTlsSpec, Material], Any],
        build_client: Callable[[ClientTlsSpec, Material], Any],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.credentials = credentials
        self._build_server = build_server
        self._build_client = build_client
        self._now_s = now_s
        self._servers: dict[ServerTlsSpec, ServerTls] = {}
        self._clients: dict[ClientTlsSpec, ClientTls] = {}
        self._lock = threading.Lock()
        #: told what a refresh came to, if that is anything; in the thread of the refresh
        self.told: Callable[[Refreshed], Any] = lambda _: None

    def __repr__(self) -> str:
        return f"<TlsStore {len(self._servers)} servers, {len(self._clients)} clients>"

    def server(self, spec: ServerTlsSpec) -> ServerTls:
        """The holder of ``spec``, loaded when it is new. Never raises for a credential: see ``problem``."""
        with self._lock:
            holder = self._servers.get(spec)
            if holder is None:
                holder = self._servers[spec] = ServerTls(spec)
                self._update(holder)
            return holder

    def client(self, spec: ClientTlsSpec) -> ClientTls:
        """The holder of ``spec``, loaded when it is new. Never raises for a credential: see ``problem``."""
        with self._lock:
            holder = self._clients.get(spec)
            if holder is None:
                holder = self._clients[spec] = ClientTls(spec)
                self._update(holder)
            return holder

    def settle(self) -> None:
        """Loading is over: let go of keys and files that were kept to read each only once."""
        with self._lock:
            self.credentials.settle()

    def retain(self, used: Iterable[ServerTls | ClientTls]) -> None:
        """Forget every holder that is not ``used``. Connections that have its context keep it."""
        keep = {id(holder) for holder in used}
        with self._lock:
            self._servers = {spec: held for spec, held in self._servers.items() if id(held) in keep}
            self._clients = {spec: held for spec, held in self._clients.items() if id(held) in keep}

    @property
    def holders(self) -> tuple[ServerTls | ClientTls, ...]:
        """All holders, servers first."""
        return (*self._servers.values(), *self._clients.values())

    def files(self) -> frozenset[str]:
        """The paths that specs name themselves, to be watched beside the folders of secrets."""
        return frozenset(path for holder in self.holders for path in files_of(holder.spec))

    # What there is to say

    def problems(self) -> list[tuple[str, str]]:
        """(owner, problem) of every holder that is not as it should be."""
        return [(holder.spec.owner, holder.problem) for holder in self.holders if holder.problem]

    def problem_of(self, spec: ServerTlsSpec | ClientTlsSpec) -> str:
        """Why ``spec`` cannot be served as it should be; empty when it can, or was never asked for."""
        holder = self._find(spec)
        return "" if holder is None else holder.problem

    def expiring(self, within_days: float = SOON_DAYS) -> list[tuple[str, Remark]]:
        """(owner, remark) of every certificate in use that ends within so many days, or has ended.

        One that has expired is an error although it is served, as Envoy serves it: clients will refuse it.
        """
        now_s = self._now_s()
        return [
            (holder.spec.owner, remark)
            for holder in self.holders
            for leaf in holder.leaves
            if (remark := expiry(leaf, now_s, within_days))
        ]

    def _find(self, spec: ServerTlsSpec | ClientTlsSpec) -> ServerTls | ClientTls | None:
        return self._servers.get(spec) if isinstance(spec, ServerTlsSpec) else self._clients.get(spec)

    # Changes

    def refresh(self) -> Refreshed:
        """Read everything again and put new contexts in the place of those whose PEM has changed.

        May take long with thousands of certificates: call it in a thread. Nothing is dropped: see :meth:`retain`.
        """
        with self._lock:
            self.credentials.read_again()
            renewed: list[str] = []
            broken: list[str] = []
            for holder in self.holders:
                problem = holder.problem
                if self._update(holder):
                    renewed.append(holder.spec.owner)
                elif holder.problem and holder.problem != problem:
                    broken.append(holder.spec.owner)
            self.credentials.settle()
        return self._logged(Refreshed(tuple(renewed), tuple(broken)))

    def _update(self, holder: ServerTls | ClientTls) -> bool:
        """Load and build; whether there is a new context."""
        try:
            loaded = self.credentials.load(holder.spec)
            digest = _digest(loaded.material)
            if digest == holder.material_digest:
                holder.problem = ""
                return False
            context = self._build(holder.spec, loaded.material)
        except MaterialError as error:
            holder.problem = str(error)
            return False
        except (
            ValueError,
            OSError,
        ) as error:  # ssl.SSLError is an OSError: one server's trouble, not everybody's
            holder.problem = f"the certificates cannot be used: {error}"
            return False
        holder.context = context
        holder.material_digest = digest
        holder.leaves = loaded.leaves
        holder.problem = ""
        return True

    def _build(self, spec: ServerTlsSpec | ClientTlsSpec, material: Material) -> Any:
        if isinstance(spec, ServerTlsSpec):
            return self._build_server(spec, material)
        return self._build_client(spec, material)

    def _logged(self, refreshed: Refreshed) -> Refreshed:
        problems = dict(self.problems())
        for owner in refreshed.renewed[:_MAX_LOGGED]:
            _log.info("%s: new certificates are in use", owner)
        for owner in refreshed.broken[:_MAX_LOGGED]:
            _log.error("%s: new certificates are not used: %s", owner, problems.get(owner, ""))
        more = max(0, len(refreshed.renewed) - _MAX_LOGGED) + max(0, len(refreshed.broken) - _MAX_LOGGED)
        if more:
            _log.warning("and %d more with new certificates or new problems", more)
        if refreshed:
            self.told(refreshed)
        return refreshed


def _digest(material: Material) -> str:
    digest = hashlib.sha256()
    for part in _parts(material):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _parts(material: Material) -> Iterator[bytes]:
    for pair in material.pairs:
        yield from (pair.certificate, pair.private_key, pair.ocsp_staple)
    yield from (material.ca, material.crl)


def expiry(leaf: Leaf, now_s: float, within_days: float = SOON_DAYS) -> Remark | None:
    """What to say about the dates of a certificate; None when it is valid for long enough."""
    left = (leaf.not_after_s - now_s) / DAY_S
    if left > within_days and leaf.not_before_s <= now_s:
        return None
    facts = leaf.facts
    the_certificate = f'the certificate of "{facts.title}"'
    if left <= 0:
        message = f"{the_certificate} has expired, on {when(facts.not_after)}"
        return Remark(
            "error", "GWD0107", message, "it is used all the same; whoever checks it will refuse it"
        )
    if leaf.not_before_s > now_s:
        message = f"{the_certificate} is not valid before {when(facts.not_before)}"
        return Remark(
            "warning", "GWD0107", message, "it is used all the same; whoever checks it will refuse it"
        )
    days = round(left)
    time_left = "in less than a day" if left < 1 else "in a day" if days == 1 else f"in {days} days"
    message = f"{the_certificate} expires {time_left}, on {when(facts.not_after)}"
    return Remark("warning", "GWD0107", message)
