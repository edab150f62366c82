"""Which chain takes a connection (semantics 3.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.listeners.filter_chains import ChainIndex
from gatewayd.snapshot import FilterChain


def chain(*server_names: str, alpn: tuple[str, ...] = (), name: str = "") -> FilterChain:
    return FilterChain(name or " ".join(server_names), 443, server_names, alpn)


@pytest.mark.parametrize(
    ("sni", "expected"),
    [
        ("a.w.test", "a.w.test"),
        ("b.w.test", "*.w.test"),
        ("x.deep.w.test", "*.deep.w.test"),
        ("x.y.w.test", "*.w.test"),
        ("w.test", ""),
        ("other.test", ""),
        ("", ""),
    ],
)
def test_3_3_exact_then_longest_suffix_then_no_names(sni: str, expected: str) -> None:
    index = ChainIndex([chain("*.w.test"), chain("a.w.test"), chain("*.deep.w.test"), chain()])
    assert index.choose(sni).name == expected


def test_3_3_without_a_chain_for_every_name_unknown_ones_and_no_sni_get_none() -> None:
    index = ChainIndex([chain("a.test")])
    assert index.choose("b.test") is None
    assert index.choose("") is None


def test_3_3_there_is_no_way_back_to_a_less_specific_chain() -> None:
    index = ChainIndex([chain("a.test", alpn=("istio",)), chain("*.test"), chain()])
    assert index.choose("a.test", ("h2",)) is None
    assert index.choose("a.test", ("h2", "istio")).name == "a.test"


def test_3_1_a_chain_for_an_offered_protocol_goes_before_one_for_any() -> None:
    index = ChainIndex([chain("a.test", name="any"), chain("a.test", alpn=("istio",), name="mesh")])
    assert index.choose("a.test", ("istio",)).name == "mesh"
    assert index.choose("a.test", ("http/1.1",)).name == "any"
    assert index.choose("a.test").name == "any"


def test_the_first_of_two_chains_for_one_name_wins() -> None:
    assert ChainIndex([chain("a.test", name="1"), chain("a.test", name="2")]).choose("a.test").name == "1"


_LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.booleans(), _LABELS), max_size=8), _LABELS)
def test_the_index_agrees_with_looking_at_every_name(
    names: list[tuple[bool, list[str]]], asked: list[str]
) -> None:
    chains = [chain(("*." if wild else "") + ".".join(labels)) for wild, labels in names]
    sni = ".".join(asked)
    fitting = [
        (not name.startswith("*."), len(name), name)
        for name in (made.server_names[0] for made in chains)
        if name == sni or (name.startswith("*.") and sni.endswith(name[1:]))
    ]
    found = ChainIndex(chains).choose(sni)
    assert (found.server_names[0] if found else None) == (max(fitting)[2] if fitting else None)


def test_a_chain_takes_the_place_of_another() -> None:
    any_name, wild, exact = chain(name="any"), chain("*.test", "a.b"), chain("a.test", alpn=("istio",))
    both = chain("a.test", name="both")
    index = ChainIndex([any_name, wild, exact, both])
    for old in (any_name, wild, exact):
        index.replace(old, FilterChain(f"new {old.name}", 443, old.server_names, old.alpn))
    assert index.choose("").name == "new any"
    assert [index.choose(name).name for name in ("x.test", "a.b")] == ["new *.test a.b"] * 2
    assert index.choose("a.test", ("istio",)).name == "new a.test"
    assert index.choose("a.test") is both
