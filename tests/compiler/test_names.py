"""Names and host patterns: semantics 1.4 to 1.9, 2.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.compiler.names import (
    covers,
    full_name,
    gateway_name,
    gateway_names,
    hosts_open_to,
    intersection,
    server_host,
    specificity,
)


@pytest.mark.parametrize(
    ("host", "whole"),
    [
        ("reviews", "reviews.shop.svc.example.local"),
        ("reviews.prod", "reviews.prod"),
        ("reviews.shop.svc.cluster.local", "reviews.shop.svc.cluster.local"),
        ("*", "*"),
        ("*.foo", "*.foo"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_1_4_only_a_bare_word_is_expanded(host: str, whole: str) -> None:
    assert full_name(host, "shop", "example.local") == whole


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("team/edge", "team/edge"),
        ("./edge", "shop/edge"),
        ("edge", "shop/edge"),
        ("mesh", "mesh"),
        ("edge.team", "team/edge"),
        ("edge.team.svc.cluster.local", "team/edge"),
    ],
)
def test_1_7_gateway_references(reference: str, name: str) -> None:
    assert gateway_name(reference, "shop") == name


def test_4_1_no_gateways_means_mesh() -> None:
    assert gateway_names((), "shop") == ("mesh",)
    assert gateway_names(("edge", "mesh"), "shop") == ("shop/edge", "mesh")


@pytest.mark.parametrize(
    ("general", "narrow", "answer"),
    [
        ("*", "a.b", True),
        ("*", "*", True),
        ("*.foo.com", "a.foo.com", True),
        ("*.foo.com", "a.b.foo.com", True),
        ("*.foo.com", "foo.com", False),
        ("*.foo.com", "*.a.foo.com", True),
        ("*.a.foo.com", "*.foo.com", False),
        ("a.foo.com", "*.foo.com", False),
        ("a.foo.com", "a.foo.com", True),
        ("A.foo.com", "a.foo.com", False),
    ],
)
def test_1_8_a_wildcard_covers_any_depth_but_not_the_bare_name(
    general: str, narrow: str, answer: bool
) -> None:
    assert covers(general, narrow) is answer


def test_1_9_most_specific_first() -> None:
    hosts = ["*", "*.foo.com", "b.foo.com", "a.foo.com", "*.a.foo.com", "longer.foo.com"]
    assert sorted(hosts, key=specificity) == [
        "longer.foo.com",
        "a.foo.com",
        "b.foo.com",
        "*.a.foo.com",
        "*.foo.com",
        "*",
    ]


@pytest.mark.parametrize(
    ("servers", "hosts", "met"),
    [
        (["*.foo.com"], ["a.foo.com"], ["a.foo.com"]),
        (["a.foo.com"], ["*.foo.com"], ["a.foo.com"]),
        (["*"], ["*"], ["*"]),
        (["*"], ["a.com", "*.b.com"], ["a.com", "*.b.com"]),
        (["a.com", "b.com"], ["*"], ["a.com", "b.com"]),
        (["*.foo.com"], ["*.a.foo.com"], ["*.a.foo.com"]),
        (["*.a.foo.com"], ["*.foo.com"], ["*.a.foo.com"]),
        (["*.foo.com", "a.foo.com"], ["a.foo.com"], ["a.foo.com"]),
        (["foo.com"], ["bar.com"], []),
        (["Foo.com"], ["foo.com"], []),  # 2.2.4: as written
    ],
)
def test_2_2_3_the_narrower_name_of_each_pair_is_kept(
    servers: list[str], hosts: list[str], met: list[str]
) -> None:
    assert intersection(servers, hosts) == met


def test_2_2_1_namespace_prefixes_of_server_hosts() -> None:
    assert server_host("a.com", "gw") == "a.com"
    assert server_host("./a.com", "gw") == "gw/a.com"
    assert server_host("team/a.com", "gw") == "team/a.com"
    assert server_host("*/a.com", "gw") == "a.com"
    assert server_host("*/*", "gw") == "*"


def test_2_2_2_a_prefix_says_whose_virtual_services_may_bind() -> None:
    hosts = ["a.com", "team/b.com", "other/*.c.com"]
    assert hosts_open_to(hosts, "team") == ["a.com", "b.com"]
    assert hosts_open_to(hosts, "other") == ["a.com", "*.c.com"]
    assert hosts_open_to(hosts, "third") == ["a.com"]


LABELS = st.sampled_from(["a", "b", "foo"])
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
PATTERNS = st.one_of(st.just("*"), NAMES, NAMES.map(lambda name: f"*.{name}"))


@given(st.lists(PATTERNS, max_size=4), st.lists(PATTERNS, max_size=4), NAMES)
def test_2_2_3_a_name_is_in_the_intersection_when_it_is_on_both_sides(
    servers: list[str], hosts: list[str], name: str
) -> None:
    def has(patterns: list[str]) -> bool:
        return any(covers(pattern, name) for pattern in patterns)

    assert has(intersection(servers, hosts)) is (has(servers) and has(hosts))
