"""HOT for clusters that are balanced by load: what is known of an endpoint's (semantics 9.19)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

from gatewayd.http.message import Pair
from gatewayd.upstream.balancers.by_load import Load, LoadOptions, weight_of
from gatewayd.upstream.load_report import ReportError, read, said

#: of what is logged
_LONGEST: Final = 100

_log = logging.getLogger("gatewayd.upstream")


def hear(endpoint: Any, options: LoadOptions, pairs: Iterable[Pair]) -> None:
    """Take note of the report among the fields of an answer of ``endpoint``, if there is one."""
    written = said(pairs)
    if written is None:
        return
    load: Load | None = endpoint.load
    if load is None:
        load = endpoint.load = Load()
    if written == load.written:  # a busy endpoint repeats itself
        if load.readable:
            load.tell(load.weight, monotonic())
        return
    load.written = written
    try:
        weight = weight_of(read(written), options)
        load.readable = weight is not None
        if weight is not None:
            load.tell(weight, monotonic())
            return
        why = "it tells no rate, or no utilization"
    except ReportError as error:
        load.readable = False
        why = str(error)[:_LONGEST]
    if not load.complained:
        load.complained = True
        _log.warning("a load report of %s is of no use: %s", endpoint.host_port, why)
