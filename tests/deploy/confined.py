"""Run a program as a unit would confine it: ``python -m tests.deploy.confined UNIT -- PROGRAM ARGUMENT...``.

What systemd does by seccomp is done here in the same way and needs no root: the system calls that are left, the
kinds of sockets, no memory that is both written and executed. Anything else of the unit (files, users, devices)
belongs to a service manager.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from pathlib import Path
from typing import Any

from tests.deploy.units import allowed_calls, values

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_NOT_EQUAL, _MASKED_EQUAL, _EQUAL = 1, 7, 4
_PR_SET_NO_NEW_PRIVS = 38
_WRITE, _EXECUTE = 2, 4
_FAMILIES = 64


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class Filter:
    """One filter of system calls; what no rule names gets ``otherwise``."""

    def __init__(self, otherwise: int) -> None:
        self._lib: Any = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(otherwise)))

    def add(self, action: int, call: str, *comparisons: tuple[int, int, int, int]) -> None:
        """A rule for ``call``; calls that this machine does not have are left out."""
        number = self._lib.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        array = (_Comparison * len(comparisons))(*(_Comparison(*each) for each in comparisons))
        code = self._lib.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(comparisons), array
        )
        if code:
            raise OSError(-code, f"{os.strerror(-code)}: {call}")

    def load(self) -> None:
        """From now on, for this process and what it becomes."""
        code = self._lib.seccomp_load(self._context)
        if code:
            raise OSError(-code, os.strerror(-code))


def confine(unit: Path) -> None:
    """Confine this process as ``unit`` says."""
    families = {getattr(socket, name) for name in values(unit, "RestrictAddressFamilies")[-1].split()}
    calls = allowed_calls(unit)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    shape = Filter(_ALLOW)
    for family in range(_FAMILIES):
        if family not in families:
            shape.add(_ERRNO | errno.EAFNOSUPPORT, "socket", (0, _EQUAL, family, 0))
    if values(unit, "MemoryDenyWriteExecute") == ["yes"]:
        both = _WRITE | _EXECUTE
        shape.add(_ERRNO | errno.EPERM, "mmap", (2, _MASKED_EQUAL, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            shape.add(_ERRNO | errno.EPERM, call, (2, _MASKED_EQUAL, _EXECUTE, _EXECUTE))
    rest = Filter(_ERRNO | errno.EPERM)
    for call in sorted(calls):
        rest.add(_ALLOW, call)
    shape.load()
    rest.load()


def main(words: list[str]) -> None:
    """Confine, then become the program."""
    unit, dashes, *program = words
    assert dashes == "--"
    confine(Path(unit))
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
