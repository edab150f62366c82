"""What watched files hold, as hashes: looked at by ``stat`` first, read only when that has moved."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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


class Fingerprints:
    """The content of all files below ``paths``, by path. A path may be a file, a folder, or nothing yet.

    ``paths`` maps each to the suffixes of the files that count in it when it is a folder; none: all of them. Folders
    are walked to the bottom, links followed, entries that begin with a dot left out: a Kubernetes mount shows each
    file twice, once below such a folder.
    """

    __slots__ = ("_known", "folders", "moved", "paths")

    def __init__(self, paths: Mapping[str, tuple[str, ...]], before: Fingerprints | None = None) -> None:
        """``before``: what is known already, of other paths perhaps."""
        self.paths = paths
        #: where the last look has been, and so where an event would show
        self.folders: frozenset[str] = frozenset()
        #: whether anything was written or put in place since the look before, be it with the same content
        self.moved = False
        self._known: dict[str, _Entry] = {} if before is None else before._known

    def look(self) -> set[str]:
        """Files whose content has changed, appeared or vanished since the last look."""
        changed: set[str] = set()
        moved = False
        seen: dict[str, _Entry] = {}
        folders: set[str] = set()
        for path in self._files(folders):
            if path in seen:
                continue
            before = self._known.get(path)
            entry = _fingerprint(path, before)
            if entry is None:
                continue
            seen[path] = entry
            if before is None or before.digest != entry.digest:
                changed.add(path)
            elif before.signature != entry.signature:
                moved = True
        changed.update(path for path in self._known if path not in seen)
        self._known = seen
        self.moved = moved or bool(changed)
        self.folders = frozenset(folders)
        return changed

    def digest(self, path: str) -> bytes | None:
        """What ``path`` had at the last look; None when there was no such file."""
        entry = self._known.get(path)
        return None if entry is None else entry.digest

    def covers(self, path: str) -> bool:
        """Whether ``path`` is one of the paths, or below one."""
        return any(path == one or path.startswith(one.rstrip("/") + "/") for one in self.paths)

    def _files(self, folders: set[str]) -> Iterator[str]:
        for path, suffixes in self.paths.items():
            if os.path.isdir(path):
                visited: set[tuple[int, int]] = set()
                yield from _walk(path, suffixes, folders, visited)
            else:
                yield path
            # Where a missing file would appear, and where a link would be put in another's place.
            folders.add(_nearest_folder(path))
            if os.path.islink(path):
                folders.add(_nearest_folder(os.path.realpath(path)))


def _walk(
    folder: str, suffixes: tuple[str, ...], folders: set[str], visited: set[tuple[int, int]]
) -> Iterator[str]:
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:  # a loop of links
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    folders.add(folder)
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield from _walk(entry.path, suffixes, folders, visited)
        elif not suffixes or entry.name.endswith(suffixes):
            if entry.is_symlink():
                folders.add(_nearest_folder(os.path.realpath(entry.path)))
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
