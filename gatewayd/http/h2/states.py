"""The states of a stream, and what each frame means in each (RFC 9113 5.1).

Streams move along ``STATES`` and nowhere else (tests drive it). Reserved states are left out: nobody pushes here. For
frames on a stream that is closed, or that never was, ``RECEIVED`` has the answer; so it has for one whose peer has
ended it. There Envoy ends the connection, and so do we: a peer that makes us reset streams costs more than it pays.
"""

from __future__ import annotations

from typing import Final

from gatewayd.http.h2 import frames

IDLE: Final = 0
OPEN: Final = 1
HALF_REMOTE: Final = 2  # the peer has ended its side
HALF_LOCAL: Final = 3  # we have ended ours
CLOSED: Final = 4

NAMES: Final = ("IDLE", "OPEN", "HALF_REMOTE", "HALF_LOCAL", "CLOSED")

STATES: Final[dict[int, frozenset[int]]] = {
    IDLE: frozenset({OPEN, HALF_REMOTE, HALF_LOCAL}),
    OPEN: frozenset({HALF_REMOTE, HALF_LOCAL, CLOSED}),
    HALF_REMOTE: frozenset({CLOSED}),
    HALF_LOCAL: frozenset({CLOSED}),
    CLOSED: frozenset(),
}

#: What a received frame means: it is good, it is read and forgotten, or the connection ends with an error code.
ACCEPT: Final = -1
IGNORE: Final = -2

_ANY: Final = {
    frames.DATA: ACCEPT,
    frames.HEADERS: ACCEPT,
    frames.RST_STREAM: ACCEPT,
    frames.WINDOW_UPDATE: ACCEPT,
}

RECEIVED: Final[dict[int, dict[int, int]]] = {
    IDLE: {
        frames.DATA: frames.PROTOCOL_ERROR,
        frames.HEADERS: ACCEPT,  # by a server; who may open which stream is the role's business
        frames.RST_STREAM: frames.PROTOCOL_ERROR,
        frames.WINDOW_UPDATE: frames.PROTOCOL_ERROR,
    },
    OPEN: _ANY,
    HALF_LOCAL: _ANY,
    HALF_REMOTE: {
        **_ANY,
        frames.DATA: frames.STREAM_CLOSED,
        frames.HEADERS: frames.STREAM_CLOSED,
    },
    # Frames may have been on their way when the stream was closed; header blocks are decoded, windows are kept.
    CLOSED: dict.fromkeys(_ANY, IGNORE),
}
