"""Ways to ask for the addresses of a name, once: the hosts file, c-ares, or the system's resolver.

Each is a :class:`Lookup`: started with a name, it calls back on the event loop, later, exactly once.
``upstream/dns.py`` decides when to ask; this module only asks. Nothing here blocks the loop: c-ares runs
its own thread, and ``getaddrinfo`` runs in the loop's executor.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

#: How long an answer without a TTL is believed: MeshConfig ``dnsRefreshRate`` (semantics 11.5).
NO_TTL_S: Final = 60.0
#: How long an answer of the hosts file is believed: a look at it costs one ``stat``.
HOSTS_TTL_S: Final = 5.0
#: One try of one server, and tries in all, as c-ares counts them.
_TRY_TIMEOUT_S: Final = 2.0
_TRIES: Final = 2
#: ``ARES_AI_NOSORT``: keep the server's order and do not probe the addresses.
_ARES_NO_SORT: Final = 1 << 7
#: ``ARES_ENODATA`` and ``ARES_ENOTFOUND``.
_ARES_DENIALS: Final = frozenset({1, 4})
_SYSTEM_DENIALS: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})

HOSTS_FILE: Final = Path("/etc/hosts")
RESOLV_CONF: Final = Path("/etc/resolv.conf")


class Answer(NamedTuple):
    """The addresses of a name in the order given; none of them means ``problem`` says why."""

    addresses: tuple[str, ...]
    ttl_s: float
    problem: str = ""
    #: a name server said that there are none; otherwise nothing is known of the name
    denied: bool = False


class Lookup(Protocol):
    """One way to ask."""

    def start(self, name: str, done: Callable[[Answer], None]) -> None:
        """Ask for A and AAAA of ``name``; ``done`` is called once, from the loop, not from here."""

    async def close(self) -> None:
        """Give up what is under way and free the resources."""


class HostsFile:
    """The system's hosts file, read again when it changes. ``localhost`` is known without it."""

    def __init__(self, path: Path = HOSTS_FILE) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def find(self, name: str) -> tuple[str, ...]:
        """The addresses the file gives ``name`` (any case, with or without a final dot); often none."""
        self._refresh()
        key = name.lower().removesuffix(".")
        found = self._names.get(key)
        if found is None and (key == "localhost" or key.endswith(".localhost")):
            return self._names.get("localhost", ("127.0.0.1",))  # RFC 6761: never asked of a server
        return found or ()

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            self._stamp, self._names = None, {}
            return
        names: dict[str, list[str]] = {}
        for line in text.splitlines():
            address, *aliases = line.partition("#")[0].split() or [""]
            if _is_address(address):
                for alias in aliases:
                    listed = names.setdefault(alias.lower(), [])
                    if address not in listed:
                        listed.append(address)
        self._stamp = stamp
        self._names = {alias: tuple(listed) for alias, listed in names.items()}


class AresLookup:
    """c-ares by way of aiodns: real TTLs, search domains, and a server list that follows the system's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        nameservers: list[str] | None = None,
        tries: int = _TRIES,
        timeout_s: float = _TRY_TIMEOUT_S,
    ) -> None:
        import aiodns  # here because it costs 15 MB, and most workers resolve nothing

        self._resolver: Any = aiodns.DNSResolver(
            nameservers, loop=loop, timeout=timeout_s, tries=tries, lookups="b"
        )

    def start(self, name: str, done: Callable[[Answer], None]) -> None:
        """Ask the system's name servers."""
        try:
            future = self._resolver.getaddrinfo(name, family=socket.AF_UNSPEC, flags=_ARES_NO_SORT)
        except (ValueError, OSError) as refusal:  # a name that cannot be put in a question
            problem = str(refusal)
            asyncio.get_running_loop().call_soon(lambda: done(Answer((), 0.0, problem)))
            return
        future.add_done_callback(lambda finished: done(_ares_answer(finished)))

    async def close(self) -> None:
        """Cancel the open questions and end the channel's thread."""
        await self._resolver.close()


def _ares_answer(future: asyncio.Future[Any]) -> Answer:
    if future.cancelled():
        return Answer((), 0.0, "cancelled")
    error = future.exception()
    if error is not None:
        denied = bool(error.args) and error.args[0] in _ARES_DENIALS
        return Answer((), 0.0, str(error.args[-1] if error.args else error), denied)
    nodes = future.result().nodes
    if not nodes:
        return Answer((), 0.0, "no address", denied=True)
    addresses = (_text(node.addr[0]) for node in nodes)
    return Answer(tuple(dict.fromkeys(addresses)), float(min(node.ttl for node in nodes)))


def _text(address: bytes | str) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address


class SystemLookup:
    """``getaddrinfo`` in the loop's executor: whatever the system knows, but no TTLs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def start(self, name: str, done: Callable[[Answer], None]) -> None:
        """Ask the C library."""
        future = self._loop.run_in_executor(None, _system_answer, name)
        future.add_done_callback(lambda finished: None if finished.cancelled() else done(finished.result()))

    async def close(self) -> None:
        """Nothing is held; a call under way ends in its thread."""


def _system_answer(name: str) -> Answer:
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        denied = isinstance(error, socket.gaierror) and error.errno in _SYSTEM_DENIALS
        return Answer((), 0.0, getattr(error, "strerror", None) or str(error), denied)
    return Answer(tuple(dict.fromkeys(str(row[4][0]) for row in rows)), NO_TTL_S)


def choose_lookup(loop: asyncio.AbstractEventLoop, resolv_conf: Path = RESOLV_CONF) -> Lookup:
    """c-ares, or the C library where aiodns cannot be loaded or the system names no server."""
    if _names_a_server(resolv_conf):
        try:
            return AresLookup(loop)
        except Exception:  # no wheel, no inotify watch, no thread: all mean "not here"
            return SystemLookup(loop)
    return SystemLookup(loop)


def _names_a_server(resolv_conf: Path) -> bool:
    try:
        lines = resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(len(words := line.split()) > 1 and words[0] == "nameserver" for line in lines)


def _is_address(text: str) -> bool:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        socket.inet_pton(family, text.partition("%")[0])
    except OSError:
        return False
    return True
