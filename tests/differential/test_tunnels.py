"""Tunnels through an HTTP proxy beside the real Envoy 1.40 (semantics 10.10): random answers, bytes and ends.

Both are given the same sessions, drawn from a recorded seed; what the proxy behind them is asked and gets, what the
client gets and how it ends, and what the log says must agree. How bytes are cut into chunks may differ. Left out are
answers to POST whose body comes to its end before the request's: this Envoy does not survive them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gatewayd.http.h1.chunked import ChunkedReader
from gatewayd.http.limits import HttpLimits
from gatewayd.routing.l4 import TcpRoute, Tunnel
from tests.differential.envoy import EnvoyProcess, cluster
from tests.support.tcp_in_process import TcpInProcess, tcp_route

SEED = 20261120
SESSIONS = 120
_LOG = {
    "flags": "%RESPONSE_FLAGS%",
    "reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
}
_ANY = "type.googleapis.com/envoy.extensions."
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Session:
    """What the proxy answers, what goes through, and who ends it."""

    status: int
    interim: int
    answer_pieces: tuple[int, ...]
    chunked: bool
    up: bytes
    down: bytes
    client_ends: bool

    @classmethod
    def draw(cls, random: Random, *, post: bool) -> Session:
        good = [200, 200, 200, 201, 299] if post else [200, 200, 200, 204, 299]
        chunked = post and random.random() < 0.5
        return cls(
            random.choice([*good, *good, 101, 302, 403, 407, 500, 503]),
            random.choice([0, 0, 0, 1, 2]),
            tuple(sorted(random.sample(range(1, 40), random.choice([0, 0, 1, 2])))),
            chunked,
            random.randbytes(random.choice([0, 1, 17, 3000, 70_000])),
            random.randbytes(random.choice([0, 1, 17, 3000, 70_000])),
            random.random() < 0.5 or (post and not chunked),
        )

    @property
    def opens(self) -> bool:
        return 200 <= self.status < 300

    def answer(self) -> bytes:
        framing = b"transfer-encoding: chunked\r\n" if self.chunked else b""
        if not self.opens:
            framing = b"content-length: 0\r\n"
        return b"HTTP/1.1 100 Continue\r\n\r\n" * self.interim + b"HTTP/1.1 %d Word\r\n%b\r\n" % (
            self.status,
            framing,
        )


class Proxy:
    """What stands behind both: plays one session at a time and notes what it sees."""

    def __init__(self, *, post: bool) -> None:
        self.session: Session
        self.seen: asyncio.Future[tuple[bytes, bytes, bool]]
        self.port = 0
        self._post = post

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session, seen = self.session, self.seen
        head = await reader.readuntil(b"\r\n\r\n")
        answer, at = session.answer(), 0
        for piece in (*session.answer_pieces, len(answer)):
            writer.write(answer[at:piece])
            await writer.drain()
            await asyncio.sleep(0.002)
            at = piece
        payload, complete = b"", False
        if session.opens:
            reading = ChunkedReader(HttpLimits())
            down = session.down
            if session.chunked and down:
                down = b"%x\r\n%b\r\n" % (len(down), down)
            while len(payload) < len(session.up):
                data = await reader.read(65536)
                if not data:
                    break
                payload += reading.feed(data) if self._post else data
            writer.write(down)
            await writer.drain()
            if session.client_ends:
                rest = await _rest(reader)
                payload += reading.feed(rest) if self._post else rest
                complete = reading.done
        else:
            payload = await _rest(reader)
        writer.close()
        seen.set_result((head, payload, complete))


async def _rest(reader: asyncio.StreamReader) -> bytes:
    data = b""
    try:
        while piece := await reader.read(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


async def play(port: int, proxy: Proxy, session: Session) -> dict[str, Any]:
    """One session through the gateway on ``port``; what everybody saw."""
    proxy.session = session
    proxy.seen = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(session.up)
        got, end = b"", "end"
        try:
            if session.opens:
                got = await reader.readexactly(len(session.down))
                if session.client_ends:
                    writer.close()
                    end = "its own"
                else:
                    got += await reader.read()
            else:
                got = await reader.read()
        except ConnectionResetError:
            end = "reset"
        writer.close()
        head, payload, complete = await proxy.seen
    return {"head": head, "payload": payload, "complete": complete, "got": got, "end": end}


class TcpEnvoy(EnvoyProcess):
    """An Envoy whose listener is a TCP proxy through a tunnel."""

    def __init__(self, port: int, tunnel: Tunnel) -> None:
        super().__init__([], [cluster("proxy", [port])])
        file = {"@type": _ANY + "access_loggers.file.v3.FileAccessLog", "path": str(self._log)}
        proxy = {
            "@type": _ANY + "filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": "proxy",
            "tunneling_config": {"hostname": tunnel.authority.decode(), "use_post": tunnel.post},
            "access_log": [{"name": "file", "typed_config": {**file, "log_format": {"json_format": _LOG}}}],
        }
        (chain,) = self._settings["static_resources"]["listeners"][0]["filter_chains"]
        chain["filters"] = [{"name": "tcp", "typed_config": proxy}]


def _through(tunnel: Tunnel) -> Callable[[Any], TcpRoute]:
    return lambda cluster: tcp_route(cluster, tunnel=tunnel)


def _logged(record: Any) -> dict[str, Any]:
    return {
        "flags": record.flags or "-",
        "reason": record.transport_failure or None,
        "received": record.bytes_received,
        "sent": record.bytes_sent,
    }


@pytest.mark.parametrize("post", [False, True], ids=["CONNECT", "POST"])
async def test_sessions_through_a_tunnel_are_what_they_are_with_envoy(post: bool, tmp_path: Path) -> None:
    tunnel = Tunnel(b"target.test:443", post=post)
    random = Random(SEED + post)
    sessions = [Session.draw(random, post=post) for _ in range(SESSIONS)]
    async with (
        Proxy(post=post) as proxy,
        TcpEnvoy(proxy.port, tunnel) as envoy,
        TcpInProcess([proxy.port], route=_through(tunnel)) as ours,
    ):
        for number, session in enumerate(sessions, 1):
            theirs = await play(envoy.port, proxy, session)
            mine = await play(ours.port, proxy, session)
            assert mine == theirs, f"session {number}: {session}"
            await ours.logged(number)
        records = await envoy.records(SESSIONS)
        for session, record, logged in zip(sessions, ours.records, records, strict=True):
            assert _logged(record) == logged, session
