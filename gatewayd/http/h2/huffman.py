"""HOT: strings compressed with HPACK's Huffman code, read a byte at a time (RFC 7541 5.2, Appendix B).

The code is walked by a machine whose states are the inner nodes of its tree: eight bits lead from one to the next and
give the symbols that end on the way. The step for each byte stands in a row of its state; rows are made when first met,
since ordinary text meets few of the 256. Short strings come again and again, so they are remembered.
"""

from __future__ import annotations

from typing import Final

#: Symbols by the length of their codes. The code is canonical: codes of one length follow each other in the order of
#: their symbols, shorter ones come before longer ones. 256 is the end of the string, which nobody may send.
_BY_LENGTH: Final[dict[int, tuple[int, ...]]] = {
    5: tuple(b"012aceiost"),
    6: tuple(b" %-./3456789=A_bdfghlmnpru"),
    7: tuple(b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    8: tuple(b"&*,;XZ"),
    10: tuple(b'!"()?'),
    11: tuple(b"'+|"),
    12: tuple(b"#>"),
    13: tuple(b"\x00$@[]~"),
    14: tuple(b"^}"),
    15: tuple(b"<`{"),
    19: tuple(b"\\\xc3\xd0"),
    20: tuple(b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2"),
    21: tuple(b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6"),
    22: tuple(
        b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9"
    ),
    23: tuple(
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5"
        b"\xe7\xef"
    ),
    24: tuple(b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed"),
    25: tuple(b"\xc7\xcf\xea\xeb"),
    26: tuple(b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff"),
    27: tuple(b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe"),
    28: tuple(
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"
        b"\xdc\xf9"
    ),
    30: (10, 13, 22, 256),
}
_END: Final = 256

#: Strings up to this many bytes are remembered, so many of them.
_SHORT: Final = 128
_MAX_KNOWN: Final = 4096
_KNOWN: dict[bytes, bytes] = {}


def _tree() -> list[list[int]]:
    """Inner nodes, each with what a 0 and what a 1 leads to: the number of a node, or -1 - symbol."""
    nodes = [[0, 0]]
    code, length = 0, 0
    for bits, symbols in _BY_LENGTH.items():
        for symbol in symbols:
            code <<= bits - length
            length = bits
            at = 0
            for place in range(bits - 1, 0, -1):
                turn = code >> place & 1
                if not nodes[at][turn]:
                    nodes[at][turn] = len(nodes)
                    nodes.append([0, 0])
                at = nodes[at][turn]
            nodes[at][code & 1] = -1 - symbol
            code += 1
    return nodes


_NODES: Final = _tree()
#: Where nothing leads out of: the end symbol came.
_FAILED: Final = len(_NODES)
#: A state's row: the symbols each byte gives, the rows it leads to (None: not made yet), their states, and whether a
#: string may end here.
_Row = tuple[list[bytes], list["_Row | None"], list[int], bool]
_ROWS: dict[int, _Row] = {}


def _ends() -> frozenset[int]:
    """States a string may end in: at most seven bits of padding, all of them 1 (the first bits of the end symbol)."""
    found, at = [0], 0
    for _ in range(7):
        at = _NODES[at][1]
        found.append(at)
    return frozenset(found)


_ENDS: Final = _ends()


def _row(state: int) -> _Row:
    row = _ROWS.get(state)
    if row is None:
        steps = [_step(state, byte) for byte in range(256)]
        outs, states = [out for out, _ in steps], [to for _, to in steps]
        row = _ROWS[state] = (outs, [None] * 256, states, state in _ENDS)
    return row


def _step(state: int, byte: int) -> tuple[bytes, int]:
    """The symbols that end within ``byte``, and the state it leads to."""
    out = bytearray()
    for place in range(7, -1, -1):
        if state == _FAILED:
            return b"", _FAILED
        state = _NODES[state][byte >> place & 1]
        if state < 0:
            symbol = -1 - state
            if symbol == _END:
                return b"", _FAILED
            out.append(symbol)
            state = 0
    return bytes(out), state


def decode(data: bytes) -> bytes | None:
    """The string that ``data`` stands for, or None: it is not a compressed string."""
    known = _KNOWN.get(data)
    if known is not None:
        return known
    pieces: list[bytes] = []
    append = pieces.append
    row = _row(0)
    for byte in data:
        append(row[0][byte])
        ahead = row[1][byte]
        if ahead is None:
            ahead = row[1][byte] = _row(row[2][byte])
        row = ahead
    if not row[3]:
        return None
    text = b"".join(pieces)
    if len(data) <= _SHORT:
        if len(_KNOWN) >= _MAX_KNOWN:
            _KNOWN.clear()
        _KNOWN[data] = text
    return text
