"""A TCP service that is not HTTP: every line is answered with the service's name and the line.

``quit`` ends the conversation, as does the client's end of sending. A first line that announces the client
(PROXY protocol) is a line like any other, so that one sees it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

_MAX_LINE_BYTES: Final = 64 * 1024
_IDLE_S: Final = 300.0


async def serve_lines(
    name: str, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Start serving; port 0 takes a free one."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _converse(name, reader, writer)
        except (OSError, ValueError):
            pass  # the peer left, said nothing for minutes, or sent a line without an end
        except asyncio.CancelledError:
            pass  # the program ends; asyncio's own callback would print a cancelled task as an error
        finally:
            writer.close()

    return await asyncio.start_server(connected, host, port, limit=_MAX_LINE_BYTES, ssl=tls)


async def _converse(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        async with asyncio.timeout(_IDLE_S):
            line = await reader.readline()
        if not line:
            return
        text = line.rstrip(b"\r\n")
        if text == b"quit":
            return
        writer.write(b"%s: %s\n" % (name.encode(), text))
        await writer.drain()
