"""What files held when they were last read, so that a reload reads and parses only those that changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from gatewayd.sources.origin import Stamp


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
    stamp: Stamp | None


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

    def known(self, name: str) -> FileContent | None:
        """What ``name`` held, for who knows that it has not changed."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        self._used[name] = entry
        return entry.content

    def untouched(self, name: str, stamp: Stamp | None) -> FileContent | None:
        """What ``name`` held, if its stamp says that it still does."""
        entry = self._entries.get(name)
        if entry is None or stamp is None or entry.stamp is None:
            return None
        if not entry.stamp.sure or entry.stamp.signature != stamp.signature:
            return None
        self._used[name] = entry
        return entry.content

    def same(self, name: str, data: bytes, stamp: Stamp | None) -> FileContent | None:
        """What ``name`` held, if that was read from the same bytes. ``stamp``: from before they were read."""
        entry = self._entries.get(name)
        if entry is None or entry.digest != _digest(data):
            return None
        entry.stamp = stamp
        self._used[name] = entry
        return entry.content

    def keep(self, name: str, data: bytes, stamp: Stamp | None, content: FileContent) -> None:
        """``name`` was read. What could not be read is not kept: there is nothing to compare."""
        self._used[name] = _Entry(content, _digest(data), stamp)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
