"""HOT: header blocks decoded, with the dynamic table of one direction of one connection (RFC 7541).

A block that says anything new changes the table, so blocks must be decoded in the order they came, also those of
streams nobody wants. What a block comes to is limited: a little beyond the limits costs the stream (``excess``), and
the table still follows; far beyond them decoding stops, and the connection is lost with the table (``error``). An entry
of the table costs no memory however often a block names it.

Nothing is raised.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gatewayd.http.h2.huffman import decode as decompress
from gatewayd.http.h2.static_table import FIRST_DYNAMIC, STATIC
from gatewayd.http.message import Pair

#: What an entry costs beside its bytes (RFC 7541 4.1).
ENTRY_OVERHEAD: Final = 32
#: The size both sides begin with (RFC 9113 6.5.2).
DEFAULT_TABLE_BYTES: Final = 4096
#: An integer has no business to be longer than five bytes: 2^28 and more is no index and no length.
_MAX_SHIFT: Final = 28

#: Reading of an integer or string failed.
_BROKEN: Final = -1

# ``Decoder.excess``
TOO_LARGE: Final = 1
TOO_MANY: Final = 2
#: So many times the number of fields allowed, and decoding stops, with this error.
_FAR_BEYOND: Final = 10
FLOODED: Final = "far too many fields"
#: Size updates in one block: two have a meaning (RFC 7541 4.2), more have none.
_MAX_UPDATES: Final = 8
#: Where the newest entry is, less its index.
_NEWEST: Final = FIRST_DYNAMIC - 1
#: Clients say a path in full, and what they always say behind it by indices: so many such runs are remembered, of so
#: many bytes.
_MAX_RUNS: Final = 16
_LEAST_RUN: Final = 4
_MAX_RUN_BYTES: Final = 128
#: The longest entry of the static table.
_LONGEST_STATIC: Final = max(len(name) + len(value) for name, value in STATIC)


class Decoder:
    """Decodes the blocks of one peer; after an ``error`` the connection cannot be used."""

    __slots__ = (
        "_at", "_capacity", "_entries", "_longest", "_never", "_promised", "_runs", "_size", "_smallest", "changed",
        "error", "excess", "max_bytes", "max_fields",
    )  # fmt: skip

    def __init__(self, max_bytes: int, max_fields: int, table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        """``max_bytes``: of names and values of one block; ``table_bytes``: what our SETTINGS allow."""
        self.max_bytes = max_bytes
        self.max_fields = max_fields
        #: the newest entry is at the right
        self._entries: deque[Pair] = deque()
        self._size = 0
        #: no entry gives more bytes
        self._longest = _LONGEST_STATIC
        self._capacity = DEFAULT_TABLE_BYTES
        self._promised = max(table_bytes, DEFAULT_TABLE_BYTES)
        #: a capacity that the peer still has to acknowledge by an update; -1: none
        self._smallest = -1
        self._at = 0
        #: runs of indices at the ends of blocks, and the fields they are, while the table stands still
        self._runs: dict[bytes, list[Pair]] = {}
        #: why the last block could not be decoded, "" = it could
        self.error = ""
        #: 0, or which limit the last block went beyond
        self.excess = 0
        #: whether the last block changed the table: then the same bytes mean something else from now on
        self.changed = False
        self._never: set[bytes] | None = None

    def allow(self, table_bytes: int) -> None:
        """Our SETTINGS are acknowledged: the table may have so many bytes (RFC 7541 4.2)."""
        self._promised = table_bytes
        if table_bytes < self._capacity:
            self._smallest = table_bytes

    def never_indexed(self) -> frozenset[bytes]:
        """Names of fields in the last block that nobody may ever index, whoever passes them on (6.2.3)."""
        return frozenset(self._never) if self._never else frozenset()

    @property
    def table_size(self) -> int:
        """Bytes of the dynamic table, as RFC 7541 4.1 counts them."""
        return self._size

    def decode(self, block: bytes) -> list[Pair]:
        """The fields of ``block`` in order; look at ``error`` and ``excess`` before using them."""
        self.error = ""
        self.excess = 0
        self.changed = False
        self._never = None
        pairs: list[Pair] = []
        append = pairs.append
        at, end = 0, len(block)
        entries = self._entries
        # Indices of one byte.
        beyond = min(FIRST_DYNAMIC + len(entries), 0x7F)
        # Where the indices behind the last literal begin, and how many fields there were before.
        run_at = before = updates = 0
        if self._smallest >= 0 and (not end or not 0x20 <= block[0] < 0x40):
            return self._fail("no size update")
        while at < end:
            first = block[at]
            at += 1
            if first >= 0x80:  # indexed (6.1)
                index = first - 0x80
                if FIRST_DYNAMIC <= index < beyond:
                    append(entries[_NEWEST - index])
                elif 0 < index < FIRST_DYNAMIC:
                    append(STATIC[index])
                else:
                    if index == 0x7F:
                        index, at = _integer(block, at, 0x7F)
                    pair = self._entry(index)
                    if pair is None:
                        return self._fail("index")
                    append(pair)
            elif 0x20 <= first < 0x40:  # size update (6.3)
                updates += 1
                at = -1 if pairs or updates > _MAX_UPDATES else self._update(block, at, first)
                if at < 0:
                    return self._fail("size update")
                beyond = min(FIRST_DYNAMIC + len(entries), 0x7F)
                continue
            else:
                # literal: with indexing (6.2.1), without (6.2.2), never indexed (6.2.3)
                mask = 0x3F if first & 0x40 else 0x0F
                index = first & mask
                if index:
                    if index == mask:
                        index, at = _integer(block, at, mask)
                    pair = self._entry(index)
                    if pair is None:
                        return self._fail("index")
                    name = pair[0]
                elif at < end and (length := block[at]) < 0x7F and at + length < end:
                    at += 1  # short, and not compressed
                    name = block[at : at + length]
                    at += length
                else:
                    text = self._string(block, at)
                    if text is None:
                        return self._fail("string")
                    name, at = text, self._at
                if at < end and (length := block[at]) < 0x7F and at + length < end:
                    at += 1
                    text = block[at : at + length]
                    at += length
                else:
                    text = self._string(block, at)
                    if text is None:
                        return self._fail("string")
                    at = self._at
                pair = (name, text)
                append(pair)
                if mask == 0x3F:
                    self.changed = True
                    self._add(pair)
                    beyond = min(FIRST_DYNAMIC + len(entries), 0x7F)
                else:
                    if first & 0x10:
                        if self._never is None:
                            self._never = set()
                        self._never.add(name)
                    if at < end and block[at] >= 0x80 and not self.changed:
                        known = self._runs.get(block[at:])
                        if known is not None:
                            pairs += known
                            run_at = 0
                            break
                run_at, before = at, len(pairs)
            if len(pairs) > self.max_fields * _FAR_BEYOND:
                return self._fail(FLOODED)
        if self.changed:
            if self._runs:
                self._runs = {}
        elif 0 < run_at <= end - _LEAST_RUN and end - run_at <= _MAX_RUN_BYTES and block[run_at] >= 0x80:
            if len(self._runs) >= _MAX_RUNS:
                self._runs.clear()
            self._runs[block[run_at:]] = pairs[before:]
        if len(pairs) > self.max_fields:
            self.excess = TOO_MANY
        elif (
            # Each byte gives an entry, or at most two bytes of a compressed string: mostly nothing is to be counted.
            end * (self._longest + 2) > self.max_bytes
            and sum([len(name) + len(value) for name, value in pairs]) > self.max_bytes
        ):
            self.excess = TOO_LARGE
        return pairs

    def _fail(self, what: str) -> list[Pair]:
        self.error = what
        return []

    def _entry(self, index: int) -> Pair | None:
        if 0 < index < FIRST_DYNAMIC:
            return STATIC[index]
        entries = self._entries
        index -= FIRST_DYNAMIC
        return entries[-1 - index] if 0 <= index < len(entries) else None

    def _add(self, pair: Pair) -> None:
        length = len(pair[0]) + len(pair[1])
        size = length + ENTRY_OVERHEAD
        entries = self._entries
        if size > self._capacity:  # larger than the table: it empties it (4.4)
            entries.clear()
            self._size = 0
            return
        entries.append(pair)
        if length > self._longest:
            self._longest = length
        self._size += size
        if self._size > self._capacity:
            self._evict()

    def _evict(self) -> None:
        entries = self._entries
        while self._size > self._capacity:
            name, value = entries.popleft()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD

    def _update(self, block: bytes, at: int, first: int) -> int:
        """A size update; where it ends, -1 = it is wrong."""
        size = first & 0x1F
        if size == 0x1F:
            size, at = _integer(block, at, 0x1F)
        if size < 0 or size > self._promised:
            return -1
        if size <= self._smallest:
            self._smallest = -1
        self.changed = True
        self._capacity = size
        self._evict()
        return at

    def _string(self, block: bytes, at: int) -> bytes | None:
        """A string; ``_at`` is where it ends. None: it is wrong."""
        if at >= len(block):
            return None
        first = block[at]
        length = first & 0x7F
        at += 1
        if length == 0x7F:
            length, at = _integer(block, at, 0x7F)
            if length < 0:
                return None
        end = at + length
        if end > len(block):
            return None
        self._at = end
        text = block[at:end]
        return decompress(text) if first & 0x80 else text


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """An integer whose prefix was all ones, and where it ends (RFC 7541 5.1); _BROKEN: it is wrong."""
    shift = 0
    while at < len(block):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift >= _MAX_SHIFT:
            break
    return _BROKEN, at
