"""Both ends of the TCP scenarios, as plain as can be: an upstream that echoes or sends, a client that plays ping-pong.

python -m benchmarks.macro.tcp_peers echo PORT                          sends back whatever comes
python -m benchmarks.macro.tcp_peers send PORT BYTES                    sends so many bytes to whoever connects
python -m benchmarks.macro.tcp_peers pingpong PORT CONNECTIONS SECONDS [SNI]   prints a line of JSON
python -m benchmarks.macro.tcp_peers take PORT BYTES                    the same for one bulk transfer
"""

import contextlib
import json
import os
import select
import socket
import ssl
import sys
import tempfile
import threading
import time

MESSAGE = b"0123456789abcdef" * 4
READ_BYTES = 1 << 20


def client_hello(server_name: str) -> bytes:
    """The first bytes of a TLS connection to ``server_name``."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback."""
    return socket.create_server(("127.0.0.1", port), backlog=1024)


def echo(port: int) -> None:
    """Serve for ever, one message at a time."""
    listener = listen(port)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    open_sockets: dict[int, socket.socket] = {}
    while True:
        for number, _ in poll.poll():
            client = open_sockets.get(number)
            if client is None:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_sockets[client.fileno()] = client
                poll.register(client, select.EPOLLIN)
                continue
            try:
                data = client.recv(65536)
                if data:
                    client.send(data)
                    continue
            except OSError:
                pass
            poll.unregister(client)
            del open_sockets[number]
            client.close()


def send(port: int, count: int) -> None:
    """Serve for ever: ``count`` bytes of a sparse file for each connection."""
    listener = listen(port)
    with tempfile.TemporaryFile() as file:
        file.truncate(count)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_send_one, args=(client, file.fileno(), count), daemon=True).start()


def _send_one(client: socket.socket, file: int, count: int) -> None:
    offset = 0
    with client:
        try:
            while offset < count:
                offset += os.sendfile(client.fileno(), file, offset, min(READ_BYTES, count - offset))
        except OSError:
            return


def pingpong(port: int, connections: int, seconds: float, server_name: str = "") -> dict[str, float]:
    """Each connection sends a message when the last one has come back; counts round trips and their errors."""
    poll = select.epoll()
    open_sockets: dict[int, socket.socket] = {}
    hello = client_hello(server_name) if server_name else b""
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hello:
            _exchange(sock, hello)
        open_sockets[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    for sock in open_sockets.values():
        sock.send(MESSAGE)
    began = time.monotonic()
    ends_at = began + seconds
    count = errors = 0
    while time.monotonic() < ends_at and open_sockets:
        for number, _ in poll.poll(1):
            sock = open_sockets[number]
            if sock.recv(4096) != MESSAGE:
                errors += 1
                poll.unregister(sock)
                open_sockets.pop(number).close()
                continue
            count += 1
            sock.send(MESSAGE)
    return {"count": count, "errors": errors, "seconds": time.monotonic() - began}


def _exchange(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    back = b""
    while len(back) < len(data):
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("ended")
        back += piece


def take(port: int, count: int) -> dict[str, float]:
    """Read one connection to its end."""
    began = time.monotonic()
    buffer = bytearray(READ_BYTES)
    got = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        while size := sock.recv_into(buffer):
            got += size
    return {"count": 1, "errors": got != count, "seconds": time.monotonic() - began}


def main(arguments: list[str]) -> None:
    """Play the part that ``arguments`` name."""
    part, port, *rest = arguments
    if part == "echo":
        echo(int(port))
    elif part == "send":
        send(int(port), int(rest[0]))
    elif part == "pingpong":
        print(json.dumps(pingpong(int(port), int(rest[0]), float(rest[1]), *rest[2:])))
    elif part == "take":
        print(json.dumps(take(int(port), int(rest[0]))))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
