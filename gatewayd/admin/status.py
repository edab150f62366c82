"""The status port (15021): is this process alive, and should it get traffic.

``GET /healthz/ready`` is 200 only while nothing holds it back, else 503 with the reasons in the body;
``GET /healthz/live`` is 200 as long as the loop turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gatewayd.admin.messages import Answer, Request
from gatewayd.admin.server import HttpServer

# Who holds readiness back.
STARTING: Final = "starting"
DRAINING: Final = "draining"
STOPPING: Final = "stopping"
HEALTH: Final = "health"

_ALLOW: Final = (("allow", "GET, HEAD"),)
_MAX_NOTES: Final = 10


class Readiness:
    """Why there should be no traffic; nothing while there should. Begins with ``starting``.

    ``notes``: what is worth knowing although traffic is welcome, one line each.
    """

    __slots__ = ("_reasons", "notes")

    def __init__(self, notes: Callable[[], Iterable[str]] = tuple) -> None:
        self._reasons: dict[str, str] = {STARTING: "starting"}
        self.notes = notes

    def hold(self, name: str, text: str) -> None:
        """No traffic from now on, for the reason ``text``."""
        self._reasons[name] = text

    def release(self, name: str) -> None:
        """``name`` does not hold it back any more."""
        self._reasons.pop(name, None)

    @property
    def ready(self) -> bool:
        """Whether traffic is welcome."""
        return not self._reasons

    def held(self, name: str) -> bool:
        """Whether ``name`` holds it back."""
        return name in self._reasons

    @property
    def reasons(self) -> list[str]:
        """In the order in which they came."""
        return list(self._reasons.values())

    @property
    def reason(self) -> str:
        """All of them in one line; empty while traffic is welcome."""
        return "; ".join(self._reasons.values())


def decide_answer(request: Request, readiness: Readiness) -> Answer:
    """The answer to a request of the status port."""
    if request.path not in ("/healthz/ready", "/healthz/live"):
        return Answer(404, "try /healthz/ready or /healthz/live\n")
    if request.method not in ("GET", "HEAD"):
        return Answer(405, "GET or HEAD\n", headers=_ALLOW)
    if request.path == "/healthz/live":
        return Answer(200, "live\n")
    if not readiness.ready:
        return Answer(503, readiness.reason + "\n")
    notes = list(readiness.notes())
    if len(notes) > _MAX_NOTES:
        notes[_MAX_NOTES:] = [f"and {len(notes) - _MAX_NOTES} more"]
    return Answer(200, "".join(f"{line}\n" for line in ("ready", *notes)))


class StatusServer(HttpServer):
    """Serves :class:`Readiness` on listening sockets."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__(lambda request: decide_answer(request, readiness))
        self.readiness = readiness
