"""The strict reader: what it builds, what it refuses, and that nothing exhausts it."""

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.sources.limits import Limits
from gatewayd.sources.scalars import resolve_plain
from gatewayd.sources.yaml_tree import Document, Problem, SyntaxProblem, documents

LIMITS = Limits()


def read(text: str, limits: Limits = LIMITS, *, marked: bool = False) -> Document:
    (document,) = documents(text, limits, marked=marked)
    return document


def value_of(text: str) -> Any:
    document = read(text)
    assert document.problems == []
    return document.value


def problems_of(text: str) -> list[tuple[str, int, int]]:
    return [(problem.code, problem.line, problem.column) for problem in read(text).problems]


def refused(text: str, limits: Limits = LIMITS) -> Problem:
    with pytest.raises(SyntaxProblem) as caught:
        list(documents(text, limits))
    return caught.value.problem


# The dumper writes for YAML 1.1, where `0E0` is text: leave out what the two versions read differently.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20).filter(
    lambda text: resolve_plain(text) == text
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdefXYZ_- :#'\"", min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=25,
)


@given(values, st.sampled_from([True, False, None]), st.booleans())
def test_reads_what_pyyaml_writes(value: Any, flow: bool | None, allow_unicode: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=allow_unicode)
    assert value_of(text) == value


@given(st.text(max_size=200))
def test_no_text_makes_it_crash(text: str) -> None:
    places = []
    try:
        places += [(document.line, document.column) for document in documents(text, LIMITS, marked=True)]
    except SyntaxProblem as error:
        places.append((error.problem.line, error.problem.column))
    assert all(line >= 1 and column >= 1 for line, column in places)


@given(st.text(alphabet="{}[]-:?&*!|>'\"%@,#ab <\n\t~0", max_size=80))
def test_no_play_of_indicators_makes_it_crash(text: str) -> None:
    places = []
    try:
        places += [document.line for document in documents(text, LIMITS, marked=True)]
    except SyntaxProblem as error:
        places.append(error.problem.line)
    assert all(line >= 1 for line in places)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "\n\n# a\n"])
def test_nothing_is_no_document(text: str) -> None:
    assert list(documents(text, LIMITS)) == []


def test_several_documents_some_empty() -> None:
    found = [document.value for document in documents("a: 1\n---\n---\n# c\n---\n- x\n...\n", LIMITS)]
    assert found == [{"a": 1}, None, None, ["x"]]


def test_windows_line_ends_and_quoted_styles() -> None:
    assert value_of("a: 'no'\r\nb: \"\\u00e9\\n\"\r\nc: |\r\n  x\r\n  y\r\n") == {
        "a": "no",
        "b": "é\n",
        "c": "x\ny\n",
    }


def test_json_is_yaml() -> None:
    assert value_of('{\n\t"a": [1, true, null],\n\t"b": {"c": "\\/x"}\n}') == {
        "a": [1, True, None],
        "b": {"c": "/x"},
    }


def test_keys_are_text_as_kubernetes_has_them() -> None:
    assert value_of("8080: a\ntrue: b\n") == {"8080": "a", "true": "b"}


def test_duplicate_keys_are_each_named() -> None:
    assert problems_of("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n") == [("GWD0004", 4, 3), ("GWD0004", 5, 1)]


def test_a_mapping_cannot_be_a_key() -> None:
    problem = refused("? {a: b}\n: c\n")
    assert (problem.code, problem.line) == ("GWD0003", 1)


def test_anchors_and_aliases_are_followed() -> None:
    assert value_of("a: &x {b: 1}\nc: *x\nd: [&y 2, *y]\n") == {"a": {"b": 1}, "c": {"b": 1}, "d": [2, 2]}


def test_merge_keys_fill_in_what_is_not_written() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: {<<: *b, y: 9}\ntwo:\n  z: 0\n  <<: [*b, *m]\n"
    value = value_of(text)
    assert value["one"] == {"x": 1, "y": 9}
    assert value["two"] == {"z": 0, "x": 1, "y": 2}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert value_of('"<<": {a: 1}\n') == {"<<": {"a": 1}}


@pytest.mark.parametrize("text", ["a: *x\n", "a: &x [*x]\n", "a: {<<: 1}\n", "a: {<<: [1]}\n"])
def test_aliases_and_merges_that_mean_nothing(text: str) -> None:
    assert [problem.code for problem in read(text).problems] == ["GWD0003"]


def test_anchors_end_with_their_document() -> None:
    first, second = documents("a: &x 1\n---\nb: *x\n", LIMITS)
    assert first.problems == []
    assert [problem.code for problem in second.problems] == ["GWD0003"]


@pytest.mark.parametrize(
    "text", ["a: !!python/object:os.x {}\n", "a: !env HOME\n", "a: !!set {x}\n", "a: !!int x\n"]
)
def test_tags_without_a_meaning_are_refused(text: str) -> None:
    assert problems_of(text)[0] == ("GWD0005", 1, 4)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "[\n" * 200_000,
        "{a: " * 200_000,
        "- " * 200_000,
        "\n".join(" " * depth + "a:" for depth in range(1000)),
        "a: " + "[" * 200_000 + "]" * 200_000,
    ],
)
def test_depth_bombs_are_stopped_before_they_are_built(text: str) -> None:
    began = time.process_time()
    problem = refused(text)
    assert (problem.code, problem.message) == ("GWD0006", "nested deeper than 64 levels")
    assert time.process_time() - began < 2


def test_keys_of_keys_are_no_way_around() -> None:
    assert refused("? " * 200_000).message == "a key must be plain text"


def test_the_deepest_allowed_nesting() -> None:
    assert value_of("[" * 64 + "]" * 64) is not None
    assert refused("[" * 65 + "]" * 65).code == "GWD0006"


def laughs(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_alias_bombs_are_stopped_by_counting() -> None:
    began = time.process_time()
    problem = refused(laughs(20, 10))
    assert (problem.code, problem.message) == ("GWD0006", "aliases expand to more than 200,000 nodes")
    assert time.process_time() - began < 2


def test_merge_bombs_are_stopped_by_counting() -> None:
    base = "base: &b {" + ", ".join(f"k{n}: {n}" for n in range(1000)) + "}\n"
    text = base + "".join(f"m{n}: {{<<: *b}}\n" for n in range(300))
    assert refused(text).code == "GWD0006"


def test_honest_use_of_aliases_is_far_below_the_limit() -> None:
    assert value_of(laughs(5, 3))["a4"] is not None


def test_depth_through_aliases_is_counted() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 80)]
    assert refused("\n".join(lines)).message == "nested deeper than 64 levels through aliases"


def test_many_nested_anchors_are_measured_once() -> None:
    text = "".join(f"&a{n} [" for n in range(60)) + ",".join(["x"] * 200_000) + "]" * 60
    began = time.process_time()
    assert value_of(text) is not None
    assert time.process_time() - began < 5


def test_too_many_documents() -> None:
    assert refused("---\na\n" * 4, Limits(max_documents=3)).code == "GWD0006"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: b: c\n", 1, 5),
        ("a: 1\n b: 2\n", 2, 3),
        ("a: [1, 2\nb: 3\n", 2, 2),
        ('a: "x\n', 2, 1),
        ("a: \x01\n", 1, 4),
        ("a:\n\t- b\n", 2, 1),
        ("a: @x\n", 1, 4),
    ],
)
def test_syntax_errors_have_a_place(text: str, line: int, column: int) -> None:
    problem = refused(text)
    assert (problem.code, problem.line, problem.column) == ("GWD0003", line, column)


def test_documents_before_a_syntax_error_are_given() -> None:
    found = documents("a: 1\n---\nb: [\n", LIMITS)
    assert next(found).value == {"a": 1}
    with pytest.raises(SyntaxProblem):
        next(found)


def test_marks_give_the_place_of_every_key_and_value() -> None:
    document = read("a: 1\nb:\n  - cc: 'dd'\n    e: [f,  gg]\n", marked=True)
    marks = document.marks
    assert marks is not None
    value = document.value
    assert marks[id(value)]["a"] == ((1, 1, 1), (1, 4, 1))
    assert marks[id(value)]["b"][0] == (2, 1, 1)
    assert marks[id(value["b"])] == [(3, 5, 1)]
    inner = value["b"][0]
    assert marks[id(inner)]["cc"] == ((3, 5, 2), (3, 9, 4))
    assert marks[id(inner["e"])] == [(4, 9, 1), (4, 13, 2)]


def test_items_of_the_main_lists_keep_their_place() -> None:
    document = read("spec:\n  http:\n  - a: 1\n  -   b: 2\n  tls: [{c: 3}]\n")
    spec = document.value["spec"]
    assert document.rules[id(spec["http"])] == [(3, 5), (4, 7)]
    assert document.rules[id(spec["tls"])] == [(5, 9)]
