"""A client that sends exactly the bytes it is given and reports exactly what came back."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.h1_text import Body, Head, Headers, Truncated, read_chunked, read_head, read_sized
from tests.support.recorder import tls_facts
from tests.support.wire import Wire

# How long an answered connection that may stay open is watched for more bytes or its end
OBSERVATION_S = 0.06
TCP_IDLE_S = 0.25
UNREAD_S = 3.0  # how long the rest of a request may take once the response is complete


@dataclass
class Response:
    """One response as it came: ``interim`` are the 1xx before it, ``truncated`` how its body broke off.

    h2_error: the code of the RST_STREAM that broke it off.
    """

    status: int
    version: str
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    interim: list[Head] = field(default_factory=list)
    truncated: str | None = None
    tunnel: bytes = b""
    raw_head: bytes = b""
    h2_error: str = ""

    def values(self, name: str) -> list[str]:
        """All values of a header, names compared without case."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Outcome:
    """What a client saw. ``outcome``: response, data, closed, reset, refused, tls_error, timeout or garbage,
    and for HTTP/2 stream_reset.

    after: "open" or "closed" some time after the last byte, or "data" when bytes came unasked: ``extra``.
    data: what a TCP call got. tls: facts of the handshake. error: words for tls_error and garbage.
    h2_error: the code of the RST_STREAM or GOAWAY that came instead of a response.
    """

    outcome: str
    responses: list[Response] = field(default_factory=list)
    after: str | None = None
    extra: bytes = b""
    data: bytes = b""
    tls: dict[str, str] | None = None
    error: str = ""
    elapsed_ms: float = 0.0
    local_port: int = 0
    h2_error: str = ""

    @property
    def response(self) -> Response:
        """The first response; AssertionError says what came instead."""
        assert self.responses, f"no response but {self.outcome} {self.error}"
        return self.responses[0]


class RawClient:
    """One new connection per call to ``host``:``port``; ``timeout_s`` bounds every silence of the peer."""

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        tls: ssl.SSLContext | None = None,
        sni: str | None = None,
        timeout_s: float = 20.0,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self._tls = tls
        self._sni = sni

    async def http(
        self,
        data: bytes,
        *,
        pieces: Sequence[tuple[float, bytes]] = (),
        responses: int = 1,
        tunnel: bytes | None = None,
        observe_s: float = OBSERVATION_S,
        closes: bool = False,
    ) -> Outcome:
        """Send ``data``, then each of ``pieces`` after its seconds, and read ``responses`` HTTP/1 responses.

        ``closes``: the peer must end the connection after the last one, so it is given ``timeout_s`` for it
        instead of ``observe_s``. ``tunnel`` is sent after a 101; what comes back until
        silence is the response's ``tunnel``.
        """
        began = time.monotonic()
        wire = await connect(self.port, self.host, tls=self._tls, sni=self._sni, timeout_s=self.timeout_s)
        if isinstance(wire, Outcome):
            wire.elapsed_ms = (time.monotonic() - began) * 1000
            return wire
        result = Outcome("response", tls=tls_facts(wire), local_port=wire.local_port)
        try:
            # Sending runs beside reading: an early response must not wait for the rest of the request.
            sending = asyncio.ensure_future(_send_all(wire, data, pieces))
            methods = _methods(data, pieces)
            for index in range(responses):
                method = methods[index] if index < len(methods) else methods[-1] if methods else ""
                if not await self._read_response(wire, method, result):
                    break
            # The peer may answer and never read the rest: do not wait for ever.
            await asyncio.wait({sending}, timeout=UNREAD_S if result.responses else 0)
            sending.cancel()
            if tunnel is not None and result.responses and result.responses[-1].status == 101:
                await _tunnel(wire, tunnel, result, self.timeout_s)
            elif result.responses:
                await _observe(wire, result, self.timeout_s if closes else observe_s)
        finally:
            wire.transport.abort() if wire.ending else wire.close()
        result.elapsed_ms = (time.monotonic() - began) * 1000
        return result

    async def tcp(
        self,
        data: bytes,
        *,
        pieces: Sequence[tuple[float, bytes]] = (),
        half_close: bool = False,
        wait_first: bool = False,
        idle_s: float = TCP_IDLE_S,
        closes: bool = False,
    ) -> Outcome:
        """Send ``data``, then each of ``pieces`` after its seconds; read until the end or ``idle_s`` of silence
        after the first bytes. ``closes``: the peer must end the connection, and is given ``timeout_s`` for it.
        """
        began = time.monotonic()
        wire = await connect(self.port, self.host, tls=self._tls, sni=self._sni, timeout_s=self.timeout_s)
        if isinstance(wire, Outcome):
            wire.elapsed_ms = (time.monotonic() - began) * 1000
            return wire
        result = Outcome("data", tls=tls_facts(wire), local_port=wire.local_port)
        try:
            if wait_first and not wire.buffer:
                await wire.wait_more(self.timeout_s)
            await _send_all(wire, data, pieces)
            if half_close and wire.transport.can_write_eof():
                wire.transport.write_eof()
            if not wire.buffer:
                await wire.wait_more(self.timeout_s)
            while await wire.wait_more(self.timeout_s if closes else idle_s):
                pass
            result.data = bytes(wire.buffer)
            result.after = "closed" if wire.ending else "open"
            if not result.data:
                result.outcome = wire.ending or "timeout"
        finally:
            wire.transport.abort() if wire.ending else wire.close()
        result.elapsed_ms = (time.monotonic() - began) * 1000
        return result

    async def _read_response(self, wire: Wire, method: str, result: Outcome) -> bool:
        """Append the next final response to ``result``; False when the connection carries no further one."""
        interim: list[Head] = []
        while True:
            try:
                head = await read_head(wire, self.timeout_s)
            except Truncated as stop:
                if not result.responses:
                    result.outcome, result.error = (
                        "garbage",
                        f"head broke off ({stop.ending}): {bytes(wire.buffer)!r}",
                    )
                return False
            if head is None:
                if not result.responses:
                    result.outcome, result.error = wire.ending or "timeout", str(wire.failure or "")
                return False
            version, _, rest = head.start_line.partition(" ")
            status = int(rest[:3]) if rest[:3].isdigit() else 0
            if not status or not version.startswith("HTTP/"):
                result.outcome, result.error = "garbage", repr(head.raw)
                return False
            if status >= 200 or status == 101:
                break
            interim.append(head)
        response = Response(status, version, head.headers, interim=interim, raw_head=head.raw)
        result.responses.append(response)
        return await self._read_body(wire, method, head, response)

    async def _read_body(self, wire: Wire, method: str, head: Head, response: Response) -> bool:
        status, body = response.status, Body()
        if method == "HEAD" or status in (101, 204, 304) or (method == "CONNECT" and status < 300):
            return status != 101
        if head.chunked:
            await read_chunked(wire, body, self.timeout_s)
        else:
            await read_sized(wire, body, head.content_length, self.timeout_s)
        response.body, response.trailers, response.truncated = bytes(body.data), body.trailers, body.truncated
        return body.truncated is None


class ClientWire(Wire):
    """A wire of our own making."""

    local_port = 0


async def connect(
    port: int, host: str, *, tls: ssl.SSLContext | None, sni: str | None, timeout_s: float
) -> ClientWire | Outcome:
    """A connection, with its handshake done; an Outcome says why there is none."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, wire = await loop.create_connection(
                ClientWire, host, port, ssl=tls, server_hostname=(sni or "") if tls else None
            )
    except TimeoutError:
        return Outcome("timeout")
    except ssl.SSLError as error:
        ended = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        return Outcome("closed" if ended else "tls_error", error=str(error))
    except ConnectionResetError:
        return Outcome("reset")
    except ConnectionRefusedError:
        return Outcome("refused")
    except ConnectionError as error:
        return Outcome("closed", error=str(error))
    except OSError as error:
        # create_connection folds the failures of several addresses into one OSError without errno.
        refused = error.errno == errno.ECONNREFUSED or "refused" in str(error).lower()
        return Outcome("refused" if refused else "closed", error=str(error))
    wire.local_port = wire.transport.get_extra_info("sockname")[1]
    return wire


async def _send_all(wire: Wire, data: bytes, pieces: Sequence[tuple[float, bytes]]) -> None:
    await wire.send(data)
    for wait_s, piece in pieces:
        await asyncio.sleep(wait_s)
        await wire.send(piece)


def _methods(data: bytes, pieces: Sequence[tuple[float, bytes]]) -> list[str]:
    """Methods of the requests in a byte stream, as far as they can be told (which response has no body)."""
    whole = data + b"".join(piece for _, piece in pieces)
    methods = []
    for line in whole.split(b"\n"):
        words = line.strip().split(b" ")
        if len(words) >= 3 and words[-1].startswith(b"HTTP/"):
            methods.append(words[0].decode("latin-1"))
    return methods


async def _tunnel(wire: Wire, data: bytes, result: Outcome, timeout_s: float) -> None:
    await wire.send(data)
    if not wire.buffer:
        await wire.wait_more(timeout_s)
    while await wire.wait_more(TCP_IDLE_S):
        pass
    result.responses[-1].tunnel = result.extra = bytes(wire.buffer)
    result.after = "closed" if wire.ending else "open"


async def _observe(wire: Wire, result: Outcome, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while wire.ending is None and (left := deadline - time.monotonic()) > 0:
        await wire.wait_more(left)
    result.after = "closed" if wire.ending else "open"
    if wire.buffer and result.responses[-1].truncated is None:
        result.extra, result.after = bytes(wire.buffer), "data"
