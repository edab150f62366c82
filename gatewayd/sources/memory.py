"""What files held when they were last read, so that a reload reads and parses only those that changed."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from typing import Any, Final

#: A file changed so short a time before it was read may change again without its times moving.
_UNSURE_S: Final = 2.0

#: device, inode, size, mtime, ctime
Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class FileContent:
    """One file, read: findings, resources and documents set aside, in the order in which they stand in it."""

    items: tuple[Any, ...]
    #: it, or a part of it, could not be read or parsed
    unreadable: bool


@dataclass(slots=True)
class _Entry:
    content: FileContent
    digest: bytes
    signature: Signature | None
    #: when the signature was taken: seconds since 1970
    seen_s: float


class FileMemory:
    """Contents by file name. Give the same one to every :func:`gatewayd.sources.load` of one set of paths.

    A file whose times say that it has not been touched is not even opened; one whose bytes are as before is not
    parsed. Standard input is read once: later loads have what it held.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._used: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self) -> None:
        """A load begins: what it does not ask for is forgotten at its end."""
        self._used = {}

    def end(self) -> None:
        """A load is complete."""
        self._entries = self._used
        self._used = {}

    def untouched(self, name: str, path: str | os.PathLike[str] | None) -> FileContent | None:
        """What ``name`` held, if its times say that it still does; ``path`` None: standard input."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if path is not None:
            signature = signature_of(path)
            newest_s = max(signature[3:]) / 1e9 if signature is not None else 0.0
            if signature is None or signature != entry.signature:
                return None
            if entry.seen_s - _UNSURE_S <= newest_s <= entry.seen_s + _UNSURE_S:
                return None
        self._used[name] = entry
        return entry.content

    def same(self, name: str, data: bytes, signature: Signature | None) -> FileContent | None:
        """What ``name`` held, if that was read from the same bytes. ``signature``: from before they were read."""
        entry = self._entries.get(name)
        if entry is None or entry.digest != _digest(data):
            return None
        entry.signature, entry.seen_s = signature, time.time()
        self._used[name] = entry
        return entry.content

    def keep(self, name: str, data: bytes, signature: Signature | None, content: FileContent) -> None:
        """``name`` was read. What could not be read is not kept: there is nothing to compare."""
        self._used[name] = _Entry(content, _digest(data), signature, time.time())


def signature_of(path: str | os.PathLike[str]) -> Signature | None:
    """What moves when a file is touched; None when there is none to be seen."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
