"""The allocator and the garbage collector, set for a process that serves.

glibc gives the top of the heap back and takes it again around every large read. Keeping it is worth more
than half of the CPU time of a bulk download. The collector has nothing to find on the data path, whose
objects carry no cycles: what was loaded is frozen, and it runs rarely.
"""

from __future__ import annotations

import ctypes
import gc
import logging
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
    """No collection while thousands of documents are read: nothing they make is garbage."""
    gc.disable()


def end_loading() -> None:
    """Collect once, exempt what lives from all later runs, and give unused memory back."""
    gc.collect()
    gc.freeze()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)
    gc.set_threshold(*_SERVING_THRESHOLDS)
    gc.enable()
    _log.debug("%d objects are exempt from garbage collection", gc.get_freeze_count())
