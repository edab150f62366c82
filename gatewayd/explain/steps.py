"""What an explanation is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

# Outcomes.
ROUTE: Final = "route"
REDIRECT: Final = "redirect"
DIRECT_RESPONSE: Final = "direct_response"
NOT_FOUND: Final = "not_found"
NO_LISTENER: Final = "no_listener"
TLS_REJECT: Final = "tls_reject"
NO_CLUSTER: Final = "no_cluster"
DENIED: Final = "denied"
TCP: Final = "tcp"

#: Where something was written: (kind, namespace, name, block, index) -> (file, line); ("", 0) if nobody knows.
PlaceOf = Callable[[str, str, str, str, int], tuple[str, int]]


def nowhere(kind: str, namespace: str, name: str, block: str, index: int) -> tuple[str, int]:
    """Nobody knows."""
    return "", 0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at: taken (``ok``), or not and why. ``ok`` None: only a remark."""

    stage: str
    ok: bool | None
    text: str
    file: str = ""
    line: int = 0

    def as_json(self) -> dict[str, Any]:
        """For ``-o json``."""
        return {"stage": self.stage, "ok": self.ok, "text": self.text, "file": self.file, "line": self.line}


@dataclass(slots=True)
class Explanation:
    """The answer; what does not apply is empty."""

    outcome: str = NO_LISTENER
    #: what the client gets if it is not the upstream's to say; 0: nothing, or the upstream decides
    status: int = 0
    location: str = ""
    listener: dict[str, Any] = field(default_factory=dict)
    virtual_host: str = ""
    route: dict[str, Any] = field(default_factory=dict)
    destinations: list[dict[str, Any]] = field(default_factory=list)
    upstream: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    #: the last line of the text
    result: str = ""
    #: whether any destination has an endpoint that could be asked
    usable: bool = False

    def add(self, stage: str, ok: bool | None, text: str, file: str = "", line: int = 0) -> None:
        """One more step."""
        self.steps.append(Step(stage, ok, text, file, line))

    def as_json(self) -> dict[str, Any]:
        """For ``-o json`` and the admin API."""
        return {
            "outcome": self.outcome,
            "status": self.status,
            "location": self.location,
            "listener": self.listener,
            "virtual_host": self.virtual_host,
            "route": self.route,
            "destinations": self.destinations,
            "upstream": self.upstream,
            "usable": self.usable,
            "result": self.result,
            "steps": [step.as_json() for step in self.steps],
        }
