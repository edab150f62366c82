"""Notice when files change: by event, by a look at their times every second or so, and by what they hold.

Events alone miss bind mounts, network file systems and links put in a file's place; times alone move without a change.
So an event only says what to look at and when, everything is looked at every now and then, and only another content
counts. One thread does it all; the loop hears of it in a callback.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gatewayd.sources.fingerprints import Fingerprints

_log = logging.getLogger("gatewayd.watch")

#: A file that is never at rest is told of after so long all the same.
_MAX_UNREST_S: Final = 2.0
#: Looking without a reason may take one part in so many of a core: without events, and with them.
_LOOK_SHARE: Final = 20
_LOOK_SHARE_WITH_EVENTS: Final = 100
#: Looking at everything because of an event may take one part in so many.
_EVENT_SHARE: Final = 5
#: Events that come so soon after another are heard with it; and for how long at most.
_STEP_MS: Final = 20
_BATCH_MS: Final = 100
#: With more events than this at once some may have been lost: everything is looked at.
_MAX_EVENTS: Final = 1000
#: While folders keep coming and going, each look may be followed by so many more.
_MAX_LOOKS: Final = 3
#: More folders than this are looked at without events: the user's share of inotify is for others as well.
_MAX_FOLDERS: Final = 20_000


class Watch:
    """Watches paths until closed.

    ``on_change(paths)`` is called on ``loop`` with the files whose content changed, appeared or vanished, once they
    have been at rest for ``settle_s``. Whoever reads them then may still meet the middle of another change, even one
    that is undone before the next look. So ``on_moved(paths)`` is called after every look that saw anything written or
    put in place, be it with the content of before: who reads those again after that has what stands in the end.

    ``on_watching()`` is called each time :meth:`follow` is in force: what was read before that may have changed
    unseen. ``poll_s``: seconds between two looks without an event.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[frozenset[str]], Any],
        on_watching: Callable[[], Any] | None = None,
        on_moved: Callable[[frozenset[str]], Any] | None = None,
        *,
        poll_s: float = 1.0,
        settle_s: float = 0.06,
        events: bool = True,
    ) -> None:
        self._loop = loop
        self._on_change = on_change
        self._on_watching = on_watching
        self._on_moved = on_moved
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._use_events = events
        self._closed = False
        self._paths: dict[str, tuple[str, ...]] = {}
        #: set when there are other paths, or none any more
        self._stirred = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, paths: Mapping[str, tuple[str, ...]]) -> None:
        """Watch ``paths`` from now on, in the place of those before.

        A path may be a file, a folder with all that is in it, or not exist yet. Its value holds the suffixes of the
        files that count in a folder; empty: all of them.
        """
        self._paths = dict(paths)
        self._stirred.set()
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="gatewayd-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """No callback comes after this. The thread ends soon: see :meth:`wait_closed`."""
        self._closed = True
        self._stirred.set()

    async def wait_closed(self) -> None:
        """Wait until the thread has ended, after :meth:`close`."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # In the thread

    def _run(self) -> None:
        prints: Fingerprints | None = None
        while not self._closed:
            self._stirred.clear()
            if self._closed:
                break
            before, prints = prints, Fingerprints(self._paths, prints)
            events = _Events(self._stirred) if self._use_events else None
            try:
                self._begin(prints, before, events)
                self._watch(prints, events)
            except Exception:
                # Whatever it is, the next edit shall not go unseen.
                _log.exception("watching files failed, and begins anew")
                self._stirred.wait(self._poll_s)
            finally:
                if events is not None:
                    events.close()

    def _begin(self, prints: Fingerprints, before: Fingerprints | None, events: _Events | None) -> None:
        """The first look at paths. What was watched before goes on without a gap."""
        changed = self._look(prints, events)
        if before is not None:
            self._tell_changes({path for path in changed if before.covers(path) and prints.covers(path)})
        if self._on_watching is not None:
            self._tell(self._on_watching)

    def _watch(self, prints: Fingerprints, events: _Events | None) -> None:
        took_s = 0.0
        next_look = time.monotonic() + self._poll_s
        while not self._stirred.is_set():
            heard: set[str] = set()
            if events is None:
                self._stirred.wait(max(self._poll_s, took_s * _LOOK_SHARE))
            else:
                heard = events.wait(max(next_look - time.monotonic(), 0.0))
            changed = prints.look_at(heard) if heard and len(heard) <= _MAX_EVENTS else None
            if changed is None:
                if heard:
                    self._stirred.wait(max(self._settle_s / 2, took_s * _EVENT_SHARE))
                began = time.monotonic()
                changed = self._look(prints, events)
                took_s = time.monotonic() - began
                share = _LOOK_SHARE_WITH_EVENTS if events is not None and events.heard else _LOOK_SHARE
                next_look = time.monotonic() + max(self._poll_s, took_s * share)
            moved = prints.moved
            if changed:
                changed, more = self._at_rest(prints, changed, events)
                moved |= more
                self._tell_changes(changed)
            if moved and self._on_moved is not None:
                self._tell(self._on_moved, frozenset(moved))

    def _look(self, prints: Fingerprints, events: _Events | None) -> set[str]:
        """What has changed; where folders are new, events come from them before the last look at them."""
        changed = prints.look()
        moved = prints.moved
        for _ in range(_MAX_LOOKS):
            if events is None or not events.follow(prints.folders):
                break
            changed |= prints.look()
            moved |= prints.moved
        prints.moved = moved
        return changed

    def _at_rest(
        self, prints: Fingerprints, changed: set[str], events: _Events | None
    ) -> tuple[set[str], set[str]]:
        """Wait until nothing moves; the files that have changed, and those that were put in place anew.

        Also those that are again as they were at first: somebody may have read them in between.
        """
        limit = time.monotonic() + _MAX_UNREST_S
        moved: set[str] = set()
        while time.monotonic() < limit:
            if events is not None and events.heard:
                heard = events.wait(self._settle_s)
                # What is known to change is looked at without an event as well: some are late.
                more = prints.look_at(heard | {os.path.abspath(path) for path in changed})
            else:
                self._stirred.wait(self._settle_s)
                more = None
            if self._stirred.is_set():
                break
            if more is None:
                more = self._look(prints, events)
            moved |= prints.moved
            if not more:
                break
            changed |= more
        return changed, moved

    def _tell_changes(self, changed: set[str]) -> None:
        if changed:
            self._tell(self._on_change, frozenset(changed))

    def _tell(self, callback: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._call, callback, *arguments)
        except RuntimeError:  # the loop is closed
            self._closed = True

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        if not self._closed:
            callback(*arguments)


class _Events:
    """Events of the operating system in some folders."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._folders: Mapping[str, Any] = {}
        self._source: Any = None
        self._complained = False

    @property
    def heard(self) -> bool:
        """Whether events come at all."""
        return self._source is not None

    def follow(self, folders: Mapping[str, Any]) -> bool:
        """Have events of ``folders`` and no others from now on; whether that is new.

        Their values tell a folder from another one that has come in its place.
        """
        if folders == self._folders:
            return False
        self.close()
        self._folders = folders
        if len(folders) > _MAX_FOLDERS:
            self._complain(f"{len(folders):,} folders are too many for events")
            return True
        # Imported here: it takes a while, and only a process that serves watches.
        from watchfiles._rust_notify import RustNotify

        try:
            # Listens from now on: paths, debug, polling and its delay in ms, recursive, without permission too.
            self._source = RustNotify(sorted(folders), False, False, 0, False, True)
        except FileNotFoundError:
            # A folder has just gone: the next look finds which ones are left.
            self._folders = {}
        except Exception as error:  # the limits of inotify are said in many ways
            self._complain(str(error))
        return True

    def wait(self, limit_s: float) -> set[str]:
        """Paths of the next events; none after ``limit_s``, or when told to stop."""
        if self._source is None:
            self._stop.wait(limit_s)
            return set()
        limit_ms = max(1, round(limit_s * 1000))
        try:
            found = self._source.watch(
                min(_BATCH_MS, limit_ms), min(_STEP_MS, limit_ms), limit_ms, self._stop
            )
        except Exception as error:
            self.close()
            self._complain(str(error))
            return set()
        return {path for _, path in found} if isinstance(found, set) else set()

    def close(self) -> None:
        """No more events."""
        if self._source is not None:
            self._source.close()
        self._source = None

    def _complain(self, reason: str) -> None:
        if not self._complained:
            _log.warning("changes of files are noticed by looking alone: %s", reason)
        self._complained = True
