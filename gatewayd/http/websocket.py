"""What the WebSocket handshake of HTTP/1.1 wants and extended CONNECT leaves out (RFC 6455 4, RFC 8441 5)."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from os import urandom
from typing import Final

from gatewayd.http.message import Fields, Pair

WEBSOCKET: Final = b"websocket"
_ACCEPT: Final = b"sec-websocket-accept"
_KEY: Final = b"sec-websocket-key"
_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def new_key() -> bytes:
    """A value of ``sec-websocket-key``."""
    return b64encode(urandom(16))


def with_accept(request: Fields, upgrade: bytes, answer: list[Pair]) -> list[Pair]:
    """The fields of an answer that grants ``upgrade``, with the proof the client waits for; one that is there stays."""
    key = request.get(_KEY)
    if upgrade != WEBSOCKET or key is None or any(name == _ACCEPT for name, _ in answer):
        return answer
    return [*answer, (_ACCEPT, b64encode(sha1(key + _SUFFIX, usedforsecurity=False).digest()))]
