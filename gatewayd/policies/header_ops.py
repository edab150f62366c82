"""HOT: ``headers.request`` and ``headers.response``: remove, set and add, compiled (semantics 6.2).

Host and ``:authority`` are no header operations: the compiler makes them ``Destination.authority``, whose
value Envoy takes literally, without variables (6.2.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gatewayd.http.headers import JOINED_IN_REQUESTS, JOINED_IN_RESPONSES
from gatewayd.http.message import Pair
from gatewayd.observe.formatter import Formatter, compile_format
from gatewayd.observe.operators import Reader
from gatewayd.observe.stream_info import StreamInfo

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: The length of a message is worked out by the proxy alone; a rule that could change it could split messages.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
#: Operations on these are the compiler's (authority) or impossible.
_CONTROL: Final = frozenset({"host"})


def _nothing(info: StreamInfo) -> bytes | None:
    return None


def _zero(info: StreamInfo) -> bytes | None:
    return b"0"


def _upstream_status(info: StreamInfo) -> bytes | None:
    return b"%d" % (info.status if info.responded_at else 0)


#: What variables say in request operations: no body has been read and no endpoint chosen (seen of Envoy).
_IN_REQUESTS: Final[dict[str, Reader]] = {
    **dict.fromkeys(("BYTES_RECEIVED", "BYTES_SENT"), _zero),
    **dict.fromkeys(
        (
            "UPSTREAM_HOST",
            "UPSTREAM_LOCAL_ADDRESS",
            "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
            "UPSTREAM_LOCAL_PORT",
            "UPSTREAM_PROTOCOL",
            "UPSTREAM_REMOTE_ADDRESS",
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
            "UPSTREAM_REMOTE_PORT",
        ),
        _nothing,
    ),
}
#: And in response operations: no body has been sent, and an answer made here has not counted yet.
_IN_RESPONSES: Final[dict[str, Reader]] = {"BYTES_SENT": _zero, "RESPONSE_CODE": _upstream_status}


@dataclass(frozen=True, slots=True)
class HeaderLevel:
    """The operations of one level: a rule's, a destination's, or both joined (semantics 6.2.4).

    ``set`` and ``add`` are (name, value) in the order in which they take effect; of two sets of one
    name the later wins.
    """

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Level:
    #: lower-case names whose lines go: removed ones and constant sets
    drop: frozenset[bytes]
    #: lines that come: constant sets, then constant adds
    constant: tuple[Pair, ...] = ()
    #: (name, value, is a set), in order; used instead of ``constant`` when any value has variables
    formatted: tuple[tuple[bytes, bytes | Formatter, bool], ...] = field(default=())
    #: names that come by an add and have one line at most: what is added is joined to it with ","
    joined: frozenset[bytes] = frozenset()


def level_of(
    set: Mapping[str, str], add: Mapping[str, str], remove: Iterable[str], *more: HeaderLevel
) -> HeaderLevel:
    """One level from the maps of the configuration, names in Istio's (sorted) order, then ``more`` levels."""
    return HeaderLevel(
        tuple(sorted(set.items())) + tuple(pair for level in more for pair in level.set),
        tuple(sorted(add.items())) + tuple(pair for level in more for pair in level.add),
        tuple(remove) + tuple(name for level in more for name in level.remove),
    )


class HeaderOps:
    """Compiled operations; made by :func:`compile_levels`."""

    __slots__ = ("_levels", "_request", "written")

    def __init__(self, levels: Sequence[_Level], request: bool, written: Sequence[HeaderLevel] = ()) -> None:
        self._levels = tuple(levels)
        self._request = request
        #: what they were made of, for whoever explains them
        self.written = tuple(written)

    def apply(self, pairs: list[Pair], info: StreamInfo) -> list[Pair]:
        """``pairs`` after all levels, as a new list; new lines come last, sets before adds.

        Variables see ``pairs`` as they stood before the level's sets and adds; what the level removes is
        already gone (Envoy 1.40 was seen to do so).
        """
        for level in self._levels:
            if level.formatted:
                pairs = self._apply_formatted(level, pairs, info)
            else:
                drop = level.drop
                # A comprehension beats append here from three fields on.
                pairs = [pair for pair in pairs if pair[0] not in drop]
                pairs += level.constant
            if level.joined:
                pairs = _joined(pairs, level.joined)
        if self._request:
            info.request_pairs = pairs  # what response operations see (semantics 6.2.3)
        return pairs

    def _apply_formatted(self, level: _Level, pairs: list[Pair], info: StreamInfo) -> list[Pair]:
        if level.drop:
            gone = level.drop
            pairs = [pair for pair in pairs if pair[0] not in gone]
        if self._request:
            info.request_pairs = pairs
        else:
            info.response_pairs = pairs
        new: dict[bytes, bytes] = {}  # sets, the last of one name winning
        added: list[Pair] = []
        for name, value, is_set in level.formatted:
            text = value if isinstance(value, bytes) else value(info)
            if not text:
                continue  # an empty result leaves the header as it is; one of white space is sent, empty
            if not isinstance(value, bytes):
                text = _clean(text)
            if is_set:
                new[name] = text
            else:
                added.append((name, text))
        result = [pair for pair in pairs if pair[0] not in new]
        result += new.items()
        result += added
        return result


def _joined(pairs: list[Pair], names: frozenset[bytes]) -> list[Pair]:
    """``pairs`` with one line for each of ``names``, where the first stood; empty values add nothing."""
    at: dict[bytes, int] = {}
    result: list[Pair] = []
    for pair in pairs:
        name, value = pair
        if name not in names:
            result.append(pair)
        elif name not in at:
            at[name] = len(result)
            result.append(pair)
        elif value:
            before = result[at[name]][1]
            result[at[name]] = (name, b"%b,%b" % (before, value) if before else value)
    return result


def _clean(value: bytes) -> bytes:
    """Without what may not stand in a field value, should a variable ever bring it."""
    return value.replace(b"\r", b"").replace(b"\n", b"").replace(b"\x00", b"").strip(b" \t")


def compile_levels(levels: Iterable[HeaderLevel], *, request: bool) -> HeaderOps | None:
    """The operations of ``levels``, run in the order given (semantics 6.2.4, 6.2.5); None when none remain.

    ``request`` says whether they change request headers. Raises ValueError, in words for the user, for
    a bad name, a bad value, a lone ``%`` or an unknown variable (semantics 6.2.3).
    """
    written = tuple(levels)
    compiled = [level for level in (_compile(level, request) for level in written) if level is not None]
    return HeaderOps(compiled, request, written) if compiled else None


def _compile(level: HeaderLevel, request: bool) -> _Level | None:
    removed = frozenset(_name(name) for name in level.remove)
    operations: list[tuple[bytes, bytes | Formatter, bool]] = []
    for pairs, is_set in ((level.set, True), (level.add, False)):
        for name, text in pairs:
            key = _name(name)
            value = _value(name, text, request)
            if value != b"":  # an empty value leaves the header as it is
                operations.append((key, value, is_set))
    if not operations and not removed:
        return None
    single = JOINED_IN_REQUESTS if request else JOINED_IN_RESPONSES
    joined = frozenset(key for key, _, is_set in operations if not is_set) & single
    constant: list[Pair] = []
    final: dict[bytes, bytes] = {}
    for key, value, is_set in operations:
        if not isinstance(value, bytes):
            return _Level(removed, formatted=tuple(operations), joined=joined)
        if is_set:
            final[key] = value
        else:
            constant.append((key, value))
    return _Level(removed | final.keys(), (*final.items(), *constant), joined=joined)


def _name(name: str) -> bytes:
    lower = name.lower()
    if lower in _CONTROL or lower.startswith(":"):
        raise ValueError(f"header {name!r} cannot be changed by header operations")
    if lower in _FRAMING:
        raise ValueError(f"header {name!r} says how long the message is and cannot be changed")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid header name")
    return lower.encode()


def _value(name: str, text: str, request: bool) -> bytes | Formatter:
    if _BAD_VALUE.search(text):
        raise ValueError(f"the value of header {name!r} holds a control character")
    try:
        return compile_format(text, instead=_IN_REQUESTS if request else _IN_RESPONSES)
    except ValueError as error:
        raise ValueError(f"the value of header {name!r}: {error}") from None
