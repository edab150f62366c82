"""Ring hash and Maglev: recorded placements, what stays when endpoints go, retries (semantics 6.7.6, 9.2, 9.3)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from gatewayd.upstream.balancers import BALANCERS, Balancer, BalancerOptions, HashOptions, make_balancer
from gatewayd.upstream.balancers.hash_balancer import LARGEST_HASH, hash_key, random_hash
from gatewayd.upstream.balancers.maglev import table
from gatewayd.upstream.balancers.ring_hash import ring
from tests.upstream.hosts import PICKS, Host, assert_shares, counts, hosts

#: policy, weights of h0 to h3, and which of them Envoy chose for "user-0" to "user-59"
RECORDED = [
    ("RING_HASH", (1, 1, 1, 1), "221332110221313023322020312210332112301031210031212321213231"),
    ("RING_HASH", (1, 2, 5, 40), "333333333223313333332333333333333313331333213331333333333333"),
    ("RING_HASH", (7, 3, 3, 1), "001102110221010021022000010010132112101001200031212000010211"),
    ("MAGLEV", (1, 1, 1, 1), "300110310233230332113221230101323223111002123033013101012230"),
    ("MAGLEV", (1, 2, 5, 40), "333212333233333333333233233333333223133333133333333303333233"),
    ("MAGLEV", (7, 3, 3, 1), "300110300200200022001201200101000223110000100000011100012220"),
]
both = pytest.mark.parametrize("policy", ["MAGLEV", "RING_HASH"])
HASHES = st.integers(0, LARGEST_HASH)


def make(policy: str, endpoints: list[Host], **options: int) -> Balancer[Host]:
    made = BalancerOptions(policy, HashOptions(**options))
    return make_balancer(made, endpoints, random=Random(7).random)


def name(balancer: Balancer[Host], request_hash: int) -> str:
    picked = balancer.pick_for(request_hash)
    assert picked is not None
    return picked.name


class TestRecorded:
    """What Istio 1.30 with Envoy 1.40 chose among 127.0.0.1:24101 to 24104, h0 to h3."""

    @pytest.mark.parametrize(
        ("value", "chosen"),
        # a query parameter, twice the same host; the address of the client; a cookie
        [(b"ann", "h1"), (b"bob", "h1"), (b"cid", "h2"), (b"127.0.0.1", "h2"), (b"abc", "h3")],
    )
    def test_ring_hash(self, value: bytes, chosen: str) -> None:
        assert name(make("RING_HASH", hosts(1, 1, 1, 1)), xxh64_intdigest(value)) == chosen

    @pytest.mark.parametrize(("policy", "weights", "chosen"), RECORDED)
    def test_the_first_values(self, policy: str, weights: tuple[int, ...], chosen: str) -> None:
        """``user-0``, ``user-1`` and so on, one digit each."""
        balancer = make(policy, hosts(*weights))
        picked = [name(balancer, xxh64_intdigest(b"user-%d" % n)) for n in range(len(chosen))]
        assert "".join(picked).replace("h", "") == chosen


@both
def test_a_table_hangs_on_addresses_alone(policy: str) -> None:
    endpoints = hosts(1, 2, 3, 4)
    hashes = [xxh64_intdigest(b"%d" % n) for n in range(300)]
    one, other = make(policy, endpoints), make(policy, [*endpoints[2:], *endpoints[:2]])
    different = sum(name(one, each) != name(other, each) for each in hashes)
    # With unequal weights the order decides who gets the place that does not come out whole.
    assert different <= (0 if policy == "MAGLEV" else 3)


@both
def test_most_hashes_stay_where_they_are_when_a_host_goes(policy: str) -> None:
    endpoints = hosts(1, 1, 1, 1, 1)
    hashes = [xxh64_intdigest(b"%d" % n) for n in range(2000)]
    before, after = make(policy, endpoints), make(policy, endpoints[1:])
    moved = sum(name(before, each) != name(after, each) for each in hashes if name(before, each) != "h0")
    # With fewer hosts each has more places, so that a few change hands without need.
    assert moved < 0.2 * len(hashes)
    assert "h0" not in {name(after, each) for each in hashes}


@both
@given(weights=st.lists(st.integers(0, 50), min_size=1, max_size=9), hashes=st.lists(HASHES, min_size=1))
def test_any_hash_goes_to_one_that_is_ready_and_always_the_same(
    policy: str, weights: list[int], hashes: list[int]
) -> None:
    endpoints = [*hosts(*weights), Host("down", ready=False)]
    sizes = {"table_size": 251, "minimum_ring_size": 64}
    balancer, again = make(policy, endpoints, **sizes), make(policy, endpoints, **sizes)
    for each in [0, LARGEST_HASH, *hashes]:
        assert balancer.pick_for(each) in endpoints[:-1]
        assert balancer.pick_for(each) is again.pick_for(each)


@both
def test_nobody_and_only_one(policy: str) -> None:
    nobody = make(policy, [Host("down", ready=False)])
    assert (nobody.pick(), nobody.pick_for(1), nobody.pick_other_for(1, [])) == (None, None, None)
    only = Host("only")
    alone = make(policy, [only, Host("down", ready=False)])
    assert (alone.pick(), alone.pick_for(1), alone.pick_other_for(1, [only])) == (only, only, only)


@both
def test_a_request_without_hash_goes_anywhere_9_3(policy: str) -> None:
    balancer = make(policy, hosts(1, 1, 2))
    seen = counts(balancer.pick)
    by_place = Counter(name(balancer, random_hash(Random(n).random)) for n in range(PICKS))
    assert set(seen) == {"h0", "h1", "h2"}
    for each in seen:
        assert abs(seen[each] - by_place[each]) < 0.03 * PICKS


def test_maglev_shares_are_those_of_the_weights() -> None:
    balancer = make("MAGLEV", hosts(1, 3, 6))
    assert_shares(counts(balancer.pick), {"h0": 0.1, "h1": 0.3, "h2": 0.6})


@given(weights=st.lists(st.integers(1, 100), min_size=2, max_size=20))
def test_every_entry_of_a_maglev_table_is_dealt_out_in_proportion(weights: list[int]) -> None:
    total = sum(weights)
    shares = tuple(weight / total for weight in weights)
    owners = Counter(table(tuple(b"%d" % n for n in range(len(weights))), shares, 1009))
    assert owners.total() == 1009
    for owner, share in enumerate(shares):
        assert abs(owners[owner] - 1009 * share) <= 2 + 1 / max(shares)


@pytest.mark.parametrize(
    ("weights", "minimum", "maximum", "dealt"),
    [
        ([1, 1, 1, 1], 1024, 1 << 23, [256, 256, 256, 256]),
        ([1, 1, 1], 1024, 1024, [342, 341, 341]),  # no more than the maximum
        ([1, 1, 1], 1024, 1 << 23, [342, 342, 342]),  # the least share comes out whole
        ([1, 100, 3], 10, 20, [1, 19, 0]),
    ],
)
def test_places_of_a_ring(weights: list[int], minimum: int, maximum: int, dealt: list[int]) -> None:
    """Envoy's own counts, from its statistics of the ring."""
    total = sum(weights)
    keys = tuple(b"127.0.0.1:%d" % n for n in range(len(weights)))
    places, owners = ring(keys, tuple(weight / total for weight in weights), minimum, maximum)
    assert [owners.count(owner) for owner in range(len(weights))] == dealt
    assert places == sorted(places)


@both
def test_a_retry_takes_the_next_place_and_in_the_end_anybody_untried(policy: str) -> None:
    endpoints = hosts(1, 1, 1, 1)
    balancer = make(policy, endpoints)
    for number in range(200):
        request_hash = xxh64_intdigest(b"%d" % number)
        first = balancer.pick_for(request_hash)
        assert first is not None
        second = balancer.pick_other_for(request_hash, [first])
        assert second is not None
        assert second is not first
        assert second is balancer.pick_other_for(request_hash, [first]), "the same each time"
        left = [endpoint for endpoint in endpoints if endpoint not in (first, second)]
        assert balancer.pick_other_for(request_hash, [first, second]) in left
        assert balancer.pick_other_for(request_hash, endpoints) in endpoints
    assert balancer.pick_other([endpoints[0]]) is not endpoints[0]


@pytest.mark.parametrize(
    ("address", "port", "key"),
    [
        ("127.0.0.1", 80, b"127.0.0.1:80"),
        ("fd00:0::1", 80, b"[fd00::1]:80"),
        ("unix:/run/a.sock", 0, b"/run/a.sock"),
    ],
)
def test_what_stands_for_an_endpoint(address: str, port: int, key: bytes) -> None:
    assert hash_key(Host("x", address=address, port=port)) == key


def test_a_random_hash_has_bits_everywhere() -> None:
    random = Random(1).random
    drawn = [random_hash(random) for _ in range(2000)]
    assert max(drawn) <= LARGEST_HASH
    for bit in range(64):
        assert 850 < sum(each >> bit & 1 for each in drawn) < 1150


def test_hash_policies_are_marked() -> None:
    assert {policy for policy in BALANCERS if BalancerOptions(policy).hashes} == {"MAGLEV", "RING_HASH"}
