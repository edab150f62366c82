"""Where the texts of configuration files come from: the disk, or somebody who has read them already.

Whoever reads configuration asks a :class:`FileSource` and nothing else, so that a process may be given the very texts
that another one has read and found good (``handed.py``) instead of reading the disk a moment later.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple, Protocol

from gatewayd.sources.files import STDIN, STDIN_NAME, FoundFile, read_bytes, reason_of, walk
from gatewayd.sources.limits import Limits

#: A file changed so short a time before it was looked at may change again without its times moving.
_UNSURE_S: Final = 2.0
#: A file that was written so short a time ago may be half of what it is going to be.
_REST_S: Final = 0.06
#: The same of one that is empty: whoever writes a file in place empties it first, and may then have to wait.
_EMPTY_REST_S: Final = 1.0
#: Files that are never at rest are read after so long all the same.
_MAX_UNREST_S: Final = 2.0


class Stamp(NamedTuple):
    """What moves when a file is touched."""

    signature: Hashable
    #: False: the content may change without the signature moving, so it has to be read to be known
    sure: bool


class FileSource(Protocol):
    """What a reader of configuration asks."""

    def find(self, paths: Sequence[str], changed: frozenset[str] | None = None) -> Sequence[FoundFile]:
        """The files of ``paths``, in the order in which they count; also those that cannot be found, and why.

        ``changed``: the names of all that may have come, gone or changed since the last time; None: any. The same
        object as last time is the same answer.
        """
        ...

    def stamp(self, found: FoundFile) -> Stamp | None:
        """What a later stamp of the same file is compared with; None when there is none to be had."""
        ...

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        """The content of a file; :class:`~gatewayd.sources.files.Unreadable` says why not."""
        ...


#: device and inode: two names with one identity are one file
_Identity = tuple[int, int]


@dataclass(slots=True)
class _Listing:
    """What was found for some paths."""

    found: list[FoundFile]
    #: by name, of all that exist: also of those that are another one's second name
    identities: dict[str, _Identity]
    #: how many names each has
    names: Counter[_Identity]


class Disk:
    """The files as they are now: named ones whatever their suffix, those of folders sorted.

    A file reached twice (named and in a folder, or through a link) is found once. ``stdin`` is what ``-`` reads, once:
    later loads have what it held. ``patient``: a file is read when it is at rest, and not in the middle of being
    written: what is cut off between two documents, or before the first, would look like a deletion.
    """

    def __init__(self, stdin: BinaryIO | None = None, *, patient: bool = False) -> None:
        self._stdin = stdin
        self._patient = patient
        #: until when files of this load are waited for (monotonic)
        self._patience_ends = 0.0
        #: what it held, once it was read
        self.stdin_text: bytes | None = None
        self._listings: dict[tuple[str, ...], _Listing] = {}
        #: stamps of what was just found
        self._seen: dict[str, Stamp] = {}

    def find(self, paths: Sequence[str], changed: frozenset[str] | None = None) -> Sequence[FoundFile]:
        """See :class:`FileSource`."""
        key = tuple(paths)
        self._patience_ends = time.monotonic() + _MAX_UNREST_S
        self._seen = {}
        before = self._listings.get(key)
        if before is None or changed is None:
            listing = self._listings[key] = self._list(key, {})
            return listing.found
        again = self._again(before, changed)
        if again is None:
            return before.found
        known = {name: identity for name, identity in before.identities.items() if name not in again}
        listing = self._list(key, known)
        if any(count > 1 for count in listing.names.values()):
            listing = self._list(key, {})  # one may only look like another: an inode is used again
        self._listings[key] = listing
        if listing.found == before.found:
            listing.found = before.found
        return listing.found

    def _again(self, listing: _Listing, changed: frozenset[str]) -> set[str] | None:
        """Names whose identity has to be found out because the listing may be another one; None: it is not."""
        again: set[str] = set()
        other = False
        for name in changed:
            before = listing.identities.get(name)
            try:
                status = os.stat(name)
            except (OSError, ValueError):
                now = None
            else:
                now = (status.st_dev, status.st_ino)
            if now is not None and now == before:
                continue
            again.add(name)
            if before is None or now is None or listing.names[now] or listing.names[before] > 1:
                other = True
                again.update(each for each, known in listing.identities.items() if known in (before, now))
            else:
                listing.identities[name] = now
                listing.names[before] -= 1
                listing.names[now] += 1
        return again if other else None

    def _list(self, paths: Sequence[str], known: Mapping[str, _Identity]) -> _Listing:
        """``known``: identities that need not be asked for."""
        listing = _Listing([], {}, Counter())
        for path in paths:
            if path == STDIN:
                listing.found.append(FoundFile(STDIN_NAME, None))
                continue
            for found in walk(path):
                if found.problem:
                    listing.found.append(found)
                    continue
                identity = known.get(found.name) or listing.identities.get(found.name)
                if identity is None:
                    try:
                        status = os.stat(found.name)
                    except OSError as error:
                        listing.found.append(found._replace(problem=reason_of(error)))
                        continue
                    identity = (status.st_dev, status.st_ino)
                    self._seen[found.name] = _stamp(status)
                if not listing.names[identity]:
                    listing.found.append(found)
                if found.name not in listing.identities:
                    listing.identities[found.name] = identity
                    listing.names[identity] += 1
        return listing

    def stamp(self, found: FoundFile) -> Stamp | None:
        """Device, inode, size and times; sure when they are old enough."""
        if found.path is None:
            return Stamp("standard input", True)
        seen = self._seen.pop(found.name, None)
        if seen is not None:
            return seen
        try:
            return _stamp(os.stat(found.path))
        except (OSError, ValueError):
            return None

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        """As :func:`~gatewayd.sources.files.read_bytes`."""
        data = read_bytes(found, self._stdin, limits)
        if found.path is None:
            self.stdin_text = data
        elif self._patient:
            while (unrest_s := _unrest(found.path, data)) > 0 and time.monotonic() < self._patience_ends:
                time.sleep(min(unrest_s, _REST_S))
                data = read_bytes(found, self._stdin, limits)
        return data


def _unrest(path: str | os.PathLike[str], data: bytes) -> float:
    """How long it takes until a file that holds ``data`` is at rest, if nothing happens to it, in seconds."""
    try:
        status = os.stat(path)
    except OSError:
        return 0.0
    age_s = time.time() - max(status.st_mtime, status.st_ctime)
    # A time to come (a clock that was set back) is nothing to wait for.
    return (_REST_S if data else _EMPTY_REST_S) - age_s if age_s >= 0 else 0.0


def _stamp(status: os.stat_result) -> Stamp:
    newest_s = max(status.st_mtime_ns, status.st_ctime_ns) / 1e9
    # A time to come (a clock that was set back) is no reason to read the file for ever.
    sure = abs(time.time() - newest_s) > _UNSURE_S
    return Stamp((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns), sure)
