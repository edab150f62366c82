"""Host look-up, semantics 4.10 to 4.12."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.routing.hosts import HostIndex, host_key
from tests.reference.routing import find_domain


def index(*domains: str) -> HostIndex[str]:
    return HostIndex((domain, domain) for domain in domains)


@pytest.mark.parametrize(
    ("authority", "key"),
    [
        (b"Shop.TEST", b"shop.test"),
        (b"shop.test:8080", b"shop.test"),
        (b"shop.test:", b"shop.test"),
        (b"[2001:DB8::1]:80", b"[2001:db8::1]"),
        (b"[2001:db8::1]", b"[2001:db8::1]"),
        (b"10.0.0.1:80", b"10.0.0.1"),
        (b"", b""),
        # Another host, as recorded: the final dot is kept.
        (b"shop.test.", b"shop.test."),
        (b"shop.test.:80", b"shop.test."),
    ],
)
def test_key_is_lower_case_without_port(authority: bytes, key: bytes) -> None:
    assert host_key(authority) == key


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        (b"a.foo.com", "a.foo.com"),  # exact before any wildcard
        (b"x.b.foo.com", "*.b.foo.com"),  # the longest suffix
        (b"b.foo.com", "*.foo.com"),
        (b"deep.down.x.foo.com", "*.foo.com"),  # any depth
        (b"barfoo.com", "*foo.com"),  # not at a label border
        (b"www.bar.org", "www.*"),
        (b"www.eu.bar.org", "www.eu.*"),  # the longest prefix
        (b"www.eu.foo.com", "*.foo.com"),  # suffix before prefix
        (b"elsewhere", "*"),
        (b"", "*"),
        # "*" stands for at least one character (4.12)
        (b".foo.com", "*foo.com"),
        (b"foo.com", "*"),
        (b"www.", "*"),
    ],
)
def test_most_specific_domain_wins(host: bytes, domain: str) -> None:
    domains = ("*", "www.*", "www.eu.*", "*foo.com", "*.foo.com", "*.b.foo.com", "a.foo.com")
    assert index(*domains).find(host) == domain


def test_wildcard_matches_at_least_one_character() -> None:
    assert index("*.foo.com").find(b".foo.com") is None
    assert index("*.foo.com").find(b"foo.com") is None
    assert index("foo.*").find(b"foo.") is None


def test_nothing_serves_an_unknown_host() -> None:
    assert index("a.test", "*.b.test").find(b"c.test") is None


def test_first_of_two_equal_domains_stays() -> None:
    assert HostIndex([("a.test", 1), ("A.test", 2), ("*", 3), ("*", 4)]).find(b"a.test") == 1
    assert HostIndex([("*", 3), ("*", 4)]).find(b"x") == 3


def test_a_host_of_nothing_but_dots_costs_no_more_than_the_longest_domain() -> None:
    calls = 0

    class Counting(dict[bytes, str]):
        def get(self, key: bytes, default: str | None = None) -> str | None:  # type: ignore[override]
            nonlocal calls
            calls += 1
            return super().get(key, default)

    hosts = index("*.foo.com")
    hosts._dotted = Counting(hosts._dotted)
    assert hosts.find(b"." * 60_000) is None
    assert calls <= len(".foo.com")


_LABEL = st.sampled_from(["a", "b", "ab", ""])
_HOST = st.lists(_LABEL, min_size=1, max_size=4).map(".".join)
_DOMAIN = st.one_of(_HOST, _HOST.map("*".__add__), _HOST.map(lambda h: h + "*"), st.just("*"))


@given(st.lists(_DOMAIN.filter(bool), max_size=12), _HOST)
def test_agrees_with_trying_every_domain(domains: list[str], host: str) -> None:
    # "**" is no domain: a prefix of nothing
    domains = [d for d in domains if d.count("*") < 2]
    assert index(*domains).find(host.encode()) == find_domain(domains, host)


@given(
    st.lists(_DOMAIN.filter(bool), max_size=8, unique=True),
    st.lists(_DOMAIN.filter(bool), max_size=4, unique=True),
    st.sets(st.integers(0, 7)),
    _HOST,
)
def test_a_changed_index_is_the_one_made_of_what_there_is_then(
    before: list[str], more: list[str], leaving: set[int], host: str
) -> None:
    before = [d for d in before if d.count("*") < 2]
    gone = [domain for at, domain in enumerate(before) if at in leaving]
    come = [d for d in more if d.count("*") < 2 and (d not in before or d in gone)]
    old = index(*before)
    expected = find_domain(before, host)
    made = old.changed(gone, [(domain, domain) for domain in come])
    left = [domain for domain in before if domain not in gone]
    assert made.find(host.encode()) == find_domain([*left, *come], host)
    assert old.find(host.encode()) == expected, "the one before stays as it is"
