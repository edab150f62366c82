"""HOT: the neutral form of heads, between codecs of any HTTP version and the proxy.

Field names are lower-case bytes, values are bytes without surrounding white space. A :class:`Fields` is
shared by all messages whose field block had the same bytes: nobody may change it.
"""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[bytes, bytes]


class Fields:
    """The fields of one head, in order of arrival, with look-ups by name."""

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self._index: dict[bytes, list[bytes]] | None = None

    def values(self, name: bytes) -> Sequence[bytes]:
        """Every line's value of ``name`` (lower-case), in order; empty when absent."""
        index = self._index
        if index is None:
            index = {}
            for key, value in self.pairs:
                index.setdefault(key, []).append(value)
            self._index = index
        return index.get(name, ())

    def get(self, name: bytes) -> bytes | None:
        """The first value of ``name``, or None."""
        values = self.values(name)
        return values[0] if values else None


class RequestHead:
    """A request's control data and fields, after normalisation and before any rewrite."""

    __slots__ = ("authority", "fields", "method", "path", "query", "scheme", "target")

    def __init__(self, method: bytes, target: bytes, authority: bytes, scheme: bytes, fields: Fields) -> None:
        self.method = method
        #: path and query as sent on: b"/a?b=c"
        self.target = target
        path, mark, query = target.partition(b"?")
        self.path = path
        #: bytes after the first "?", or None when there is no "?"
        self.query: bytes | None = query if mark else None
        #: Host as received, port and case kept (semantics 14.5.1)
        self.authority = authority
        self.scheme = scheme
        self.fields = fields
