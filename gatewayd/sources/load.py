"""Load once: paths in, typed resources and findings out. Nothing found here stops the rest from being loaded."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from gatewayd.sources.inventory import Inventory, LoadResult
from gatewayd.sources.limits import Limits
from gatewayd.sources.origin import Disk


def load(paths: Sequence[str], stdin: BinaryIO | None = None, limits: Limits | None = None) -> LoadResult:
    """Read `paths` (files, folders, `-` for `stdin`); return the resources in them and what there is to say.

    Never raises for anything in a file. A resource with an error is set aside alone; the others stand.
    """
    with collector_off():
        return Inventory(paths, Disk(stdin), limits).load()


@contextmanager
def collector_off() -> Iterator[None]:
    """Trees without cycles: looking for garbage in them takes longer than building them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
