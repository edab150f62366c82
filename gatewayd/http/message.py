"""HOT: the neutral form of heads, between codecs of any HTTP version and the proxy.

Field names are lower-case bytes, values are bytes without surrounding white space. A :class:`Fields` is
shared by all messages whose field block had the same bytes: nobody may change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Pair = tuple[bytes, bytes]


class Fields:
    """The fields of one head, in order of arrival, with look-ups by name."""

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self._index: dict[bytes, list[bytes]] | None = None

    def routed_fields(self, authority: bytes) -> Fields:
        """Themselves; so that plain fields can be a head's source."""
        return self

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


class FieldSource(Protocol):
    """Where a request head gets its fields from when somebody asks for them."""

    def routed_fields(self, authority: bytes) -> Fields:
        """What a route may look at; ``authority`` stands for Host."""


class RequestHead:
    """A request's control data and fields, after normalisation and before any rewrite."""

    __slots__ = (
        "_fields", "_source", "authority", "method", "path", "query", "scheme", "shown", "target", "user_agent",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        target: bytes,
        authority: bytes,
        scheme: bytes,
        source: FieldSource,
        user_agent: bytes = b"",
    ) -> None:
        self.method = method
        #: path and query as sent on: b"/a?b=c"
        self.target = target
        mark = target.find(b"?")
        if mark < 0:
            self.path = target
            #: bytes after the first "?", or None when there is no "?"
            self.query: bytes | None = None
        else:
            self.path = target[:mark]
            self.query = target[mark + 1 :]
        #: Host as received, port and case kept (semantics 14.5.1)
        self.authority = authority
        self.scheme = scheme
        self._source = source
        self._fields: Fields | None = None
        self.user_agent = user_agent
        #: belongs to the access log: what it prints of this head, made once
        self.shown: Any = None

    @property
    def fields(self) -> Fields:
        """What a route may look at; made when first asked for."""
        fields = self._fields
        if fields is None:
            fields = self._fields = self._source.routed_fields(self.authority)
        return fields


class Trailers:
    """Fields behind a body. Shared by messages whose trailers had the very same bytes: nobody may change them."""

    __slots__ = ("encoded", "never_indexed", "pairs")

    def __init__(self, pairs: Sequence[Pair], never_indexed: frozenset[bytes] = frozenset()) -> None:
        self.pairs = pairs
        #: names of fields that nobody may index on their way (RFC 7541 6.2.3)
        self.never_indexed = never_indexed
        #: belongs to the HTTP/2 codec: how it writes them, made once
        self.encoded: bytes | None = None
