"""Read credential files: within a size, only regular ones, and by name never outside their folder."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Final

from gatewayd.tls.material import MaterialError

#: A bundle of all public authorities has some 220 KB.
MAX_BYTES: Final = 1 << 20
#: Kubernetes' own names and a little more, but nothing that could climb: no "/", no NUL, no leading dot.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")


class FileReader:
    """Reads each file once until :meth:`forget`: many servers share one."""

    def __init__(self) -> None:
        self._read: dict[str, bytes | str] = {}

    def forget(self) -> None:
        """Read again from now on."""
        self._read.clear()

    def read(self, path: str) -> bytes:
        """The content of the file at ``path``; MaterialError says why not."""
        return self._once(path)

    def read_below(self, root: str, folder: str, name: str) -> bytes:
        """The file ``name`` of ``folder``; MaterialError when it is a link that leads out of ``root``.

        ``folder`` is below ``root``, and neither has a link in it.
        """
        return self._once(f"{folder}/{name}", root)

    def _once(self, path: str, *root: str) -> bytes:
        known = self._read.get(path)
        if known is None:
            try:
                known = _read_regular(path, *root)
            except MaterialError as error:
                known = str(error)
            self._read[path] = known
        if isinstance(known, str):
            raise MaterialError(known)
        return known


def real_folder(root: str, path: str) -> str:
    """The folder at ``path`` without links, "" when there is none. MaterialError when links lead out of ``root``."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISDIR(mode):
        return path
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        return ""
    _check_below(root, real, path)
    return real


def _check_below(root: str, real: str, path: str) -> None:
    if not real.startswith(root if root.endswith(os.sep) else root + os.sep):
        raise MaterialError(f"{path!r} is a link that leads out of {root!r}: not read")


def check_name(name: str) -> None:
    """Refuse a credential name that is not the name of one folder; raises MaterialError."""
    if not _NAME.fullmatch(name):
        raise MaterialError(f"{name[:253]!r} is not a credential name: letters, digits, '-', '_' and '.'")


def _read_regular(path: str, root: str = "") -> bytes:
    """The content of a file; with ``root``, links in the last place are followed only below it."""
    try:
        descriptor = _open(path, root)
    except (OSError, ValueError) as error:
        raise MaterialError(f"cannot read {path!r}: {reason(error)}") from None
    try:
        if root:  # what was opened, not what the path meant a moment before
            _check_below(root, os.readlink(f"/proc/self/fd/{descriptor}"), path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MaterialError(f"cannot read {path!r}: not a regular file")
        data = piece = os.read(descriptor, min(status.st_size, MAX_BYTES) + 1)
        while piece and len(data) > status.st_size and len(data) <= MAX_BYTES:  # it has grown
            piece = os.read(descriptor, MAX_BYTES + 1 - len(data))
            data += piece
        if len(data) > MAX_BYTES:
            raise MaterialError(f"cannot read {path!r}: larger than {MAX_BYTES:,} bytes")
    except OSError as error:
        raise MaterialError(f"cannot read {path!r}: {reason(error)}") from None
    finally:
        os.close(descriptor)
    return data


def _open(path: str, root: str) -> int:
    # Not blocking on a FIFO, and never a device.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if not root:
        return os.open(path, flags)
    try:
        return os.open(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    real = os.path.realpath(path)
    _check_below(root, real, path)
    return os.open(real, flags | os.O_NOFOLLOW)


def reason(error: Exception) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return "too many links" if error.errno == errno.ELOOP else os.strerror(error.errno).lower()
    return "a path cannot hold a NUL" if "null" in str(error) else str(error)
