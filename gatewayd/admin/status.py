"""The status port (15021): is this worker alive, and should it get traffic.

``GET /healthz/ready`` is 200 only while the worker serves and does not drain, else 503 with the reason in
the body; ``GET /healthz/live`` is 200 as long as the loop turns.
"""

from __future__ import annotations

from gatewayd.admin.server import Answer, TinyServer, target_of


class Readiness:
    """Why the worker should get no traffic; empty while it should. Starts as ``starting``."""

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason = "starting"

    @property
    def ready(self) -> bool:
        """Whether traffic is welcome."""
        return not self.reason


def decide_answer(head: bytes, readiness: Readiness) -> Answer:
    """The answer to a request head; ``head`` is everything up to the empty line."""
    asked = target_of(head)
    if isinstance(asked, Answer):
        return asked
    method, path = asked
    if path not in (b"/healthz/ready", b"/healthz/live"):
        return Answer("404 Not Found", "try /healthz/ready or /healthz/live\n")
    if method not in (b"GET", b"HEAD"):
        return Answer("405 Method Not Allowed", "GET or HEAD\n", "allow: GET, HEAD\r\n")
    if path == b"/healthz/live":
        return Answer("200 OK", "live\n")
    if readiness.ready:
        return Answer("200 OK", "ready\n")
    return Answer("503 Service Unavailable", readiness.reason + "\n")


class StatusServer(TinyServer):
    """Serves :class:`Readiness` on listening sockets."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__(lambda head: decide_answer(head, readiness))
        self.readiness = readiness
