"""The memory of parsed bytes: exact, entered on the second offer, and bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.http.h1 import head, response
from gatewayd.http.memo import Memo
from gatewayd.http.options import HttpOptions

REQUEST = b"GET /%d HTTP/1.1\r\nHost: a.test\r\nx: %d\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: %d\r\n\r\n"


def test_the_same_bytes_give_the_same_object_from_the_second_time_on() -> None:
    requests = head.RequestParser(HttpOptions())
    first, second, third, fourth = (requests.parse(REQUEST % (1, 1)) for _ in range(4))
    assert first is not second
    assert second is third is fourth
    responses = response.ResponseParser(HttpOptions())
    _, two, three = (responses.parse(RESPONSE % 1) for _ in range(3))
    assert two is three


def test_other_bytes_never_give_the_same_object() -> None:
    """Not even one bit apart, nor when only the case of a name differs."""
    parser = head.RequestParser(HttpOptions())
    data = REQUEST % (1, 1)
    known = [parser.parse(data) for _ in range(3)][-1]
    for at in range(len(data)):
        for bit in range(8):
            changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            if changed.endswith(b"\r\n\r\n"):
                assert parser.parse(changed) is not known
    assert parser.parse(data) is known


def test_parsers_of_unlike_options_share_nothing() -> None:
    plain, merging = HttpOptions(), HttpOptions(path_normalization="MERGE_SLASHES")
    assert head.parser_for(plain) is head.parser_for(HttpOptions())
    assert head.parser_for(plain) is not head.parser_for(merging)
    data = b"GET //a HTTP/1.1\r\nHost: a.test\r\n\r\n"
    targets = []
    for options in (plain, merging, plain, merging, plain, merging):
        request = head.parser_for(options).parse(data).head
        assert request is not None
        targets.append(request.target)
    assert targets == [b"//a", b"/a"] * 3


def test_a_flood_of_new_heads_does_not_enter() -> None:
    parser = head.RequestParser(HttpOptions())
    for number in range(3000):
        parser.parse(REQUEST % (number, number))
    assert len(parser.heads) == 0


def test_heads_seen_twice_are_bounded() -> None:
    parser = head.RequestParser(HttpOptions())
    for number in range(40_000):
        for _ in range(2):
            parser.parse(REQUEST % (number, number))
    assert 16_384 <= len(parser.heads) <= 2 * 16_384


def test_large_keys_do_not_enter() -> None:
    """Remembering 4,096 heads of 60 KiB would be 240 MiB that a stranger filled."""
    memo: Memo[int] = Memo(max_key_bytes=100)
    for _ in range(3):
        memo.offer(b"x" * 101, 1)
    assert len(memo) == 0
    assert Memo().max_key_bytes <= 8192


def test_the_bytes_of_its_keys_are_bounded_too() -> None:
    """A stranger may send as many heads twice as it likes, and as large ones."""
    parser = head.RequestParser(HttpOptions())
    size = 0
    for number in range(3000):
        data = REQUEST % (number, number)
        data = data[:-2] + b"big: %b\r\n\r\n" % (b"v" * 7000)
        size = len(data)
        for _ in range(2):
            parser.parse(data)
    assert len(parser.heads) * size < 17 * 1024 * 1024
    assert len(parser.heads) > 500


@given(st.lists(st.integers(0, 12), max_size=80))
def test_a_memo_only_tells_what_it_was_told(keys: list[int]) -> None:
    memo: Memo[bytes] = Memo(generation=3)
    offered: dict[bytes, int] = {}
    for number in keys:
        key = b"%d" % number
        found = memo.get(key) or memo.recall(key)
        if found is not None:
            assert found == b"value of " + key
            assert offered[key] >= 2
        else:
            memo.offer(key, b"value of " + key)
            offered[key] = offered.get(key, 0) + 1
        assert len(memo) <= 6


def test_what_is_asked_for_stays_when_generations_change() -> None:
    memo: Memo[int] = Memo(generation=4)
    for _ in range(2):
        memo.offer(b"hot", 1)
    for number in range(40):
        for _ in range(2):
            memo.offer(b"%d" % number, number)
        assert (memo.get(b"hot") or memo.recall(b"hot")) == 1
