"""A snapshot put in force by a supervisor: it has compiled it, and now all workers do the same with the same texts."""

from __future__ import annotations

from gatewayd.listeners.doors import Doors
from gatewayd.runtime.crew import Crew
from gatewayd.runtime.wire import merged, to_wire
from gatewayd.snapshot import Snapshot
from gatewayd.sources import News, Recorder
from gatewayd.upstream.registry import Draft, Registry


class Rollout:
    """What a :class:`gatewayd.runtime.reload.Reloader` has its snapshots put in force by."""

    def __init__(self, doors: Doors, registry: Registry, recorder: Recorder, crew: Crew) -> None:
        self._doors = doors
        self._registry = registry
        self._recorder = recorder
        self._crew = crew
        self._untold = News()
        self._found = News()
        #: whether addresses are listened on now
        self.accepting = True

    async def swap(self, snapshot: Snapshot, draft: Draft) -> bool:
        """See :meth:`gatewayd.runtime.deployment.Deployment.swap`. Addresses that nobody needs are closed last."""
        before = set(self._doors.bound(0))
        if self.accepting:
            self._doors.open(snapshot.listeners)
        self._registry.commit(draft)
        self._note()
        news, self._untold = self._untold, News()
        await self._crew.configure(to_wire(news), self._doors.bound(0).keys() - before)
        self._doors.settle([address for spec in snapshot.listeners for address in spec.bind])
        return True

    def found(self) -> News:
        """Which files there are, for a worker that begins with all that was read of them."""
        self._note()
        return self._found

    def forget_texts(self) -> None:
        """Everybody who will ever ask begins with all that was read so far."""
        self._note()
        self._untold = News()

    def _note(self) -> None:
        news = self._recorder.news()
        self._untold = merged(self._untold, news)
        self._found = merged(self._found, News(found=news.found))
