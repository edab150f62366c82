"""Find the files of a configuration and read their bytes, within limits."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
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
    path: Path | None
    problem: str = ""


def find_files(paths: Sequence[str]) -> Iterator[FoundFile]:
    """Yield the files of `paths` in order: a named file whatever its suffix, the files of a folder sorted.

    A file reached twice (named and in a folder, or through a link) is read once.
    """
    seen: set[tuple[int, int]] = set()
    for name in paths:
        if name == STDIN:
            yield FoundFile(STDIN_NAME, None)
            continue
        for found in _walk(name):
            if found.path is not None and not found.problem:
                try:
                    status = found.path.stat()
                except OSError as error:
                    yield found._replace(problem=_reason(error))
                    continue
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            yield found


def _walk(name: str) -> Iterator[FoundFile]:
    path = Path(name)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        yield FoundFile(name, path, _reason(error))
        return
    if not is_folder:
        yield FoundFile(name, path)
        return
    failed: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=failed.append):
        # A Kubernetes mount shows each file twice, once below a folder `..2024_...`: hidden ones are out.
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        for entry in sorted(files):
            if entry.endswith(SUFFIXES) and not entry.startswith("."):
                shown = os.path.join(folder, entry)
                yield FoundFile(shown, Path(shown))
    for failure in failed:
        yield FoundFile(str(failure.filename or name), Path(name), _reason(failure))


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
            # A FIFO or a device would block or never end.
            if not stat.S_ISREG(found.path.stat().st_mode):
                raise Unreadable("GWD0001", "cannot read: not a regular file")
            with found.path.open("rb") as stream:
                data = stream.read(limit + 1)
    except OSError as error:
        raise Unreadable("GWD0001", f"cannot read: {_reason(error)}") from None
    if len(data) > limit:
        raise Unreadable("GWD0006", f"larger than {limit:,} bytes; split it into several files")
    return data


def decode_text(data: bytes) -> str:
    """Return the bytes as text; UnicodeDecodeError if they are not UTF-8."""
    return data.decode("utf-8-sig")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno == errno.ELOOP:
            return "too many links"
        return os.strerror(error.errno).lower()
    return str(error)
