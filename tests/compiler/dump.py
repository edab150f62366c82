"""A snapshot as plain data: everything in it that makes a difference, so that two can be compared."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

from gatewayd.regexes import Regex
from gatewayd.resources.meta import Resource
from gatewayd.routing.route import RouteSource
from gatewayd.routing.table import RouteTable, VirtualHost
from gatewayd.snapshot import Snapshot


def dump_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """By name; order counts where it does for requests."""
    return {
        "listeners": {listener.name: dump(listener) for listener in snapshot.listeners},
        "clusters": {name: dump(spec) for name, spec in snapshot.clusters.items()},
        "metadata": {name: spec.metadata for name, spec in snapshot.clusters.items()},
        "adopted": {name: dump(cluster) for name, cluster in snapshot.adopted.items()},
        "findings": list(snapshot.findings),
        "set_aside": snapshot.set_aside,
        "collector": dump(snapshot.collector),
        "span_tags": snapshot.span_tags,
        "access_log": snapshot.access_log,
    }


def dump(value: Any) -> Any:
    """``value`` as tuples, dicts, text and numbers."""
    if value is None or isinstance(value, (str, bytes, int, float, bool, frozenset)):
        return value
    if isinstance(value, (tuple, list)):
        return [dump(each) for each in value]
    if isinstance(value, dict):
        return {key: dump(each) for key, each in value.items()}
    if isinstance(value, RouteTable):
        return {name: dump(host) for name, host in value.by_name.items()}
    if isinstance(value, VirtualHost):
        return (value.name, value.domains, value.require_tls, dump(value.rules))
    if isinstance(value, RouteSource):
        return (value.kind, value.namespace, value.name, value.rule, value.block, value.file, value.line)
    if isinstance(value, Resource):
        return repr(value)
    if isinstance(value, Regex):
        return ("regex", value.pattern)
    if isinstance(value, types.MethodType):
        return (value.__qualname__, dump(value.__self__))
    if isinstance(value, types.FunctionType):
        return (value.__qualname__, [dump(cell.cell_contents) for cell in value.__closure__ or ()])
    if isinstance(value, types.BuiltinFunctionType):
        return value.__qualname__
    if dataclasses.is_dataclass(value):
        # What is not compared makes no other cluster: one that is in use may have it from before.
        names = [each.name for each in dataclasses.fields(value) if each.compare]
    else:
        names = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
        names += getattr(value, "__dict__", {}).keys()
    return (type(value).__name__, {name: dump(getattr(value, name, None)) for name in names})
