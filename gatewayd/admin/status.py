"""The status port (15021): is this worker alive, and should it get traffic.

``GET /healthz/ready`` is 200 only while the worker serves and does not drain, else 503 with the reason in
the body; ``GET /healthz/live`` is 200 as long as the loop turns.
"""

from __future__ import annotations

from gatewayd.admin.server import Answer, TinyServer, target_of


class Readiness:
    """Why the worker should get no traffic: reasons by name. None while it should; it begins with ``starting``."""

    __slots__ = ("_reasons",)

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {"starting": "starting"}

    def hold(self, name: str, reason: str) -> None:
        """Not ready, for ``reason``, until :meth:`release` of the same ``name``."""
        self._reasons[name] = reason

    def release(self, name: str) -> None:
        """The reason of that ``name`` is gone, if it was there."""
        self._reasons.pop(name, None)

    @property
    def ready(self) -> bool:
        """Whether traffic is welcome."""
        return not self._reasons

    @property
    def reasons(self) -> list[str]:
        """In the order in which they came."""
        return list(self._reasons.values())

    @property
    def reason(self) -> str:
        """All of them in one line; empty when there are none."""
        return "; ".join(self._reasons.values())


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
