"""Texts are cut into documents; a broken one does not take the others along, and every place is right."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.sources.limits import Limits
from gatewayd.sources.plain_yaml import PlainReader
from gatewayd.sources.reader import Part, parts_of, read_json, read_part
from gatewayd.sources.yaml_tree import Document, Problem, SyntaxProblem, documents

LIMITS = Limits()


def pieces(text: str) -> list[tuple[Part, list[Document | Problem]]]:
    return [(part, list(read_part(part, LIMITS, PlainReader(LIMITS)))) for part in parts_of(text)]


def read(text: str) -> list[Document | Problem]:
    return [item for _, found in pieces(text) for item in found]


def values(text: str) -> list[Any]:
    found = read(text)
    return [item.value for item in found if isinstance(item, Document) and item.value is not None]


def test_documents_of_both_readers_count_lines_from_their_part() -> None:
    text = "# first\na: 1\n---\n\nb: {c: 2}\n--- # third\nspec:\n  http:\n  - d: 3\n--- {e: 4}\n"
    found = [(part, item) for part, items in pieces(text) for item in items if isinstance(item, Document)]
    assert [item.value for _, item in found] == [
        {"a": 1},
        {"b": {"c": 2}},
        {"spec": {"http": [{"d": 3}]}},
        {"e": 4},
    ]
    assert [(part.line, item.line, item.column) for part, item in found] == [
        (0, 2, 1),
        (2, 3, 1),
        (5, 2, 1),
        (9, 1, 5),
    ]
    third = found[2][1]
    rules = third.rules[id(third.value["spec"]["http"])]
    assert [(line + third.rules_line, column) for line, column in rules] == [(4, 5)]


def test_the_parts_are_the_text() -> None:
    text = "a: 1\n---\nb: {c: 2}\n---\n  d: |\n    ---x\n"
    assert "".join(part.text for part in parts_of(text)) == text
    for part, (item,) in pieces(text):
        assert isinstance(item, Document)
        (again,) = documents(part.text, LIMITS)
        assert again.value == item.value
        assert text[part.start :].startswith(part.text)
        assert text.count("\n", 0, part.start) == part.line


def test_a_broken_document_leaves_those_around_it() -> None:
    first, broken, last = read("a: 1\n---\nb: [\n---\nc: 3\n")
    assert isinstance(first, Document)
    assert isinstance(broken, Problem)
    assert isinstance(last, Document)
    assert (first.value, last.value) == ({"a": 1}, {"c": 3})
    assert (broken.code, broken.line) == ("GWD0003", 3)


def test_problems_inside_a_document_know_their_line() -> None:
    _, second = read("a: 1\n---\nb: 1\nb: 2\n")
    assert isinstance(second, Document)
    assert [(problem.line, problem.column) for problem in second.problems] == [(3, 1)]


@pytest.mark.parametrize(
    "text",
    ["%YAML 1.2\n---\na: 1\n...\n", "a: 1\n...\n", "a: 1\r---\rb: 2\r", "a: 1\u2028---\u2028b: 2\n"],
)
def test_texts_with_directives_or_odd_line_ends_are_read_whole(text: str) -> None:
    assert values(text) == [document.value for document in documents(text, LIMITS)]


@pytest.mark.parametrize("text", ["a: 1\n----\n", "a: |\n  ---\n", "a: ---\n", "a: 1\n---b\n"])
def test_other_dashes_do_not_separate(text: str) -> None:
    try:
        expected = [document.value for document in documents(text, LIMITS)]
    except SyntaxProblem:
        expected = []
    assert values(text) == expected


def test_windows_line_ends_separate() -> None:
    assert values("a: 1\r\n---\r\nb: 2\r\n") == [{"a": 1}, {"b": 2}]


@given(
    st.lists(
        st.sampled_from(["a: 1", "b:", "- c", "---", "--- ", "# d", "", "  - e", "f: {g: h}"]), max_size=12
    )
)
def test_cutting_changes_nothing_in_a_good_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        expected = [document.value for document in documents(text, LIMITS) if document.value is not None]
    except SyntaxProblem:
        assert any(isinstance(item, Problem) for item in read(text))
        return
    assert values(text) == expected


def test_json_that_is_not_yaml() -> None:
    text = '{"a": "\\ud83d\\ude00"}'
    assert isinstance(read(text)[0], Problem)
    document = read_json(text, LIMITS)
    assert document is not None
    assert document.value == {"a": "😀"}
    assert document.problems == []


def test_json_has_the_same_limits() -> None:
    twice = read_json('{"a": 1, "a": 2}', LIMITS)
    deep = read_json("[" * 65 + "]" * 65, LIMITS)
    good = read_json("[" * 64 + "]" * 64, LIMITS)
    assert twice is not None
    assert deep is not None
    assert good is not None
    assert [problem.code for problem in twice.problems] == ["GWD0004"]
    assert [problem.code for problem in deep.problems] == ["GWD0006"]
    assert good.problems == []
    assert read_json("[" * 200_000, LIMITS) is None
    assert read_json("{a: 1}", LIMITS) is None
