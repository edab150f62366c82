"""Finished requests as they end, for whoever wants to watch. Costs nothing while nobody does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from gatewayd.observe.batches import Batches
from gatewayd.observe.flags import explained
from gatewayd.observe.redaction import shown_fields, shown_target
from gatewayd.observe.stream_info import StreamInfo

#: Rows a second for one who watches.
LIMIT: Final = 100
MAX_LIMIT: Final = 1000

Put = Callable[[dict[str, Any]], None]


class Filter:
    """What is asked for; see :data:`PARAMETERS`. Raises ValueError, in words for the user."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._method = str(wanted.get("method", "")).upper().encode()
        self._host = str(wanted.get("host", "")).lower().encode()
        self._path = str(wanted.get("path", "")).encode()
        self._cluster = str(wanted.get("cluster", ""))
        self._statuses = _statuses(str(wanted.get("status", "")))
        self._min_s = _number("min_ms", wanted.get("min_ms", "0"), 1e9) / 1000.0
        self.headers = str(wanted.get("headers", "0")) not in ("0", "false", "no")
        self.limit = int(_number("limit", wanted.get("limit", str(LIMIT)), MAX_LIMIT))

    def takes(self, info: StreamInfo) -> bool:
        """Whether ``info`` is asked for."""
        if self._statuses is not None and info.status not in self._statuses:
            return False
        if self._method and info.method != self._method:
            return False
        if self._path and not info.path.startswith(self._path):
            return False
        if self._cluster and self._cluster not in info.upstream_cluster:
            return False
        if self._min_s and info.finished_at - info.started_at < self._min_s:
            return False
        if self._host:
            request = info.request
            return request is not None and _host(request.authority) == self._host
        return True


#: Parameter -> help.
PARAMETERS: Final = {
    "method": "Only this method",
    "host": "Only this host, without its port",
    "path": "Only paths that begin so",
    "status": "Only this status, 404, or class, 5xx; 0: no answer",
    "cluster": "Only clusters with this in their names",
    "min_ms": "Only requests that took so many milliseconds",
    "headers": "Request headers as well, secrets taken out",
    "limit": f"At most so many a second, {LIMIT} unless said; what is beyond is counted",
}


def _number(name: str, value: Any, highest: float) -> float:
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= highest:
        raise ValueError(f"{name}={text}: expected a number from 0 to {highest:g}")
    return number


def _statuses(text: str) -> frozenset[int] | None:
    if not text:
        return None
    found: set[int] = set()
    for part in text.split(","):
        word = part.strip().lower()
        if len(word) == 3 and word[0].isdigit() and word[1:] == "xx":
            found.update(range(int(word[0]) * 100, int(word[0]) * 100 + 100))
        elif word.isascii() and word.isdigit() and len(word) <= 3:
            found.add(int(word))
        else:
            raise ValueError(f"status={text}: expected a status such as 404, or a class such as 5xx")
    return frozenset(found)


def _host(authority: bytes) -> bytes:
    host, colon, port = authority.rpartition(b":")
    return (host if colon and port.isdigit() else authority).lower()


class Allowance:
    """So many rows a second; what is beyond is counted, and told to ``put`` in a later second."""

    __slots__ = ("_dropped", "_limit", "_put", "_room", "_second")

    def __init__(self, limit: int, put: Put) -> None:
        self._limit = limit
        self._put = put
        self._second = 0
        self._room = 0
        self._dropped = 0

    def look(self) -> None:
        """Whether a second is over; before rows are taken."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._room = second, self._limit
            if self._dropped:
                self._put({"dropped": self._dropped})
                self._dropped = 0

    def take(self) -> bool:
        """Whether there is room for one more."""
        if self._room > 0:
            self._room -= 1
            return True
        self._dropped += 1
        return False


class _Watcher:
    __slots__ = ("_allowance", "_filter", "_put")

    def __init__(self, wanted: Filter, put: Put) -> None:
        self._filter = wanted
        self._put = put
        self._allowance = Allowance(wanted.limit, put)

    def take(self, batch: Sequence[StreamInfo]) -> None:
        wanted, allowance = self._filter, self._allowance
        allowance.look()
        for info in batch:
            if wanted.takes(info) and allowance.take():
                self._put(row_of(info, headers=wanted.headers))


class Tap:
    """Who watches the exchanges of a worker."""

    def __init__(self, finished: Batches) -> None:
        self._finished = finished
        self._watchers: list[_Watcher] = []

    def listen(self, wanted: Mapping[str, Any], put: Put) -> Callable[[], None]:
        """Give what is ``wanted`` to ``put`` until the function returned is called. Raises ValueError."""
        watcher = _Watcher(Filter(wanted), put)
        self._finished.takers.append(watcher.take)
        self._watchers.append(watcher)

        def leave() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
                self._finished.takers.remove(watcher.take)

        return leave


def row_of(info: StreamInfo, *, headers: bool = False) -> dict[str, Any]:
    """A finished exchange or connection as plain data, secrets taken out."""
    request = info.request
    route = info.route
    source = route.source if route is not None else None
    row: dict[str, Any] = {
        "at": round(info.started_wall + (info.finished_at - info.started_at), 3),
        "method": info.method.decode("latin-1"),
        "authority": request.authority.decode("latin-1") if request is not None else "",
        "path": shown_target(info.path),
        "protocol": info.protocol.decode("latin-1"),
        "status": info.status,
        "flags": info.flags,
        "details": info.details,
        "why": explained(info.flags),
        "duration_ms": round((info.finished_at - info.started_at) * 1000, 3),
        "upstream_ms": round((info.responded_at - info.started_at) * 1000, 3) if info.responded_at else None,
        "bytes_received": info.bytes_received,
        "bytes_sent": info.bytes_sent,
        "client": info.connection.remote_ip,
        "server_name": info.connection.requested_server_name,
        "chain": info.connection.chain,
        "cluster": info.upstream_cluster,
        "upstream": info.upstream_host,
        "attempts": info.attempts,
        "request_id": info.request_id.decode("latin-1"),
        "rule": source.title if source else "",
        "place": f"{source.file}:{source.line}" if source and source.file else "",
    }
    if headers and request is not None:
        row["headers"] = shown_fields(request.fields.pairs)
    return row
