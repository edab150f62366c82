"""States of an HTTP/1.1 downstream connection, and where each may lead."""

from __future__ import annotations

from typing import Final

# What is being read. A connection moves along this table and nowhere else (tests drive it).
IDLE: Final = 0  # between requests, or inside a head
BODY: Final = 1  # inside a request body
WAIT: Final = 2  # the request is complete, its answer is not
TUNNEL: Final = 3  # upgraded
LINGER: Final = 4  # answered in doubt: read, throw away, close soon
CLOSED: Final = 5

STATES: Final[dict[int, frozenset[int]]] = {
    IDLE: frozenset({IDLE, BODY, WAIT, LINGER, CLOSED}),
    BODY: frozenset({WAIT, IDLE, LINGER, CLOSED}),
    WAIT: frozenset({IDLE, TUNNEL, LINGER, CLOSED}),
    TUNNEL: frozenset({CLOSED}),
    LINGER: frozenset({CLOSED}),
    CLOSED: frozenset(),
}
