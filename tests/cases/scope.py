"""What this version does not claim yet: rules by property and literal ids, each with its reason."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cases.loading import Call, Case

DEFAULT_FILE = Path(__file__).with_name("out_of_scope.yaml")


class ScopeError(Exception):
    """The scope file is not what it should be."""


def _protocol(case: Case, call: Call) -> set[Any]:
    if str(call.data.get("http_version", "")) in ("2", "HTTP/2"):
        return {"http2"}
    return {call.data.get("protocol")}


def _upstream_kinds(case: Case, call: Call) -> set[Any]:
    return {upstream.get("kind") for upstream in case.data.get("upstreams") or []}


def _config_keys(case: Case, call: Call) -> set[Any]:
    return _keys_of(case)


@functools.lru_cache(maxsize=256)
def _keys_of(case: Case) -> set[Any]:
    found: set[Any] = set()
    waiting: list[Any] = [document.get("spec") for document in case.documents()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found |= value.keys()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found


# Word of a rule's ``where`` -> the values a call has; the rule holds when it names one of them.
PREDICATES = {
    "protocol": _protocol,
    "tls": lambda case, call: {"tls" in call.data or call.data.get("protocol") in ("https", "tls")},
    "mode": lambda case, call: {case.data.get("mode", "gateway")},
    "upstream_kind": _upstream_kinds,
    "config_key": _config_keys,
}


@dataclass(frozen=True)
class Rule:
    """All predicates of ``where`` must hold."""

    where: Mapping[str, Any]
    reason: str

    def holds(self, case: Case, call: Call) -> bool:
        """Whether the rule takes this call out of scope."""
        for word, wanted in self.where.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            if not PREDICATES[word](case, call) & set(values):
                return False
        return True


@dataclass(frozen=True)
class Scope:
    """Rules, and for each file name the ids (``case`` or ``case/call``) with their reasons.

    played: for each file name the ids that are in scope although a rule holds, since they behave already.
    """

    rules: list[Rule]
    ids: Mapping[str, Mapping[str, str]]
    played: Mapping[str, list[str]]

    @classmethod
    def load(cls, path: Path = DEFAULT_FILE) -> Scope:
        """Read a scope file. Raises ScopeError for unknown words and missing reasons."""
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if data.keys() - {"rules", "ids", "played"}:
            raise ScopeError(f"{path}: expected only rules, ids and played")
        rules = [
            Rule(item.get("where") or {}, str(item.get("reason") or "")) for item in data.get("rules") or []
        ]
        ids = {str(file): dict(entries or {}) for file, entries in (data.get("ids") or {}).items()}
        for rule in rules:
            if not rule.where or rule.where.keys() - PREDICATES.keys() or not rule.reason:
                raise ScopeError(
                    f"{path}: a rule needs a reason and where with {', '.join(PREDICATES)}: {rule}"
                )
        for file, entries in ids.items():
            for entry, reason in entries.items():
                if not reason:
                    raise ScopeError(f"{path}: {file}: {entry} has no reason")
        played = {str(file): list(entries or []) for file, entries in (data.get("played") or {}).items()}
        return cls(rules, ids, played)

    def reason(self, case: Case, call: Call) -> str | None:
        """Why this call is out of scope; None when it is in scope."""
        entries = self.ids.get(case.file.name, {})
        for entry in (f"{case.id}/{call.id}", case.id):
            if entry in entries:
                return entries[entry]
        if {f"{case.id}/{call.id}", case.id} & set(self.played.get(case.file.name, ())):
            return None
        return next((rule.reason for rule in self.rules if rule.holds(case, call)), None)

    def stale(self, cases: Iterable[Case]) -> list[str]:
        """Entries whose file is among those of ``cases`` and whose id is not."""
        present: dict[str, set[str]] = {}
        for case in cases:
            known = present.setdefault(case.file.name, set())
            known.add(case.id)
            known.update(f"{case.id}/{call.id}" for call in case.calls)
        return [
            f"{file}: {entry}"
            for file, entries in [*self.ids.items(), *self.played.items()]
            if file in present
            for entry in entries
            if entry not in present[file]
        ]
