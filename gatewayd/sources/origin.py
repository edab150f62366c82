"""Where the texts of configuration files come from: the disk, or somebody who has read them already.

Whoever reads configuration asks a :class:`FileSource` and nothing else, so that a process may be given the very texts
that another one has read and found good (``handed.py``) instead of reading the disk a moment later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterable, Sequence
from typing import BinaryIO, Final, NamedTuple, Protocol

from gatewayd.sources.files import FoundFile, find_files, read_bytes
from gatewayd.sources.limits import Limits

#: A file changed so short a time before it was looked at may change again without its times moving.
_UNSURE_S: Final = 2.0


class Stamp(NamedTuple):
    """What moves when a file is touched."""

    signature: Hashable
    #: False: the content may change without the signature moving, so it has to be read to be known
    sure: bool


class FileSource(Protocol):
    """What a reader of configuration asks."""

    def find(self, paths: Sequence[str]) -> Iterable[FoundFile]:
        """The files of ``paths``, in the order in which they count; also those that cannot be found, and why."""
        ...

    def stamp(self, found: FoundFile) -> Stamp | None:
        """What a later stamp of the same file is compared with; None when there is none to be had."""
        ...

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        """The content of a file; :class:`~gatewayd.sources.files.Unreadable` says why not."""
        ...


class Disk:
    """The files as they are now. ``stdin`` is what ``-`` reads, once: later loads have what it held."""

    def __init__(self, stdin: BinaryIO | None = None) -> None:
        self._stdin = stdin

    def find(self, paths: Sequence[str]) -> Iterable[FoundFile]:
        """As :func:`~gatewayd.sources.files.find_files`."""
        return find_files(paths)

    def stamp(self, found: FoundFile) -> Stamp | None:
        """Device, inode, size and times; sure when they are old enough."""
        if found.path is None:
            return Stamp("standard input", True)
        try:
            status = os.stat(found.path)
        except (OSError, ValueError):
            return None
        newest_s = max(status.st_mtime_ns, status.st_ctime_ns) / 1e9
        # A time to come (a clock that was set back) is no reason to read the file for ever.
        sure = abs(time.time() - newest_s) > _UNSURE_S
        return Stamp(
            (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns), sure
        )

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        """As :func:`~gatewayd.sources.files.read_bytes`."""
        return read_bytes(found, self._stdin, limits)
