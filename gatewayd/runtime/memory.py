"""The allocator and the garbage collector, set for a process that serves.

glibc gives the top of the heap back and takes it again around every large read. Keeping it is worth more
than half of the CPU time of a bulk download. The collector has nothing to find on the data path, whose
objects carry no cycles: what was loaded is frozen, and it runs rarely.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import sys
from collections.abc import Iterator
from typing import Any, Final

_log = logging.getLogger("gatewayd.runtime")

#: mallopt(3): parameter -> bytes. Set at run time they act like the MALLOC_*_ variables at start, so
#: there is no need to execute the program a second time.
_MALLOPT: Final = {
    -1: 16 * 1024 * 1024,  # M_TRIM_THRESHOLD: free memory kept at the top of the heap
    -2: 1024 * 1024,  # M_TOP_PAD: what is asked for beyond the need
    -3: 4 * 1024 * 1024,  # M_MMAP_THRESHOLD: smaller blocks come from the heap
}
_SERVING_THRESHOLDS: Final = (100_000, 50, 50)


#: How long one thread computes before another one has its turn: Python's default is 5 ms, and a request takes several.
_TURN_S: Final = 0.0005
#: So many objects of a reload may be left to the collector's ordinary course.
_FEW_OBJECTS: Final = 50_000


def _libc() -> Any:
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version") else None
    except OSError:
        return None


def tune_allocator() -> bool:
    """Keep freed memory for the next read; False where the allocator is not glibc's."""
    libc = _libc()
    if libc is None:
        return False
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in _MALLOPT.items())


def begin_loading() -> None:
    """Collect once; then not while thousands of documents are read: nothing they make is garbage."""
    gc.collect()
    gc.disable()


def end_loading() -> None:
    """Exempt what lives from all later collections, and give unused memory back."""
    gc.freeze()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)
    gc.set_threshold(*_SERVING_THRESHOLDS)
    gc.enable()
    _log.debug("%d objects are exempt from garbage collection", gc.get_freeze_count())


def exempt() -> None:
    """Before a fork: what lives is left alone by the collector, here and in the copy, whose pages stay shared."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Look for garbage, and give what is free back to the system: there is too little memory."""
    gc.collect()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


@contextlib.contextmanager
def beside_traffic() -> Iterator[None]:
    """For work in a thread while the loop serves: short turns, and no collection in the midst of it.

    What a big reload leaves behind is exempt from collection at once. To look through it would stop the process for
    longer than a request may wait.
    """
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(min(turn_s, _TURN_S))
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > _FEW_OBJECTS:
            gc.freeze()
        gc.enable()
        sys.setswitchinterval(turn_s)
