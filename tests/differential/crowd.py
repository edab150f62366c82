"""Several requests at a time to gatewayd and to Envoy, with upstreams that answer when they are told.

Nothing here depends on how fast anybody is: a request has arrived when its upstream says so, and what is answered
while all upstreams hold still was answered for what is in progress.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.differential.pair import Pair, Request
from tests.support.behaviour import Behaviour
from tests.support.h1_text import Head
from tests.support.raw_client import Outcome, RawClient
from tests.support.recorder import Recorder, Seen
from tests.support.wire import Wire

_WAIT_S = 20.0
#: What a request that shall be retried gets.
FAILING = {"status": 503}


class HoldingRecorder(Recorder):
    """An upstream whose answers wait for :meth:`release`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        #: requests that wait for their answer, in the order in which they came
        self.held: list[tuple[Seen, asyncio.Future[Behaviour]]] = []
        #: nobody is held any more
        self.open = True
        self._came = asyncio.Condition()

    async def _reply(self, wire: Wire, head: Head, seen: Seen, behaviour: Behaviour) -> bool:
        if not self.open:
            answer: asyncio.Future[Behaviour] = asyncio.get_running_loop().create_future()
            self.held.append((seen, answer))
            async with self._came:
                self._came.notify_all()
            behaviour = await answer
        return await super()._reply(wire, head, seen, behaviour)

    async def holds(self, count: int) -> None:
        """Wait until so many are held."""
        async with asyncio.timeout(_WAIT_S), self._came:
            await self._came.wait_for(lambda: len(self.held) >= count)

    def release(self, behaviour: Mapping[str, Any] | None = None) -> None:
        """Answer the one that waits longest."""
        _, answer = self.held.pop(0)
        answer.set_result(Behaviour.parse(behaviour or {}))

    def release_all(self) -> None:
        """Answer everybody, and hold nobody any more."""
        self.open = True
        while self.held:
            self.release()


@dataclass
class Crowd:
    """``first`` requests that are held by the upstream, one after the other, then ``more`` at once.

    early: how many of ``more`` get their answer while the upstream holds still. retried: so many of ``first`` fail
    and come again, to be held again; then all others of them fail, and their clients are told.
    """

    path: str
    first: int
    more: int = 0
    early: int = 0
    #: of ``first``, once all are held
    retried: int = 0


class CrowdPair(Pair):
    """A pair with one upstream that holds; ``await pair.same_crowd(crowd)`` sends a crowd to both."""

    recorder = HoldingRecorder

    @property
    def upstream(self) -> HoldingRecorder:
        """The upstream."""
        (only,) = self.recorders.values()
        assert isinstance(only, HoldingRecorder)
        return only

    async def same_crowd(self, crowd: Crowd) -> Counter[Any]:
        """Both answer alike, whoever of the crowd gets which answer. Returns the answers."""
        case = f"crowd-{self._count}"
        self._count += crowd.first + crowd.more
        envoy = await self._send(self.envoy.port, crowd, case)
        ours = await self._send(self.gatewayd.port(80), crowd, case)
        assert ours == envoy, f"{case} {crowd}\n  Envoy:    {envoy}\n  gatewayd: {ours}"
        return ours[0]

    async def _send(self, port: int, crowd: Crowd, case: str) -> tuple[Counter[Any], Counter[Any]]:
        upstream = self.upstream
        upstream.seen.clear()
        upstream.open = False
        wire = Request(crowd.path).wire(case)

        def ask() -> asyncio.Task[Outcome]:
            return asyncio.create_task(RawClient(port, timeout_s=_WAIT_S).http(wire, observe_s=0.0))

        clients = []
        for number in range(crowd.first):
            clients.append(ask())
            await upstream.holds(number + 1)
        later = [ask() for _ in range(crowd.more)]
        early: list[asyncio.Task[Outcome]] = []
        while len(early) < crowd.early:
            waiting = [client for client in later if client not in early]
            done, _ = await asyncio.wait(waiting, timeout=_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            assert done, f"{crowd}: only {len(early)} answers"
            early += done
        for _ in range(crowd.retried):
            upstream.release(FAILING)
            await upstream.holds(crowd.first)  # its retry came, and is behind the others
        for answered in range(crowd.first - crowd.retried if crowd.retried else 0):
            upstream.release(FAILING)
            await self._answered(clients, answered + 1)
        assert len([client for client in later if client.done()]) == crowd.early
        upstream.release_all()
        outcomes = await asyncio.gather(*clients, *later)
        answers = Counter(_answer(self, outcome) for outcome in outcomes)
        seen = Counter(repr(self._attempt(one)) for one in upstream.seen)
        return answers, seen

    async def _answered(self, clients: Sequence[asyncio.Task[Outcome]], count: int) -> None:
        async with asyncio.timeout(_WAIT_S):
            while sum(client.done() for client in clients) < count:
                await asyncio.wait(
                    [client for client in clients if not client.done()], return_when=asyncio.FIRST_COMPLETED
                )

    async def same_log_counts(self) -> None:
        """Both wrote the same about each crowd: status, flags and details, counted."""
        envoy = Counter(
            (one["case"], str(one["status"]), one["flags"] or "-", one["details"])
            for one in await self.envoy.records(self._count)
        )
        ours = Counter(
            (
                one["user_agent"],
                str(one["response_code"]),
                one["response_flags"],
                one["response_code_details"],
            )
            for one in await self.gatewayd.log_records(self._count)
        )
        assert ours == envoy, f"\n  Envoy:    {envoy - ours}\n  gatewayd: {ours - envoy}"


def _answer(pair: CrowdPair, outcome: Outcome) -> tuple[Any, ...]:
    told = pair.told(outcome, [])
    return told.outcome, told.status, tuple(told.headers), told.body
