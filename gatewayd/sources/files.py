"""Find the files of a configuration and read their bytes, within limits."""

import errno
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from gatewayd.sources.limits import Limits

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"
STDIN_NAME = "<stdin>"


class Unreadable(Exception):
    """A file or folder that cannot be read; `code` is its finding's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FoundFile(NamedTuple):
    """A file to read; `path` is None for stdin. `problem` is set when it cannot even be found."""

    name: str
    path: str | os.PathLike[str] | None
    problem: str = ""


def walk(name: str) -> Iterator[FoundFile]:
    """Yield the files of a path: itself whatever its suffix, or those of a folder, sorted."""
    try:
        is_folder = stat.S_ISDIR(os.stat(name).st_mode)
    except (OSError, ValueError) as error:
        yield FoundFile(name, name, reason_of(error))
        return
    if not is_folder:
        yield FoundFile(name, name)
        return
    failed: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=failed.append):
        # A Kubernetes mount shows each file twice, once below a folder `..2024_...`: hidden ones are out.
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        for entry in sorted(files):
            if entry.endswith(SUFFIXES) and not entry.startswith("."):
                shown = os.path.join(folder, entry)
                yield FoundFile(shown, shown)
    for failure in failed:
        yield FoundFile(str(failure.filename or name), name, reason_of(failure))


def read_bytes(found: FoundFile, stdin: BinaryIO | None, limits: Limits) -> bytes:
    """Return the content of a file; Unreadable says why not."""
    if found.problem:
        raise Unreadable("GWD0001", f"cannot read: {found.problem}")
    limit = limits.max_file_bytes
    try:
        if found.path is None:
            if stdin is None:
                raise Unreadable("GWD0001", "cannot read: no standard input here")
            data = stdin.read(limit + 1)
        else:
            data = _read_regular(found.path, limit + 1)
    except OSError as error:
        raise Unreadable("GWD0001", f"cannot read: {reason_of(error)}") from None
    if len(data) > limit:
        raise Unreadable("GWD0006", f"larger than {limit:,} bytes; split it into several files")
    return data


def _read_regular(path: str | os.PathLike[str], size: int) -> bytes:
    """Up to ``size`` bytes of a file. A FIFO or a device would block or never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("GWD0001", "cannot read: not a regular file")
        pieces: list[bytes] = []
        while size > 0 and (piece := os.read(descriptor, min(size, status.st_size + 1))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def decode_text(data: bytes) -> str:
    """Return the bytes as text; UnicodeDecodeError if they are not UTF-8."""
    return data.decode("utf-8-sig")


def reason_of(error: Exception) -> str:
    """Why something cannot be read, in the words of the system."""
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno == errno.ELOOP:
            return "too many links"
        return os.strerror(error.errno).lower()
    return str(error)
