"""Making a worker by fork: what the copy must let go of before it does anything else.

The copy has all that its supervisor has: descriptors of other workers, connections of operators, signal handlers that
would wake the wrong process. Python objects that stand for them stay where they are and are never touched again; the
descriptors are closed, whoever opened them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from gatewayd.runtime.process import SIGNALS, hear_signals

_PR_SET_PDEATHSIG: Final = 1
_STANDARD: Final = frozenset({0, 1, 2})


class Threads(ThreadPoolExecutor):
    """The threads of a process that forks: it does so only while none of them is at work."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="gatewayd")
        self._work: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See the base."""
        future = super().submit(fn, *args, **kwargs)
        self._work = [each for each in self._work if not each.done()] + [future]
        return future

    @property
    def at_work(self) -> bool:
        """Whether anything is being done."""
        return not all(each.done() for each in self._work)


def fork(keep: Iterable[int]) -> int:
    """As ``os.fork``. The child keeps the descriptors ``keep`` and the standard ones.

    What the child is sent waits until it has handlers of its own, and calls
    :func:`~gatewayd.runtime.process.hear_signals`.
    """
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with warnings.catch_warnings():
            # There may be threads: one that waits for files to change, and idle ones. None of them holds a lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError:
        hear_signals()
        raise
    if pid:
        hear_signals()
        return pid
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    close_others(keep)
    _notice_death_of(parent)
    return 0


def close_others(keep: Iterable[int]) -> None:
    """Close every descriptor but ``keep`` and the standard ones."""
    kept = _STANDARD.union(keep)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the one of the listing itself
                os.close(int(name))


def _notice_death_of(parent: int) -> None:
    """A worker that hangs when its supervisor dies hears of it all the same: see ``member.py``."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGALRM)
    if os.getppid() != parent:  # it died in between
        signal.raise_signal(signal.SIGALRM)
