"""HOT for traced listeners: how a trace is told of in the fields of a request.

W3C (``traceparent``, ``tracestate``) and B3 (``x-b3-*`` or ``b3``), read and written as Envoy 1.40 does with its
OpenTelemetry and Zipkin tracers (docs/tracing.md has the rules; ``tests/differential/test_tracing.py`` asks it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import getrandbits, randbytes
from typing import Final

from gatewayd.http.message import Pair
from gatewayd.http.options import B3, B3_W3C, W3C

_TRACEPARENT: Final = re.compile(
    rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})", re.IGNORECASE
).fullmatch
_B3: Final = re.compile(
    rb"([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?", re.IGNORECASE
).fullmatch
_B3_TRACE: Final = re.compile(rb"[0-9a-f]{1,16}|[0-9a-f]{32}", re.IGNORECASE).fullmatch
_B3_SPAN: Final = re.compile(rb"[0-9a-f]{1,16}", re.IGNORECASE).fullmatch
#: ``b3`` alone: only whether to sample.
_B3_DECISIONS: Final = {b"0": False, b"1": True, b"d": True}
_B3_YES: Final = (b"1", b"true")

#: Lines that tell of a trace, or ask for one, in a field block of lower-case names.
_LINES: Final[dict[str, Callable[[bytes], re.Match[bytes] | None]]] = {
    W3C: re.compile(rb"(?:^|\n)(?:traceparent|tracestate|x-client-trace-id): ").search,
    B3: re.compile(rb"(?:^|\n)(?:b3|x-b3-[a-z]+|x-client-trace-id): ").search,
    B3_W3C: re.compile(rb"(?:^|\n)(?:b3|x-b3-[a-z]+|traceparent|x-client-trace-id): ").search,
}
#: What asks for a trace whatever chance says.
CLIENT_TRACE: Final = b"x-client-trace-id"

_PARENT: Final = frozenset({b"traceparent"})
_PARENT_AND_STATE: Final = frozenset({b"traceparent", b"tracestate"})
_MULTI: Final = frozenset({b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled"})
_SINGLE: Final = frozenset({b"b3"})


class Context:
    """What a request says of the trace it is part of. Ids are lower-case hexadecimal."""

    __slots__ = ("asked", "refused", "replaced", "sampled", "single", "span_id", "state", "trace_id")

    def __init__(self) -> None:
        #: b"": it is part of none, a new one begins
        self.trace_id = b""
        #: the span that called
        self.span_id = b""
        #: None: nobody has decided yet
        self.sampled: bool | None = None
        #: ``tracestate``, its lines joined
        self.state = b""
        #: the client asks for a trace
        self.asked = False
        #: what it says cannot be read: it goes on as it is, and the request is not traced
        self.refused = False
        #: B3 came in one field, and goes on so
        self.single = False
        #: names of the fields that are written anew
        self.replaced: frozenset[bytes] = frozenset()


def tells(propagation: str, lines: bytes) -> bool:
    """Whether field lines (lower-case names) tell of a trace or ask for one."""
    return _LINES[propagation](lines) is not None


def read_context(propagation: str, pairs: Sequence[Pair]) -> Context:
    """What the fields of a request say."""
    fields: dict[bytes, bytes] = {}
    context = Context()
    for name, value in pairs:
        if name == b"tracestate" and name in fields:
            fields[name] += b"," + value
        else:
            fields.setdefault(name, value)
    context.asked = CLIENT_TRACE in fields
    if propagation == W3C:
        context.replaced = _PARENT_AND_STATE
        if b"traceparent" in fields:
            _read_w3c(context, fields)
            context.state = fields.get(b"tracestate", b"")
            context.refused = not context.trace_id
        return context
    _read_b3(context, fields)
    if propagation == B3_W3C:
        context.replaced |= _PARENT
        if not context.trace_id and not context.refused and context.sampled is None:
            _read_w3c(context, fields)  # what cannot be read counts for nothing here
    return context


def _read_w3c(context: Context, fields: dict[bytes, bytes]) -> None:
    found = _TRACEPARENT(fields.get(b"traceparent", b""))
    if found is not None:
        context.trace_id, context.span_id = found[1].lower(), found[2].lower()
        context.sampled = bool(int(found[3], 16) & 1)


def _read_b3(context: Context, fields: dict[bytes, bytes]) -> None:
    single = fields.get(b"b3")
    if single is not None:
        context.single = True
        context.replaced = _SINGLE
        if single in _B3_DECISIONS:
            context.sampled = _B3_DECISIONS[single]
            return
        found = _B3(single)
        if found is None:
            context.refused = True
            return
        context.trace_id, context.span_id = _b3_trace(found[1]), found[2].lower()
        context.sampled = None if found[3] is None else found[3] != b"0"
        return
    context.replaced = _MULTI
    sampled = fields.get(b"x-b3-sampled")
    context.sampled = None if sampled is None else sampled in _B3_YES
    trace, span = fields.get(b"x-b3-traceid"), fields.get(b"x-b3-spanid")
    if trace is None or span is None:
        return
    parent = fields.get(b"x-b3-parentspanid", b"0")
    if not (_B3_TRACE(trace) and _B3_SPAN(span) and _B3_SPAN(parent)):
        context.refused = True
        return
    context.trace_id, context.span_id = _b3_trace(trace), span.lower().rjust(16, b"0")


def _b3_trace(text: bytes) -> bytes:
    """A trace id as it goes on: 128 bits, or 64 where the upper half is empty."""
    text = text.lower().rjust(16, b"0")
    return text[16:] if len(text) == 32 and not text[:16].strip(b"0") else text


#: Ids are made together: formatting numbers one by one costs ten times what cutting a text does.
_IDS_TOGETHER: Final = 256
_DIGITS: Final = 16
_prefix = b""
_text = b""
_at = 0


def new_span_id() -> bytes:
    """64 bits, never nothing."""
    global _at, _text, _prefix
    at = _at
    if at == len(_text):
        _prefix = b"%016x" % (getrandbits(64) or 1)
        _text = randbytes(8 * _IDS_TOGETHER).hex().encode()
        at = 0
    _at = end = at + _DIGITS
    found = _text[at:end]
    return found if found != _NOTHING else new_span_id()


def new_trace_id() -> bytes:
    """128 bits, never nothing; ids made together share the first half."""
    own = new_span_id()
    return _prefix + own


_NOTHING: Final = b"0" * _DIGITS


def fields_of(
    propagation: str,
    context: Context | None,
    trace_id: bytes,
    parent_id: bytes,
    span_id: bytes,
    *,
    sampled: bool,
) -> list[Pair]:
    """The fields that tell an upstream: it is called by ``span_id`` of ``trace_id``, a child of ``parent_id``.

    ``context``: what came in, or None.
    """
    parent = (b"traceparent", b"00-%b-%b-0%d" % (trace_id.rjust(32, b"0"), span_id, sampled))
    if propagation == W3C:
        return [parent, (b"tracestate", b"" if context is None else context.state)]
    flag = b"1" if sampled else b"0"
    if context is not None and context.single:
        fields = [(b"b3", b"-".join((trace_id, span_id, flag, parent_id)))]
    else:
        fields = [
            (b"x-b3-traceid", trace_id),
            (b"x-b3-spanid", span_id),
            (b"x-b3-parentspanid", parent_id),
            (b"x-b3-sampled", flag),
        ]
    if propagation == B3_W3C:
        fields.append(parent)
    return fields
