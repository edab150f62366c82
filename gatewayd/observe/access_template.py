"""The access log in the user's own form: MeshConfig ``accessLogFormat`` and ``accessLogEncoding`` (semantics 17).

A text form is one string with variables; a JSON form is a tree in which every text may have some. Values of JSON are
as Envoy writes them: a text that is one variable keeps its kind (a number, or null when there is nothing to say), a
text around variables has ``-`` for what is absent, everything else stays as it was written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gatewayd.observe.access_format import FORMATS, BatchFormatter, compile_text
from gatewayd.observe.formatter import split_format
from gatewayd.observe.stream_info import StreamInfo

#: Variables whose value is a number in JSON.
_NUMBERS: Final = frozenset(
    {
        "BYTES_RECEIVED", "BYTES_SENT", "DOWNSTREAM_DIRECT_REMOTE_PORT", "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_REMOTE_PORT", "DURATION", "GRPC_STATUS(NUMBER)", "GRPC_STATUS_NUMBER", "RESPONSE_CODE",
        "RESPONSE_DURATION", "UPSTREAM_LOCAL_PORT", "UPSTREAM_REMOTE_PORT", "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    }
)  # fmt: skip
#: Deeper trees are no log lines.
_MAX_DEPTH: Final = 20

Value = Callable[[StreamInfo], Any]


@dataclass(frozen=True, slots=True)
class AccessLogForm:
    """How lines look: ``kind`` is a key of ``FORMATS``; ``template``: the user's own form, "" = Istio's fields."""

    kind: str = "text"
    template: str = ""

    def formatter(self) -> BatchFormatter:
        """What makes the lines of a batch. Raises ValueError, in words for the user."""
        if not self.template:
            return FORMATS[self.kind]()
        return json_template(self.template) if self.kind == "json" else text_template(self.template)


def text_template(template: str) -> BatchFormatter:
    """Lines of a format string; each ends with a line end whether the string has one or not."""
    line = compile_text(template if template.endswith("\n") else template + "\n")
    return lambda infos: "".join([line(info) for info in infos]).encode()


def json_template(template: str) -> BatchFormatter:
    """JSON lines of a template, itself JSON text: an object."""
    try:
        tree = json.loads(template)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ValueError('expected a JSON object, such as {"path": "%REQ(:PATH)%"}')
    make = _value(tree, 0)
    encode = msgspec.json.Encoder().encode

    def lines(infos: Sequence[StreamInfo]) -> bytes:
        return b"".join([encode(make(info)) + b"\n" for info in infos])

    return lines


def _value(tree: Any, depth: int) -> Value:
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(tree, dict):
        members = [(key, _value(value, depth + 1)) for key, value in tree.items()]
        return lambda info: {key: value(info) for key, value in members}
    if isinstance(tree, list):
        items = [_value(value, depth + 1) for value in tree]
        return lambda info: [value(info) for value in items]
    return _text(tree) if isinstance(tree, str) else lambda info: tree


def _text(text: str) -> Value:
    pieces = split_format(text)
    if len(pieces) == 1 and not isinstance(pieces[0], bytes):
        read = pieces[0]
        if text.strip("%") in _NUMBERS:
            return lambda info: int(found) if (found := read(info)) else None
        return lambda info: _shown(found) if (found := read(info)) else None
    if all(isinstance(piece, bytes) for piece in pieces):
        whole = _shown(b"".join(piece for piece in pieces if isinstance(piece, bytes)))
        return lambda info: whole

    def filled(info: StreamInfo) -> str:
        return _shown(b"".join([p if isinstance(p, bytes) else p(info) or b"-" for p in pieces]))

    return filled


def _shown(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
