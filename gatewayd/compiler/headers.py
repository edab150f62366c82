"""``headers`` of rules and destinations: levels, and the authority among them (semantics 6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatewayd.policies.header_ops import HeaderLevel, HeaderOps, compile_levels, level_of
from gatewayd.resources.virtual_service import HeaderOperations, Headers

Ops = tuple[HeaderOps | None, HeaderOps | None]
#: What a rule with one destination, or none, and no ``headers`` anywhere has.
NO_OPS: Final[tuple[Ops, ...]] = ((None, None),)

_AUTHORITY: Final = frozenset({"host", ":authority"})
_NO_LEVEL: Final = HeaderLevel()


def authority_of(headers: Headers | None) -> str | None:
    """The upstream authority that header operations ask for; ``set`` beats ``add`` (6.2.6)."""
    operations = headers.request if headers is not None else None
    if operations is None:
        return None
    for pairs in (operations.set, operations.add):
        for name, value in pairs.items():
            if name.lower() in _AUTHORITY:
                return value
    return None


def _without_authority(pairs: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in pairs.items() if name.lower() not in _AUTHORITY}


def _level(operations: HeaderOperations | None, *more: HeaderLevel) -> HeaderLevel:
    if operations is None:
        return level_of({}, {}, (), *more) if more else _NO_LEVEL
    return level_of(
        _without_authority(operations.set), _without_authority(operations.add), operations.remove, *more
    )


def compile_headers(
    rule: Headers | None, destination: Headers | None, *, single: bool
) -> tuple[HeaderOps | None, HeaderOps | None]:
    """Request and response operations in effect for a destination; None where there are none.

    With one destination, rule and destination are one level, the rule's operations first, so that of
    two sets of one name the destination's wins (6.2.4). With several, the destination's level runs
    before the rule's, so the rule's wins (6.2.5). ValueError, in words, for what cannot be honoured.
    """
    if rule is None and destination is None:
        return None, None
    return (
        _compile(
            rule.request if rule else None, destination.request if destination else None, single, request=True
        ),
        _compile(
            rule.response if rule else None,
            destination.response if destination else None,
            single,
            request=False,
        ),
    )


def _compile(
    rule: HeaderOperations | None, destination: HeaderOperations | None, single: bool, *, request: bool
) -> HeaderOps | None:
    if rule is None and destination is None:
        return None
    if single:
        return compile_levels([_level(rule, _level(destination))], request=request)
    return compile_levels([_level(destination), _level(rule)], request=request)
