"""Decode a spec and give what is found wrong with it, one line each."""

from typing import Any

from gatewayd.resources.decode import decode
from gatewayd.resources.faults import Fault
from gatewayd.resources.kinds import KINDS
from gatewayd.resources.meta import ObjectMeta, format_path
from gatewayd.resources.validate import validate


def faults(kind: str, spec: Any, name: str = "a", labels: dict[str, str] | None = None) -> list[Fault]:
    decoded, problems = decode(spec, KINDS[kind].model)
    assert problems == []
    return validate(decoded, ObjectMeta(name=name, namespace="shop", labels=labels or {}))


def errors(kind: str, spec: Any) -> list[str]:
    return [f"{format_path(f.path)}: {f.message}" for f in faults(kind, spec) if f.level == "error"]


def warnings(kind: str, spec: Any) -> list[str]:
    return [f"{format_path(f.path)}: {f.message}" for f in faults(kind, spec) if f.level == "warning"]
