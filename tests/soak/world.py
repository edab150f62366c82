"""What clients need to know, and what they report: who was lost, and whether somebody is excused for it."""

from __future__ import annotations

import itertools
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

#: Failures that are told in words; all are counted.
_SHOWN = 20


@dataclass
class World:
    """Shared by the clients and by who does things to the service. Versions are those of the configuration."""

    http: int
    https: int
    tcp: int
    trust: ssl.SSLContext
    #: the same, offering HTTP/2
    trust_http2: ssl.SSLContext
    rng: random.Random
    #: no answer may come from a configuration older than this one, or newer than that one
    oldest: int = 0
    newest: int = 0
    #: clients end after what they are doing
    done: bool = False
    #: the service takes no more connections, and ends those that are there
    draining: bool = False
    #: when a worker was killed that had the connection from a local port, and when the last one from there began
    killed: dict[int, float] = field(default_factory=dict)
    began: dict[int, float] = field(default_factory=dict)
    #: until when upstreams were down, those that were killed (monotonic)
    upstreams_down: dict[str, float] = field(default_factory=dict)
    #: serial numbers of certificates, in the order in which connections saw them
    serials: list[int] = field(default_factory=list)
    #: messages answered as they should be, by kind
    answered: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    lost_count: int = 0
    _ids: Any = field(default_factory=itertools.count)
    _request_ids: set[str] = field(default_factory=set)

    def upstream_died(self, name: str, since: float) -> bool:
        """Whether the upstream ``name`` (empty: any) was down at the time ``since`` or after it."""
        times = self.upstreams_down
        return max((at for one, at in times.items() if name in ("", one)), default=0.0) >= since

    def worker_died(self, port: int) -> bool:
        """Whether a worker was killed that had the connection from the local ``port``."""
        return self.killed.get(port, 0.0) > self.began.get(port, 0.0)

    def message(self, largest: int = 20_000) -> tuple[str, bytes]:
        """An id that nobody else has, and a body that shows it throughout."""
        number = f"id-{next(self._ids)}"
        size = self.rng.choice((0, 1, 100, 1500, largest))
        text = f"{number}.".encode()
        return number, (text * (size // len(text) + 1))[:size] if size else b""

    def unique(self, request_id: str) -> bool:
        """Whether no other request had the id that the proxy gave to this one."""
        if request_id in self._request_ids:
            return False
        self._request_ids.add(request_id)
        return True

    def lose(self, what: str) -> None:
        """A message did not come back, or not as it should have."""
        self.lost_count += 1
        if len(self.lost) < _SHOWN:
            self.lost.append(f"{time.strftime('%H:%M:%S')} {what}")

    def broken(self, kind: str, port: int, what: str, *, told: bool = False) -> None:
        """A connection from the local ``port`` broke in the middle of a message.

        ``told``: the service would have said that the connection ends (GOAWAY), so that a drain is no excuse.
        """
        if self.worker_died(port):
            self.excused[f"{kind} of a killed worker"] += 1
        elif self.draining and not told:
            self.excused[f"{kind} at the drain"] += 1
        else:
            self.lose(f"{kind} from port {port}: {what}")


#: A client: runs until ``world.done``.
Client = Callable[[World], Coroutine[Any, Any, None]]
