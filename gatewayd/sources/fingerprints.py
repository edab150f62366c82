"""What watched files hold, as hashes: looked at by ``stat`` first, read only when that has moved.

A look at everything finds whatever has changed, however that was done. Where an event says which file it is, a look at
that one does; links, folders, and whatever else might lead somewhere else than before have everything looked at.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

#: Bigger files are not read: their size and times must do.
_MAX_HASHED_BYTES: Final = 32 << 20
#: A file changed so short a time before it was read may change again without its times moving.
_UNSURE_S: Final = 2.0
_CHUNK_BYTES: Final = 1 << 18

#: What stands for a file that cannot be read; anything but a hash.
_UNREADABLE: Final = b"unreadable"

#: device, inode, size, mtime, ctime
_Signature = tuple[int, int, int, int, int]


@dataclass(slots=True)
class _Entry:
    signature: _Signature
    digest: bytes
    sure: bool  # the signature is old enough to be trusted alone


#: device and inode of a folder, which may have several names
_Identity = tuple[int, int]
#: an entry of a folder
_Spot = tuple[_Identity, str]


@dataclass(slots=True)
class _Folder:
    """A folder that was walked."""

    name: str
    suffixes: tuple[str, ...]
    #: entries that lead elsewhere or further down: links and folders, hidden ones too
    leading: frozenset[str]


@dataclass(slots=True)
class _Map:
    """What a walk found out about where files are, so that an event can be understood without another one."""

    walked: dict[_Identity, list[_Folder]] = field(default_factory=dict)
    #: files that are not in a walked folder, or are links: by where their content is
    files: dict[_Spot, set[str]] = field(default_factory=dict)
    #: entries that lead to folders or files, or would if they were there
    gates: set[_Spot] = field(default_factory=set)
    #: where events would show, by absolute path
    watched: dict[str, _Identity] = field(default_factory=dict)

    def add(self, identity: _Identity, folder: _Folder) -> None:
        """A folder was walked."""
        self.walked.setdefault(identity, []).append(folder)
        self.watched[os.path.abspath(folder.name)] = identity

    def reach(self, path: str, file: str | None = None) -> None:
        """``path`` leads somewhere, or is where the content of ``file`` is; it may not be there."""
        path = os.path.abspath(path)
        folder = nearest = _nearest_folder(path)
        identity = self.watched.get(nearest)
        if identity is None:
            try:
                status = os.stat(folder)
            except OSError:
                return
            identity = self.watched[nearest] = (status.st_dev, status.st_ino)
        spot = (identity, os.path.relpath(path, nearest).split(os.sep)[0])
        if file is not None and os.path.dirname(path) == nearest:
            self.files.setdefault(spot, set()).add(file)
        else:
            self.gates.add(spot)


class Fingerprints:
    """The content of all files below ``paths``, by path. A path may be a file, a folder, or nothing yet.

    ``paths`` maps each to the suffixes of the files that count in it when it is a folder; none: all of them. Folders
    are walked to the bottom, links followed, entries that begin with a dot left out: a Kubernetes mount shows each
    file twice, once below such a folder.
    """

    __slots__ = ("_known", "_map", "moved", "paths")

    def __init__(self, paths: Mapping[str, tuple[str, ...]], before: Fingerprints | None = None) -> None:
        """``before``: what is known already, of other paths perhaps."""
        self.paths = paths
        #: what was written or put in place since the look before, be it with the same content
        self.moved: set[str] = set()
        self._map = _Map()
        self._known: dict[str, _Entry] = {} if before is None else before._known

    @property
    def folders(self) -> Mapping[str, tuple[int, int]]:
        """Where the last look at everything has been, and so where an event would show.

        By absolute path what tells a folder from another one in its place.
        """
        return self._map.watched

    def look(self) -> set[str]:
        """Files whose content has changed, appeared or vanished since the last look."""
        changed: set[str] = set()
        self.moved = set()
        self._map = _Map()
        seen: dict[str, _Entry] = {}
        for path in self._files():
            if path not in seen:
                entry = self._compare(path, changed)
                if entry is not None:
                    seen[path] = entry
        changed.update(path for path in self._known if path not in seen)
        self._known = seen
        self.moved |= changed
        return changed

    def look_at(self, events: Iterable[str]) -> set[str] | None:
        """As :meth:`look`, at nothing but what ``events`` may be about: absolute paths in the folders.

        None: they may be about anything, so everything has to be looked at.
        """
        suspects: set[str] = set()
        for path in events:
            found = self._meant(path)
            if found is None:
                return None
            suspects |= found
        if any(map(os.path.isdir, suspects)):
            return None
        changed: set[str] = set()
        self.moved = set()
        for path in suspects:
            entry = self._compare(path, changed)
            if entry is not None:
                self._known[path] = entry
            elif self._known.pop(path, None) is not None:
                changed.add(path)
        self.moved |= changed
        return changed

    def _compare(self, path: str, changed: set[str]) -> _Entry | None:
        """What ``path`` holds now; noted if it is something else."""
        before = self._known.get(path)
        entry = _fingerprint(path, before)
        if entry is not None:
            if before is None or before.digest != entry.digest:
                changed.add(path)
            elif before.signature != entry.signature:
                self.moved.add(path)
        return entry

    def _meant(self, path: str) -> set[str] | None:
        """The files an event of ``path`` is about; None: there is no telling."""
        known = self._map
        folder, entry = os.path.split(path)
        identity = known.watched.get(folder)
        if identity is None or path in known.watched or (identity, entry) in known.gates:
            return None
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            mode = 0
        files = set(known.files.get((identity, entry), ()))
        walked = known.walked.get(identity, ())
        if files or walked:
            leads = stat.S_ISLNK(mode) or stat.S_ISDIR(mode)
            if leads or any(entry in each.leading for each in walked):
                return None
        for each in walked:
            file = os.path.join(each.name, entry)
            counts = not entry.startswith(".") and (not each.suffixes or entry.endswith(each.suffixes))
            if file in self._known or (mode and counts):
                files.add(file)
        return files

    def digest(self, path: str) -> bytes | None:
        """What ``path`` had at the last look; None when there was no such file."""
        entry = self._known.get(path)
        return None if entry is None else entry.digest

    def covers(self, path: str) -> bool:
        """Whether ``path`` is one of the paths, or below one."""
        return any(path == one or path.startswith(one.rstrip("/") + "/") for one in self.paths)

    def _files(self) -> Iterator[str]:
        for path, suffixes in self.paths.items():
            if os.path.isdir(path):
                yield from self._walk(path, suffixes, set())
                # Where a link would be put in its place.
                self._map.reach(path)
                if os.path.islink(path):
                    self._map.reach(os.path.realpath(path))
            else:
                self._reach_file(path)
                yield path

    def _reach_file(self, path: str) -> None:
        """A file of no folder, or one that is a link."""
        if os.path.islink(path):
            self._map.reach(path)
            self._map.reach(os.path.realpath(path), path)
        else:
            self._map.reach(path, path)

    def _walk(self, folder: str, suffixes: tuple[str, ...], visited: set[_Identity]) -> Iterator[str]:
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in visited:  # a loop of links
                return
            visited.add(identity)
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return
        leading = frozenset(entry.name for entry in listed if entry.is_symlink() or _is_folder(entry))
        self._map.add(identity, _Folder(folder, suffixes, leading))
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if entry.name in leading and _is_folder(entry):
                yield from self._walk(entry.path, suffixes, visited)
            elif not suffixes or entry.name.endswith(suffixes):
                if entry.name in leading:
                    self._map.reach(os.path.realpath(entry.path), entry.path)
                yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _nearest_folder(path: str) -> str:
    """The folder a path is in, or the nearest above that exists."""
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _fingerprint(path: str, before: _Entry | None) -> _Entry | None:
    """What ``path`` holds now; None when there is no such file."""
    now_s = time.time()
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return _Entry((0, 0, 0, 0, 0), _UNREADABLE, True)
    signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if before is not None and before.sure and before.signature == signature:
        return before
    newest_s = max(status.st_mtime_ns, status.st_ctime_ns) / 1e9
    # A time to come (a clock that was set back) is no reason to read the file for ever.
    sure = newest_s < now_s - _UNSURE_S or newest_s > now_s + _UNSURE_S
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_HASHED_BYTES:
        return _Entry(signature, repr(signature).encode(), True)
    return _Entry(signature, _digest(path), sure)


def _digest(path: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return _UNREADABLE
    try:
        while piece := os.read(descriptor, _CHUNK_BYTES):
            digest.update(piece)
    except OSError:
        return _UNREADABLE
    finally:
        os.close(descriptor)
    return digest.digest()
