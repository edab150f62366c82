"""``python -m tests.support.half_close_stress SECONDS``: relays that half-close, many at a time, on uvloop.

uvloop 0.23.0 corrupts the heap in such relays (the reason for its pin). It runs in a process of its own because
what it watches for is the death of that process. Prints how many relays were completed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

import uvloop

from tests.support.bare_sockets import Net
from tests.support.in_process import InProcess, request

WIDTH = 64
UPGRADE = request(headers=["Connection: Upgrade", "Upgrade: websocket"])
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def _upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers 101, echoes until the client ends, then says how much it was and ends as well."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        if random.random() < 0.3:
            writer.write(b"0" * 20)
            writer.write_eof()  # ends first, reads on
            await reader.read()
        else:
            data = await reader.read()
            writer.write(b"%020d" % len(data))
            writer.write_eof()
            if random.random() < 0.2:
                writer.transport.abort()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _relay(net: Net, port: int) -> bool:
    client = await net.connect(port)
    client.send(UPGRADE)
    await client.receive(b"\r\n\r\n")
    for _ in range(random.randrange(4)):
        client.send(b"x" * random.randrange(1, 20_000))
    client.half_close()
    try:
        return len(await client.rest()) >= 20
    except ConnectionError:
        return False
    finally:
        client.close()


async def main(seconds: float) -> None:
    server = await asyncio.start_server(_upstream, "127.0.0.1", 0, backlog=256)
    done = 0
    ends_at = time.monotonic() + seconds
    with Net() as net:
        async with InProcess([server.sockets[0].getsockname()[1]]) as proxy:

            async def worker() -> None:
                nonlocal done
                while time.monotonic() < ends_at:
                    good = await _relay(net, proxy.port)
                    done += good  # not in one line: the sum would be read before the wait

            await asyncio.gather(*(worker() for _ in range(WIDTH)))
            await proxy.until(lambda: not proxy.connections)
            proxy.failures.clear()  # of the upstream's own streams
    server.close()
    print(done)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(float(sys.argv[1])))
