"""What became of the configuration since the process began: reloads, and what is not as it was written."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from gatewayd.observe.events import Events
from gatewayd.runtime.last_good import Kept
from gatewayd.runtime.reload import IN_FORCE, REFUSED, UNCHANGED, Outcome

#: Outcomes kept to be shown.
_KEPT: Final = 100
#: Findings, and resources that are kept, told in one event.
_TOLD: Final = 20


class History:
    """The reloads of a process. ``now`` is the time of day in seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.in_force_since = now()
        #: how many came to what
        self.results: Counter[str] = Counter({IN_FORCE: 0, UNCHANGED: 0, REFUSED: 0})
        #: (when, what), the newest last
        self.outcomes: deque[tuple[float, Outcome]] = deque(maxlen=_KEPT)
        #: what is served in its last good version now
        self.kept: tuple[Kept, ...] = ()

    def add(self, outcome: Outcome) -> None:
        """A reload came to an end."""
        now = self._now()
        self.results[outcome.result] += 1
        self.outcomes.append((now, outcome))
        if outcome.result == IN_FORCE:
            self.in_force_since = now
        if outcome.result != REFUSED:
            self.kept = outcome.kept

    @property
    def last(self) -> Outcome | None:
        """The last one; None before the first."""
        return self.outcomes[-1][1] if self.outcomes else None

    @property
    def refusal(self) -> str:
        """Why the last reload was refused; empty if it was not."""
        return self.last.reason if self.last is not None and self.last.result == REFUSED else ""

    @property
    def healthy(self) -> bool:
        """Whether what was read last is what is served."""
        return not (self.refusal or self.kept)

    def notes(self) -> list[str]:
        """What whoever asks for readiness should know: what is not served as it was written."""
        notes = [f"kept in its last good version: {_title(kept)}" for kept in self.kept]
        return ["the last reload was refused", *notes] if self.refusal else notes

    def rows(self) -> list[dict[str, Any]]:
        """All of it, the newest first."""
        return [_row(at, outcome) for at, outcome in reversed(self.outcomes)]


def tell_outcome(events: Events, outcome: Outcome) -> None:
    """A reload as events: what it came to, and what is wrong now if that is news."""
    events.publish(
        "reload",
        outcome.line,
        result=outcome.result,
        number=outcome.number,
        kept=[str(kept) for kept in outcome.kept[:_TOLD]],
    )
    if outcome.findings and outcome.result != UNCHANGED:
        errors = sum(finding.level == "error" for finding in outcome.findings)
        warnings = sum(finding.level == "warning" for finding in outcome.findings)
        events.publish(
            "findings",
            f"{errors} errors, {warnings} warnings",
            errors=errors,
            warnings=warnings,
            findings=[finding.as_json() for finding in outcome.findings[:_TOLD]],
        )


def _row(at: float, outcome: Outcome) -> dict[str, Any]:
    return {
        "number": outcome.number,
        "at": round(at, 3),
        "result": outcome.result,
        "text": outcome.line,
        "reason": outcome.reason,
        "elapsed_ms": round(outcome.elapsed_s * 1000, 1),
        "errors": sum(finding.level == "error" for finding in outcome.findings),
        "warnings": sum(finding.level == "warning" for finding in outcome.findings),
        "kept": [str(kept) for kept in outcome.kept],
    }


def _title(kept: Kept) -> str:
    return f"{kept.resource.kind} {kept.resource.full_name}"
