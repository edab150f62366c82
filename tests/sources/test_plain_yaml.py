"""The quick reader reads what it reads exactly as the strict one does, and declines the rest."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayd.sources.limits import Limits
from gatewayd.sources.plain_yaml import PlainReader
from gatewayd.sources.yaml_tree import Document, SyntaxProblem, documents

LIMITS = Limits()

VIRTUAL_SERVICE = """\
# a comment
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: shop   # another

  labels: {}
spec:
  hosts: ["*", shop.example, 'a']
  gateways:
  - istio-system/edge
  http:
  - match:
    - uri:
        prefix: /api/v1
      headers:
        x-canary:
          exact: "true"
    -   uri:
          exact: /a b/c:d
    route:
    - destination:
        host: reviews
        port:
          number: 8080
      weight: 90
    timeout: 3s
  - name: last
    route:
    - destination: {}
  tls: [{match: [{port: 443, sniHosts: [a.test]}], route: [{destination: {host: a}}]},   {"x y": 'z', n: []}]
"""


def strictly(text: str) -> Document | None:
    """The strict reader's document, None if there is none; SyntaxProblem if it refuses."""
    found = list(documents(text, LIMITS))
    assert len(found) <= 1
    return found[0] if found else None


def rule_places(document: Document) -> list[list[tuple[int, int]]]:
    """Places of the items of the lists below `spec` that hold mappings."""
    spec = document.value.get("spec") if isinstance(document.value, dict) else None
    if not isinstance(spec, dict):
        return []
    lists = [
        value for value in spec.values() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    return [document.rules.get(id(value), []) for value in lists]


def same(one: Any, other: Any) -> bool:
    """Equality that tells 1 from 1.0 and from True."""
    return repr(one) == repr(other)


def check(text: str) -> bool:
    """Compare both readers; return whether the quick one read the text."""
    quick = PlainReader(LIMITS).read(text)
    if quick is None:
        return False
    try:
        strict = strictly(text)
    except SyntaxProblem as error:
        raise AssertionError(f"read a text that is refused: {error}") from None
    if strict is None:
        assert quick.value is None
        return True
    assert same(quick.value, strict.value)
    assert strict.problems == []
    assert (quick.line, quick.column) == (strict.line, strict.column)
    assert rule_places(quick) == rule_places(strict)
    return True


def test_the_usual_document_is_read() -> None:
    assert check(VIRTUAL_SERVICE)


def test_items_of_a_list_document_keep_their_place() -> None:
    text = "kind: List\nitems:\n- spec:\n    http:\n    - name: a\n    - name: b\n"
    quick = PlainReader(LIMITS).read(text)
    assert quick is not None
    assert quick.rules[id(quick.value["items"][0]["spec"]["http"])] == [(5, 7), (6, 7)]


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "- - a\n  - b\n- c: 1\n  d: 2\n",
        "- a: 1\n  b:\n  - c\n  d: e\n",
        "a:\n- b\n- c\nd: e\n",
        "a:\nb:\n  c:\nd: ~\n",
        "a: -1\nb: - \n",
        "",
        "# nothing\n\n",
        "a: ''\nb: \"\"\nc: 'x y'\n",
        "a: [1, 2.5, true, ~, '']\nb: []\n",
        "a: {b: c}\n",
        "a: [b, [c]]\n",
        "- {a: {b: [c, {d: e f}]}, g: 1}  # h\n- [{}, {}]\n",
        "a: {'b': c-d,  \"e f\": g h , i: ''}\n",
    ],
)
def test_plain_block_style_is_read_alike(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: c,}\n",
        "a: {b}\n",
        "a: {b: }\n",
        "a: {b:c}\n",
        "a: {b: 1, b: 2}\n",
        "a: {b: *c}\n",
        "a: {b: c: d}\n",
        "a: {b: [c}]\n",
        "a: {b: c}}\n",
        "a: {b: c} {d: e}\n",
        "a: [, b]\n",
        "a: [b c: d]\n",
        "a: [{b: c}, d]\n",
        "a: [-1, ?x]\n",
        "a: {b: 'it''s'}\n",
        "a: {<<: b}\n",
        'a: {b: "\\n"}\n',
        "a: {b: {c: d}\n",
        "a: |\n  x\n",
        "a: >-\n  x\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !!str b\n",
        "a: b: c\n",
        "a: b\n  c\n",
        "a: b\n  c: d\n",
        "- a\n  - b\n",
        "- a\n b: c\n",
        "a:\n  b: 1\n c: 2\n",
        "a: 1\na: 2\n",
        "a: 'it''s'\n",
        'a: "x\\n"\n',
        'a: "x\n  y"\n',
        "a:\tb\n",
        "a: b\r\n",
        "a: é\n",
        "a: b\x00\n",
        "<<: b\n",
        "? a\n: b\n",
        "just text\n",
        "a: b#c\n",
        "-\n  a: 1\n",
        "spec:\n  http:\n  - - a: 1\n",
        "- a: 1\n- b\nc: d\n",
        "a: [b\n",
        "a: %x\n",
        "a: @x\n",
        "a: `x\n",
        ": a\n",
        "a: ,\n",
        "a: ]\n",
    ],
)
def test_anything_unusual_is_declined(text: str) -> None:
    assert PlainReader(LIMITS).read(text) is None


@pytest.mark.parametrize(
    "deep",
    [
        "\n".join("  " * depth + f"k{depth}:" for depth in range(80)) + "\n",
        "a: " + "[" * 64 + "]" * 64 + "\n",
        "\n".join("  " * depth + f"k{depth}:" for depth in range(60)) + " {a: {b: {c: {d: {}}}}}\n",
    ],
)
def test_depth_is_left_to_the_strict_reader(deep: str) -> None:
    assert PlainReader(LIMITS).read(deep) is None


def test_a_collection_that_is_written_twice_has_the_places_of_each() -> None:
    rules = "[{a: 1}, {a: 2}]"
    assert check(f"kind: X\nspec:\n  http: {rules}\n  tls:   {rules}\n")


_PIECES = """\
a;b:;b: ;c: d;-;- ;- a;- - b;x: y # c;# c;k: 'q';k: "q";[a, b]
{};k: [a, 'b'];k: {};e:;1;0o7;~;k: -1;k: a:b;k: a b;';";|
*a;&a;!t;d: null;f/g.h-i: 1;?;:;---x;k: a  ;true: no;k: <<
...;a: b: c;k: +1;k: ~
"""
PIECES = st.sampled_from([piece for row in _PIECES.splitlines() for piece in row.split(";")])
LINES = st.lists(st.tuples(st.integers(0, 3), PIECES), max_size=9)


@settings(max_examples=600)
@given(LINES)
@example([(0, "b:"), (1, "- a"), (0, "- a")])
def test_random_lines_are_read_alike_or_declined(lines: list[tuple[int, str]]) -> None:
    text = "".join(f"{' ' * (2 * indent)}{piece}\n" for indent, piece in lines)
    if "\n..." not in f"\n{text}" and "\n---" not in f"\n{text}":
        check(text)


FLOW = st.lists(
    st.sampled_from([*"[]{},", ": ", ":", " ", "a", "b c", "1", "'d'", '"e"', "-", "?", "*"]), max_size=14
)


@settings(max_examples=600)
@given(FLOW, FLOW)
def test_random_collections_are_read_alike_or_declined(first: list[str], second: list[str]) -> None:
    check(f"spec:\n  http: [{''.join(first)}]\n  tls: {{a: {''.join(second)}}}\n")


TREES = st.recursive(
    st.sampled_from(["a", "b c", "1", "'d'", '"e, f"', "~", "^/x.*$", "[]", "{}", "a\\b"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"k{at}: {item}" for at, item in enumerate(items)) + "}"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(TREES, TREES, TREES)
def test_random_trees_in_flow_style_are_read_alike_or_declined(one: str, two: str, three: str) -> None:
    check(f"spec:\n  http: [{one}, {two}]\n  tls: {{z: {three}}}\nitems: [{{spec: {{http: {three}}}}}]\n")


@settings(max_examples=300)
@given(st.data())
def test_damaged_documents_are_read_alike_or_declined(data: st.DataObject) -> None:
    text = VIRTUAL_SERVICE
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        text = text[:at] + data.draw(st.text(alphabet=" -:#'\"[]{},&*\nab", max_size=3)) + text[at + cut :]
    if "\n---" not in text and "\n..." not in text:
        check(text)
