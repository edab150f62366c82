"""Reload: files that changed are read, compiled beside the traffic, and put in force; or not, and it is said why.

One at a time. In a thread: load, validate, compile (:class:`~gatewayd.runtime.configuration.ConfigurationReader`).
On the loop: the swap alone (:class:`~gatewayd.runtime.deployment.Deployment`). Nothing hears of a configuration
before it is complete, and one that cannot be put in force leaves all as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gatewayd.findings import Finding
from gatewayd.release import release
from gatewayd.runtime.changes import Changes, changes
from gatewayd.runtime.configuration import Configuration, ConfigurationReader
from gatewayd.runtime.deployment import NotBound
from gatewayd.runtime.last_good import Kept
from gatewayd.runtime.memory import beside_traffic
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.watched import is_configuration, watched
from gatewayd.snapshot import Snapshot
from gatewayd.sources.watch import Watch
from gatewayd.tls.store import Refreshed
from gatewayd.upstream.registry import Draft, Registry

_log = logging.getLogger("gatewayd.reload")

#: How soon files that turned out to be new are read once more.
SECOND_LOOK_S: Final = 1.0
_MAX_LOGGED: Final = 20

IN_FORCE: Final = "IN_FORCE"  # what was read is served
UNCHANGED: Final = "UNCHANGED"  # it says what was served already
REFUSED: Final = "REFUSED"  # what was served before still is


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload came to."""

    number: int
    #: IN_FORCE, UNCHANGED or REFUSED
    result: str
    changes: Changes
    #: why it was refused
    reason: str = ""
    #: what stays in its last good version
    kept: tuple[Kept, ...] = ()
    #: errors and warnings that are there now
    findings: tuple[Finding, ...] = ()
    #: from the beginning to the swap, in seconds
    elapsed_s: float = 0.0

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.result == REFUSED:
            return f"reload {self.number} refused, the configuration of before stays in force: {self.reason}"
        text = f"reload {self.number}: {self.changes} ({self.elapsed_s * 1000:.0f} ms)"
        errors = sum(finding.level == "error" for finding in self.findings)
        if errors:
            text += f"; errors: {errors}"
        if self.kept:
            text += f"; kept in the last good version: {len(self.kept)}"
        return text


class Deploying(Protocol):
    """What puts a snapshot in force: the deployment of this process, or of all workers."""

    async def swap(self, snapshot: Snapshot, draft: Draft) -> bool:
        """See :meth:`gatewayd.runtime.deployment.Deployment.swap`."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of reading."""

    after: Configuration
    #: it is what is in force
    same: bool
    changes: Changes
    #: errors and warnings
    said: tuple[Finding, ...]
    #: they are not those of what is in force
    says_other: bool
    #: those of them that were not there before
    fresh: tuple[Finding, ...]


class Reloader:
    """Reloads while a worker serves: when told to, and when a watched file changes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        reader: ConfigurationReader,
        deployment: Deploying,
        registry: Registry,
        on_outcome: Callable[[Outcome], Any] = lambda _: None,
        on_renewed: Callable[[], Any] = lambda: None,
    ) -> None:
        """``on_renewed``: called when credentials that are in use were found to be new, or newly broken."""
        self._loop = loop
        self._options = options
        self._reader = reader
        self._deployment = deployment
        self._registry = registry
        self._on_outcome = on_outcome
        self._on_renewed = on_renewed
        self._watch = Watch(loop, self._changed, self._watching, self._look_again)
        self._watched: dict[str, tuple[str, ...]] = {}
        #: changed since the last round began; None: everything may have
        self._pending: frozenset[str] | None = frozenset()
        #: those who asked for a reload and are to hear what it came to
        self._waiting: list[asyncio.Future[Outcome | None]] = []
        #: was to be read by a round that failed
        self._unread: frozenset[str] | None = frozenset()
        self._round: asyncio.Task[None] | None = None
        self._second_look: asyncio.TimerHandle | None = None
        #: what to read once more then; None: everything
        self._moved: frozenset[str] | None = frozenset()
        self._closed = False
        self._number = 0
        self.last: Outcome | None = None

    def start(self, *, watch: bool) -> None:
        """Watch from now on, unless told not to."""
        if watch:
            self._follow()

    def reload(self) -> asyncio.Future[Outcome | None]:
        """Read everything again (HUP); what that comes to, None if it fails for a reason of our own."""
        waiting: asyncio.Future[Outcome | None] = self._loop.create_future()
        self._waiting.append(waiting)
        self._watching()
        if self._closed:
            self._answer(self._waiting)
        return waiting

    @property
    def busy(self) -> bool:
        """Whether a reload is under way."""
        return self._round is not None

    def close(self) -> None:
        """No reload begins after this."""
        self._closed = True
        if self._round is None:
            self._answer(self._waiting)
        self._watch.close()
        if self._second_look is not None:
            self._second_look.cancel()

    async def wait_closed(self) -> None:
        """Wait until nothing runs any more."""
        await self._watch.wait_closed()
        if self._round is not None:
            await self._round

    # What asks for a round

    def _watching(self) -> None:
        """Read everything: files were read before the watch began, or in the middle of a change."""
        self._pending = None
        self._begin()

    def _changed(self, paths: frozenset[str]) -> None:
        self._pending = _with(self._pending, paths)
        self._begin()

    def _begin(self) -> None:
        if self._round is None and not self._closed:
            self._round = self._loop.create_task(self._rounds())

    def _look_again(self, paths: frozenset[str] | None) -> None:
        """Files moved: what was read may have been the middle of a change, and the end of it no news to the watch.

        None: any file may have.
        """
        self._moved = _with(self._moved, paths)
        if self._second_look is None and not self._closed:
            self._second_look = self._loop.call_later(SECOND_LOOK_S, self._on_second_look)

    def _on_second_look(self) -> None:
        self._second_look = None
        moved, self._moved = self._moved, frozenset()
        self._pending = _with(self._pending, moved)
        self._begin()

    def _follow(self) -> None:
        paths = watched(self._options, self._reader.certificates)
        if paths != self._watched:
            self._watched = paths
            self._watch.follow(paths)

    # A round

    async def _rounds(self) -> None:
        try:
            while self._pending != frozenset() and not self._closed:
                pending, self._pending = _with(self._pending, self._unread), frozenset()
                waiting, self._waiting = self._waiting, []
                number = self._number
                try:
                    news = await self._round_of(pending, asked=bool(waiting))
                except Exception:
                    _log.exception("a reload failed; the configuration of before stays in force")
                    # What was to be read may not have been.
                    self._unread = _with(self._unread, pending)
                    continue
                finally:
                    self._answer(waiting, self.last if self._number > number else None)
                self._unread = frozenset()
                if news and not self._closed and self._watched:
                    self._look_again(pending)
        finally:
            self._round = None
            self._answer(self._waiting)

    def _answer(self, waiting: list[asyncio.Future[Outcome | None]], outcome: Outcome | None = None) -> None:
        for each in waiting:
            if not each.done():
                each.set_result(outcome)
        waiting.clear()

    async def _round_of(self, pending: frozenset[str] | None, *, asked: bool) -> bool:
        """Whether anything was new."""
        changed: frozenset[str] | None = None
        renew = True
        if pending is not None:
            changed = frozenset(path for path in pending if is_configuration(path, self._options))
            renew = changed != pending
            if not changed:
                renewed = bool(await asyncio.to_thread(self._renew))
                if renewed:
                    self._on_renewed()
                return renewed
        began = time.monotonic()
        draft = Draft(self._registry)
        found = await asyncio.to_thread(self._read, draft, changed, renew)
        after = found.after
        reason = _refusal(after)
        if not reason and not found.same:
            try:
                if not await self._deployment.swap(after.snapshot, draft):
                    return False
            except NotBound as error:
                reason = str(error).replace("\n", "; ")
        elapsed_s = time.monotonic() - began
        if reason:
            draft.discard()
            await asyncio.to_thread(self._reader.fall_back)
        else:
            await asyncio.to_thread(put_in_force, self._reader, after)
            if self._watched:
                self._follow()
        if after.renewed:
            self._on_renewed()
        result = REFUSED if reason else UNCHANGED if found.same else IN_FORCE
        told = found.says_other or (bool(reason) and (self.last is None or self.last.reason != reason))
        if result == IN_FORCE or told or asked:
            self._number += 1
            outcome = Outcome(self._number, result, found.changes, reason, after.kept, found.said, elapsed_s)
            self._tell(outcome, found.fresh)
        return result == IN_FORCE or told or after.renewed

    def _read(self, draft: Draft, changed: frozenset[str] | None, renew: bool) -> _Found:
        before = self._reader.in_force
        assert before is not None
        after = read(self._reader, draft, changed, renew=renew)
        with beside_traffic():
            said_before, said = _said(before), _said(after)
            return _Found(
                after,
                after.snapshot is before.snapshot,
                changes(before, after),
                said,
                said != said_before,
                _not_among(said, said_before),
            )

    def _renew(self) -> Refreshed:
        return self._reader.certificates.renew()

    def _tell(self, outcome: Outcome, fresh: Sequence[Finding]) -> None:
        """To the log: what is wrong that was not before, what is kept, and the line of the reload."""
        for finding in fresh[:_MAX_LOGGED]:
            level = logging.ERROR if finding.level == "error" else logging.WARNING
            _log.log(level, "[%s] %s: %s", finding.code, finding.place or "mesh", finding.message)
        if len(fresh) > _MAX_LOGGED:
            _log.warning("and %d more findings", len(fresh) - _MAX_LOGGED)
        for kept in outcome.kept[:_MAX_LOGGED]:
            _log.error("%s", kept)
        if len(outcome.kept) > _MAX_LOGGED:
            _log.error("and %d more stay as they were", len(outcome.kept) - _MAX_LOGGED)
        worst = (
            logging.ERROR if outcome.result == REFUSED else logging.WARNING if outcome.kept else logging.INFO
        )
        _log.log(worst, "%s", outcome.line)
        self.last = outcome
        self._on_outcome(outcome)


def read(
    reader: ConfigurationReader, draft: Draft, changed: frozenset[str] | None, *, renew: bool = False
) -> Configuration:
    """Read again, in a thread beside traffic. ``draft`` then has all clusters of what was read."""
    with beside_traffic():
        after = reader.read(lambda: draft.adopt, renew=renew, changed=changed)
        draft.complete(after.snapshot.adopted)
        return after


def put_in_force(reader: ConfigurationReader, after: Configuration) -> None:
    """``after`` is what is served; what of the one before is not needed any more is let go of. In a thread."""
    with beside_traffic():
        before = reader.in_force
        reader.put_in_force(after)
        assert before is not None
        pieces = before.not_in(after)
        del before
        release(pieces)


def _with(paths: frozenset[str] | None, more: frozenset[str] | None) -> frozenset[str] | None:
    """Both; None is everything."""
    return None if paths is None or more is None else paths | more


def _refusal(after: Configuration) -> str:
    """Why ``after`` cannot take the place of what is in force; empty when it can."""
    if not after.files:
        # Nobody deletes a whole configuration file by file; a mount that is gone looks like this.
        return "there is no configuration file any more"
    return ""


def _said(configuration: Configuration) -> tuple[Finding, ...]:
    return tuple(finding for finding in configuration.findings if finding.level != "info")


def _not_among(said: Sequence[Finding], before: Sequence[Finding]) -> tuple[Finding, ...]:
    """Those of ``said`` that are not among ``before``, most of which are the very same objects."""
    here, there = set(map(id, said)), set(map(id, before))
    known = {finding for finding in before if id(finding) not in here}
    return tuple(finding for finding in said if id(finding) not in there and finding not in known)
