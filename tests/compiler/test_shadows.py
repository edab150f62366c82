"""A rule said never to match never does: random rules, random requests, walked from the top."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.compiler.matches import EVERYTHING, Shape, Shapes
from gatewayd.compiler.shadows import shadowed
from gatewayd.http.message import Fields, RequestHead
from gatewayd.resources.virtual_service import HTTPMatchRequest, StringMatch

PATHS = ["", "/", "/a", "/A", "/a/b", "/ab", "/b"]
texts = st.one_of(
    st.builds(lambda value: StringMatch(exact=value), st.sampled_from(PATHS[1:])),
    st.builds(lambda value: StringMatch(prefix=value), st.sampled_from(PATHS)),
    st.builds(lambda value: StringMatch(regex=value), st.sampled_from(["/a.*", ".*", "/[ab]"])),
)
values = st.one_of(
    st.just(StringMatch()),
    st.builds(lambda value: StringMatch(exact=value), st.sampled_from("12")),
    st.builds(lambda value: StringMatch(prefix=value), st.sampled_from("12")),
)
maps = st.dictionaries(st.sampled_from(["x", "X", "y"]), values, max_size=2)
matches = st.builds(
    lambda uri, case, headers, without, params, method: HTTPMatchRequest(
        uri=uri,
        ignore_uri_case=case,
        headers=headers,
        without_headers=without,
        query_params=params,
        method=method,
    ),
    st.none() | texts,
    st.booleans(),
    maps,
    maps,
    maps,
    st.none() | st.just(StringMatch(exact="GET")),
)
requests = st.builds(
    lambda path, query, fields, method: RequestHead(
        method, path.encode() + query, b"h", b"http", Fields(fields)
    ),
    st.sampled_from(PATHS[1:]),
    st.sampled_from([b"", b"?x=1", b"?y=2", b"?x=12&y=1"]),
    st.lists(st.tuples(st.sampled_from([b"x", b"y"]), st.sampled_from([b"1", b"2", b"12", b""])), max_size=2),
    st.sampled_from([b"GET", b"POST"]),
)


def meets(shape: Shape, request: RequestHead) -> bool:
    return all(condition.matches(request) for condition in shape.conditions)


@given(st.lists(matches, min_size=2, max_size=6), st.lists(requests, min_size=1, max_size=6))
def test_whatever_a_shadowed_rule_matches_its_taker_matches_too(
    written: list[HTTPMatchRequest], asked: list[RequestHead]
) -> None:
    shapes = [Shapes().of(match) for match in written]
    for index, taker in shadowed(shapes):
        assert taker < index
        for request in asked:
            if meets(shapes[index], request):
                assert meets(shapes[taker], request)


def test_equal_plain_alternatives_are_one_shape() -> None:
    shapes = Shapes()
    match = HTTPMatchRequest(uri=StringMatch(prefix="/a"))
    assert shapes.of(match) is shapes.of(HTTPMatchRequest(name="other", uri=StringMatch(prefix="/a")))
    assert shapes.of(match) is not shapes.of(
        HTTPMatchRequest(uri=StringMatch(prefix="/a"), ignore_uri_case=True)
    )
    assert shapes.of(None) is EVERYTHING


def test_many_conditions_are_compared_as_a_whole() -> None:
    headers = {f"x-{number}": StringMatch(exact="1") for number in range(6)}
    fewer = dict(list(headers.items())[:5])
    shapes = [Shapes().of(HTTPMatchRequest(headers=some)) for some in (fewer, headers, headers)]
    assert shadowed(shapes) == [(2, 1)]
