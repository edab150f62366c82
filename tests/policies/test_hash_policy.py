"""What of a request is hashed, and how hashes are combined (semantics 9.2 to 9.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from gatewayd.http.message import Fields, Pair
from gatewayd.policies.hash_policy import (
    CookieHash,
    HashInput,
    HashPolicy,
    HeaderHash,
    QueryHash,
    SourceIpHash,
    cookie_value,
    request_hash,
    source_ip_hash,
)


def asked(fields: list[Pair] | None = None, target: bytes = b"/", client_ip: str = "10.0.0.7") -> HashInput:
    return HashInput(Fields(fields or []), target, client_ip, "10.0.0.7:4100010.0.0.1:80")


def test_a_field_is_hashed_by_its_value() -> None:
    assert HeaderHash(b"x-key").hash_of(asked([(b"x-key", b"user-1")])) == xxh64_intdigest(b"user-1")
    assert HeaderHash(b"x-key").hash_of(asked([(b"x-key", b"")])) == xxh64_intdigest(b"")
    assert HeaderHash(b"x-key").hash_of(asked([(b"x-other", b"a")])) is None


@given(values=st.lists(st.binary(max_size=8), min_size=2, max_size=5), rest=st.randoms(use_true_random=False))
def test_the_order_of_several_lines_does_not_matter(values: list[bytes], rest: st.DataObject) -> None:
    shuffled = list(values)
    rest.shuffle(shuffled)  # type: ignore[attr-defined]
    one = HeaderHash(b"a").hash_of(asked([(b"a", value) for value in values]))
    assert one == HeaderHash(b"a").hash_of(asked([(b"a", value) for value in shuffled]))
    assert one != HeaderHash(b"a").hash_of(asked([(b"a", value) for value in values[1:]]))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"s=abc", b"abc"),
        (b's="abc"', b"abc"),
        (b"a=1; s=abc; b=2", b"abc"),
        (b"a=1;s=abc", b"abc"),
        (b"a=1;   s=abc", b"abc"),
        (b"s=abc ; b=2", b"abc "),  # space behind a value belongs to it
        (b"s= abc", b" abc"),
        (b's="abc" ', b'"abc" '),
        (b's="abc', b'"abc'),
        (b's="', b'"'),
        (b's=""', b""),
        (b"s=a=b", b"a=b"),
        (b"s=one; s=two", b"one"),
        (b"s; s=two", b"two"),
        (b"s=; s=two", b""),
        (b"S=abc", b""),
        (b"s =abc", b""),
        (b"\ts=abc", b""),
        (b"a=1, s=abc", b""),
        (b"", b""),
    ],
)
def test_cookies_are_read_as_envoy_reads_them(line: bytes, value: bytes) -> None:
    assert cookie_value([line], b"s") == value
    assert CookieHash(b"s").hash_of(asked([(b"cookie", line)])) == (xxh64_intdigest(value) if value else None)


def test_the_first_of_several_cookie_fields_that_has_it_counts() -> None:
    assert cookie_value([b"a=1", b"s=one", b"s=two"], b"s") == b"one"


class TestMadeCookies:
    """Semantics 9.4."""

    def test_without_ttl_none_is_made(self) -> None:
        request = asked()
        assert CookieHash(b"s").hash_of(request) is None
        assert request.set_cookies == []

    @pytest.mark.parametrize(
        ("policy", "tail"),
        [
            (CookieHash(b"s", 60), b"; Max-Age=60; HttpOnly"),
            (CookieHash(b"s", 0, b"/app"), b"; Path=/app; HttpOnly"),
            (CookieHash(b"s", 0), b"; HttpOnly"),
            (
                CookieHash(b"s", 5, b"/", ((b"SameSite", b"Lax"), (b"Secure", b""))),
                b"; Max-Age=5; Path=/; SameSite=Lax; Secure; HttpOnly",
            ),
        ],
    )
    def test_its_value_is_the_hash_of_the_connection(self, policy: CookieHash, tail: bytes) -> None:
        request = asked()
        value = b"%016x" % xxh64_intdigest(b"10.0.0.7:4100010.0.0.1:80")
        assert policy.hash_of(request) == xxh64_intdigest(value)
        assert request.set_cookies == [(b"set-cookie", b's="%b"%b' % (value, tail))]

    def test_one_that_is_there_is_kept_and_an_empty_one_replaced(self) -> None:
        policy = CookieHash(b"s", 60)
        there, empty = asked([(b"cookie", b"s=abc")]), asked([(b"cookie", b"s=")])
        assert policy.hash_of(there) == xxh64_intdigest(b"abc")
        assert there.set_cookies == []
        assert policy.hash_of(empty) is not None
        assert len(empty.set_cookies) == 1


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (b"/?u=ann", b"ann"),
        (b"/?a=1&u=ann&u=bob", b"ann"),
        (b"/?u=", b""),
        (b"/?u", b""),
        (b"/?u&u=ann", b""),
        (b"/?u=a%20b+c", b"a%20b+c"),  # as written
        (b"/?u=a=b", b"a=b"),
        (b"/?U=ann", None),
        (b"/?%75=ann", None),
        (b"/?a=1?u=ann", None),
        (b"/?a=1;u=ann", None),
        (b"/u=ann", None),
        (b"/?", None),
        (b"/", None),
    ],
)
def test_query_parameters(target: bytes, value: bytes | None) -> None:
    found = QueryHash(b"u").hash_of(asked(target=target))
    assert found == (None if value is None else xxh64_intdigest(value))


def test_the_clients_address_as_text_9_5() -> None:
    assert SourceIpHash().hash_of(asked(client_ip="fd00::1")) == xxh64_intdigest(b"fd00::1")
    assert source_ip_hash("127.0.0.1") == xxh64_intdigest(b"127.0.0.1")
    assert source_ip_hash("") is None


class TestCombined:
    A, B, C = (HeaderHash(name) for name in (b"a", b"b", b"c"))

    def hash_of(self, policies: list[HashPolicy], *names: bytes) -> int | None:
        return request_hash(policies, asked([(name, b"value") for name in names]))

    def test_nothing_found_is_no_hash(self) -> None:
        assert self.hash_of([]) is None
        assert self.hash_of([self.A, self.B]) is None

    def test_one_found_is_the_hash(self) -> None:
        assert self.hash_of([self.A, self.B], b"b") == xxh64_intdigest(b"value")

    def test_the_hash_so_far_is_turned_by_a_bit(self) -> None:
        one = xxh64_intdigest(b"value")
        turned = (one << 1) % (1 << 64) + (one >> 63)
        assert self.hash_of([self.A, self.B], b"a", b"b") == turned ^ one
        assert turned ^ one != 0, "equal ones do not cancel each other out"

    def test_a_terminal_one_ends_the_list_once_there_is_a_hash(self) -> None:
        last = HeaderHash(b"b", terminal=True)
        both = self.hash_of([self.A, self.B], b"a", b"b")
        assert self.hash_of([self.A, last, self.C], b"a", b"b", b"c") == both
        # whoever found it
        assert self.hash_of([self.A, last, self.C], b"a", b"c") == xxh64_intdigest(b"value")
        assert self.hash_of([last, self.C], b"c") == xxh64_intdigest(b"value")
