"""Plays many cases, a few processes at once, and says of each call whether it passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tests.cases.golden import GoldenPlay
from tests.cases.loading import Call, Case, Format
from tests.cases.routing import RoutingPlay
from tests.cases.scope import Scope
from tests.support.gateway_process import EXIT_NOTHING_TO_SERVE, GatewayError, GatewayProcess

Verdict = Literal["passed", "failed", "out of scope"]
DEFAULT_JOBS = 3
LATE_CALLS = 4  # how often a call that was late is made again


class Play(Protocol):
    """A started case."""

    gateway: GatewayProcess

    async def call(self, call: Call) -> list[str]:
        """Make a call and give what differs."""


# Format of a file -> what starts one of its cases.
PLAYS: dict[Format, Callable[[Case], AbstractAsyncContextManager[Any]]] = {
    "golden": GoldenPlay.of,
    "routing": RoutingPlay.of,
}


@dataclass(frozen=True)
class CallResult:
    """Verdict on one call; ``notes`` are the differences, or the reason why it is out of scope."""

    file: Path
    case: str
    call: str
    verdict: Verdict
    notes: list[str] = field(default_factory=list)


async def play_cases(
    cases: Iterable[Case],
    scope: Scope,
    *,
    jobs: int = DEFAULT_JOBS,
    only: str = "",
    ignore_scope: bool = False,
    report: Callable[[list[CallResult]], None] = lambda results: None,
) -> list[CallResult]:
    """Play the calls whose ``case/call`` contains ``only``; ``report`` is told of each case as it ends.

    ignore_scope: play out-of-scope calls too, to see which of them pass by now.
    Results keep the order of ``cases``.
    """
    turn = asyncio.Semaphore(jobs)

    async def one(case: Case) -> list[CallResult]:
        async with turn:
            results = await play_case(case, scope, only=only, ignore_scope=ignore_scope)
        report(results)
        return results

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(case)) for case in cases]
    return [result for task in tasks for result in task.result()]


async def play_case(
    case: Case, scope: Scope, *, only: str = "", ignore_scope: bool = False
) -> list[CallResult]:
    """Play one case in a process of its own; no process is started when no call is in scope."""
    results: dict[str, CallResult] = {}
    wanted: list[Call] = []
    for call in case.calls:
        if only not in f"{case.id}/{call.id}":
            continue
        reason = None if ignore_scope else scope.reason(case, call)
        if reason is None:
            wanted.append(call)
        else:
            results[call.id] = CallResult(case.file, case.id, call.id, "out of scope", [reason])
    if wanted:
        for name, notes in (await _played(case, wanted)).items():
            results[name] = CallResult(case.file, case.id, name, "failed" if notes else "passed", notes)
    return [results[call.id] for call in case.calls if call.id in results]


async def _played(case: Case, calls: list[Call]) -> dict[str, list[str]]:
    """Differences per call id; a process that does not start, ends or prints a traceback fails its calls."""
    notes: dict[str, list[str]] = {}
    try:
        async with PLAYS[case.format](case) as play:
            for call in calls:
                notes[call.id] = await one_call(play, call)
            await play.gateway.stop()
            if not notes[calls[-1].id] and "Traceback (most recent call last)" in play.gateway.stderr_text():
                notes[calls[-1].id] = [
                    f"a traceback on the gateway's stderr:\n{play.gateway.stderr_tail(25)}"
                ]
    except GatewayError as error:
        return _not_started(case, calls, error)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        return {call.id: notes.get(call.id) or [f"the case cannot be played: {error!r}"] for call in calls}
    return notes


def _not_started(case: Case, calls: list[Call], error: GatewayError) -> dict[str, list[str]]:
    """A configuration that opens no port at all is refused at start: its connections are refused too."""
    notes: dict[str, list[str]] = {}
    text = f"the gateway did not start: {error}"
    for call in calls:
        if error.exit_code == EXIT_NOTHING_TO_SERVE and expects_refusal(call):
            notes[call.id] = []
        else:
            notes[call.id] = [text]
            text = "the gateway did not start, as above"
    return notes


def expects_refusal(call: Call) -> bool:
    """Whether the call must find no listener."""
    expect = call.data["expect"]
    if expect.get("kind") == "no_listener":
        return True
    client = expect.get("client")
    return isinstance(client, dict) and client.get("outcome") == "refused"


def _is_lateness(note: str) -> bool:
    """Whether a difference says that something took long: the time, what was left of it, or a timeout."""
    return (
        note.startswith("elapsed:")
        or "x-envoy-expected-rq-timeout-ms: expected" in note
        or (note.startswith("log flags: expected ") and "UT" in note.rpartition("came ")[2].split(","))
    )


async def one_call(play: Play, call: Call) -> list[str]:
    """Differences of one call, and what befell the process meanwhile."""
    gateway = play.gateway
    if gateway.exit_code is not None:
        return [f"the gateway had ended with exit status {gateway.exit_code}"]
    before = len(gateway.stderr_text())
    try:
        notes = await play.call(call)
        for _ in range(LATE_CALLS):
            if not any(map(_is_lateness, notes)):
                break
            # A busy machine may be late now and then, and then everything else differs too. A slow proxy
            # is late each time.
            notes = await play.call(call)
    except TimeoutError:
        notes = ["the call did not end in time"]
    except (ValueError, KeyError, TypeError) as error:
        notes = [f"the call cannot be played: {error!r}"]
    if gateway.exit_code is not None:
        notes.append(f"the gateway ended with exit status {gateway.exit_code}:\n{gateway.stderr_tail()}")
    elif "Traceback (most recent call last)" in gateway.stderr_text()[before:]:
        notes.append(f"a traceback on the gateway's stderr:\n{gateway.stderr_tail(25)}")
    return notes
