"""HOT: request targets made canonical before they are matched and forwarded (semantics 14.4).

``BASE`` removes dot segments, turns ``\\`` into ``/``, decodes escapes of unreserved characters once and
encodes what may not stand in a path; ``//``, ``%2F`` and ``%5C`` stay. The query is never touched and a
fragment is dropped. Ordinary targets pass after two looks at their bytes.
"""

from __future__ import annotations

import re
from typing import Final

#: Bytes that stay as they are wherever they stand in a path.
_PLAIN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/!$&'()*+,;=:@"
#: Leaves a target of these as it is and changes any other byte.
_USUAL: Final = bytes(b if b in _PLAIN_BYTES + b"?" else 0x41 for b in range(256))

_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
#: Characters that are escaped where they stand raw (golden 14_connection_manager paths-e).
_ENCODED: Final = b'{}|^`"<>'
_TOKEN: Final = re.compile(rb'%[0-9A-Fa-f]{2}|[\\{}|^`"<>]')
#: What becomes of a token; any other stays.
_DECODED: Final = {
    b"\\": b"/",
    **{b"%c" % byte: b"%%%02X" % byte for byte in _ENCODED},
    **{form % byte: b"%c" % byte for byte in _UNRESERVED for form in (b"%%%02x", b"%%%02X")},
}
_LONE_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MARK_BEFORE_HEX: Final = re.compile(rb"\0(?=[0-9A-Fa-f]{2})")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x20\x7f-\xff]").search


def is_canonical(target: bytes) -> bool:
    """Whether nothing about ``target`` can change under BASE; a quick look that may say no to canonical ones."""
    # bytes.translate returns its very argument if nothing changed. ``in`` would look for an integer first, raise an
    # error and catch it: that costs as much as all the rest.
    return target.translate(_USUAL) is target and target.find(b"/.") < 0


def normalize_target(target: bytes, mode: str) -> bytes | None:
    """Canonical form of an origin-form ``target`` under ``mode``, or None: not normalisable, 400.

    Modes are those of semantics 14.4.2. A target that does not begin with ``/`` is refused by the caller.
    """
    if is_canonical(target) and (mode == "BASE" or b"//" not in target):
        return target
    if _FORBIDDEN(target) is not None:
        return None
    target = target.partition(b"#")[0]
    if mode == "NONE":
        return target
    path, mark, query = target.partition(b"?")
    if mode == "BASE" and not path.translate(None, _PLAIN_BYTES) and b"/." not in path:
        return target
    normal = _normalize_path(path, mode)
    return None if normal is None else normal + mark + query


def _normalize_path(path: bytes, mode: str) -> bytes | None:
    decoded = _decode(path)
    if decoded is None:
        return None
    if mode == "DECODE_AND_MERGE_SLASHES":
        decoded = re.sub(rb"%2[Ff]|%5[Cc]", b"/", decoded)
    normal = _remove_dot_segments(decoded)
    if mode in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"):
        normal = re.sub(rb"/{2,}", b"/", normal)
    return normal


def _decode(path: bytes) -> bytes | None:
    """Escapes of unreserved characters decoded once, backslashes turned, raw odd bytes escaped."""
    if b"%00" in path:
        return None
    if _LONE_PERCENT.search(path) is None:
        return _TOKEN.sub(_decoded, path)
    # A "%" that begins no escape is marked by a byte that no target holds: ``%2%65`` must not become ``%2e``, since
    # whoever decodes once more would see a dot.
    marked = _TOKEN.sub(_decoded, _LONE_PERCENT.sub(b"\0", path))
    return _MARK_BEFORE_HEX.sub(b"%25", marked).replace(b"\0", b"%")


def _decoded(token: re.Match[bytes]) -> bytes:
    text = token[0]
    return _DECODED.get(text, text)


def _remove_dot_segments(path: bytes) -> bytes:
    """RFC 3986 5.2.4; ``.;`` and ``..;`` count as dot segments too (golden 14_connection_manager)."""
    if b"/." not in path:
        return path
    out: list[bytes] = []
    segments = path.split(b"/")[1:]
    last = len(segments) - 1
    for position, segment in enumerate(segments):
        name = segment.partition(b";")[0] if segment.startswith((b".;", b"..;")) else segment
        if name == b".":
            if position == last:
                out.append(b"")
        elif name == b"..":
            if out:
                out.pop()
            if position == last:
                out.append(b"")
        else:
            out.append(segment)
    return b"/" + b"/".join(out)
