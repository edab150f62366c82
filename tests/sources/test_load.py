"""Loading: good resources stand, each problem is said with its place, nothing stops the rest."""

import gc
import json
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.findings import render
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.service import Service
from gatewayd.resources.virtual_service import VirtualService
from gatewayd.sources import Limits, LoadResult, load, release_texts

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: edge
  namespace: shop
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
"""

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: NAME
spec:
  ports:
  - port: 80
"""

VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: api
  namespace: shop
spec:
  hosts: [shop.example]
  http:
  - match:
    - uri:
        prefix: /a
    route:
    - destination:
        host: a
  - route:
    - destination:
        host: b
"""


def load_text(text: str | bytes, limits: Limits | None = None) -> LoadResult:
    data = text.encode() if isinstance(text, str) else text
    return load(["-"], BytesIO(data), limits)


def codes(result: LoadResult) -> list[str]:
    return [finding.code for finding in result.findings]


def test_the_message_of_the_contract_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "\n".join(f"# {line}" for line in range(1, 20))
    text = f"""\
{head}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: api
  namespace: shop
spec:
  hosts: [shop.example]
  http:
  - route:
      - destination:
          host: reviews
        wieght: 90
"""
    monkeypatch.chdir(tmp_path)
    Path("shop").mkdir()
    Path("shop/vs-api.yaml").write_text(text)
    (finding,) = load(["shop"]).findings
    assert render(finding) == (
        'error[IST0106] unknown field "wieght" (did you mean "weight"?)\n'
        "  --> shop/vs-api.yaml:31:9   VirtualService shop/api  spec.http[0].route[0]\n"
        "   |\n"
        "31 |         wieght: 90\n"
        "   |         ^^^^^^ expected one of: destination, headers, weight"
    )


def test_all_problems_of_a_document_at_once() -> None:
    result = load_text(
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: api
spec:
  hosts: shop.example
  http:
  - match:
    - uri: {prefx: /a}
      port: 70000000000
    timeout: 3 s
    route:
    - destination: {subset: v1}
      weight: "90"
  gatewys: [edge]
"""
    )
    found = [(finding.line, finding.column, finding.path, finding.message) for finding in result.findings]
    assert found == [
        (6, 10, "spec.hosts", '"hosts" must be a list, not the text "shop.example"'),
        (9, 13, "spec.http[0].match[0].uri", 'unknown field "prefx" (did you mean "prefix"?)'),
        (10, 13, "spec.http[0].match[0].port", '"port" must be from 0 to 4294967295, not 70000000000'),
        (11, 14, "spec.http[0].timeout", '"3 s" is not a duration'),
        (13, 20, "spec.http[0].route[0].destination", 'missing required field "host"'),
        (14, 15, "spec.http[0].route[0].weight", '"weight" must be a whole number, not the text "90"'),
        (15, 3, "spec", 'unknown field "gatewys" (did you mean "gateways"?)'),
    ]
    assert result.resources == []
    assert [str(document) for document in result.set_aside] == ["VirtualService default/api (<stdin>:1)"]


def test_a_bad_resource_is_set_aside_alone() -> None:
    result = load_text(f"{GATEWAY}---\nkind: Service\napiVersion: v1\nmetadata: {{}}\n---\n{VIRTUAL_SERVICE}")
    assert [resource.kind for resource in result.resources] == ["Gateway", "VirtualService"]
    assert [document.kind for document in result.set_aside] == ["Service"]
    assert codes(result) == ["GWD0010"]


def test_a_broken_document_is_set_aside_alone() -> None:
    result = load_text(f"{GATEWAY}---\nkind: [\n---\n{VIRTUAL_SERVICE}")
    assert [resource.kind for resource in result.resources] == ["Gateway", "VirtualService"]
    assert codes(result) == ["GWD0003"]
    assert result.unreadable == 1


def test_resources_are_found_by_kind() -> None:
    result = load_text(f"{GATEWAY}---\n{VIRTUAL_SERVICE}")
    (gateway,) = result.of_kind(Gateway)
    assert gateway.spec.servers[0].port.number == 80
    assert [resource.name for resource in result.of_kind(VirtualService)] == ["api"]
    assert result.of_kind(Service) == []


def test_rules_know_their_line_without_reading_again() -> None:
    (resource,) = load_text(f"{SERVICE}---\n{VIRTUAL_SERVICE}").of_kind(VirtualService)
    assert (resource.file, resource.line, resource.column) == ("<stdin>", 9, 1)
    assert [resource.rule_position("http", at) for at in range(3)] == [
        ("<stdin>", 17, 5),
        ("<stdin>", 23, 5),
        None,
    ]
    assert str(resource.position("spec.http[1]")) == "<stdin>:23"


def test_any_field_is_found_by_reading_the_file_again(tmp_path: Path) -> None:
    file = tmp_path / "vs.yaml"
    file.write_text(f"{SERVICE}---\n{VIRTUAL_SERVICE}")
    (resource,) = load([str(file)]).of_kind(VirtualService)
    assert resource.position("spec.http[0].match[0].uri.prefix") == (str(file), 19, 17)
    assert resource.position("spec.http[1].route[0].destination.host") == (str(file), 25, 15)
    assert resource.position("metadata.name") == (str(file), 12, 9)
    assert resource.position() == (str(file), 9, 1)


def test_a_field_that_is_not_written_gives_its_nearest_ancestor(tmp_path: Path) -> None:
    file = tmp_path / "vs.yaml"
    file.write_text(VIRTUAL_SERVICE)
    (resource,) = load([str(file)]).of_kind(VirtualService)
    assert resource.position("spec.http[1].timeout") == (str(file), 15, 5)
    assert resource.position("spec.tls[4].match") == (str(file), 7, 3)


def test_a_file_that_changed_since_gives_what_is_still_known(tmp_path: Path) -> None:
    file = tmp_path / "vs.yaml"
    file.write_text(VIRTUAL_SERVICE)
    (resource,) = load([str(file)]).of_kind(VirtualService)
    release_texts()
    file.write_text("# a new line\n" + VIRTUAL_SERVICE)
    assert resource.position("spec.http[1].route[0]") == (str(file), 15, 5)
    assert resource.position("metadata.name") == (str(file), 1, 1)
    file.unlink()
    assert resource.position("metadata.name") == (str(file), 1, 1)


def test_lists_are_unpacked_and_items_have_their_own_place(tmp_path: Path) -> None:
    items = "".join(
        f"- apiVersion: v1\n  kind: Service\n  metadata: {{name: {name}}}\n"
        "  spec:\n    ports:\n    - port: 80\n"
        for name in ("a", "b")
    )
    file = tmp_path / "list.yaml"
    file.write_text(f"apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n{items}")
    result = load([str(file)])
    assert [(resource.name, resource.line) for resource in result.resources] == [("a", 5), ("b", 11)]
    assert result.resources[1].rule_position("ports", 0) == (str(file), 16, 7)
    assert result.resources[1].position("metadata.name") == (str(file), 13, 20)


def test_typed_lists_lend_their_kind_to_their_items() -> None:
    result = load_text(
        "apiVersion: v1\nkind: ServiceList\nitems:\n"
        "- metadata: {name: a}\n  spec: {ports: [{port: 80}]}\n- 7\n"
    )
    assert [resource.full_name for resource in result.of_kind(Service)] == ["default/a"]
    assert codes(result) == ["GWD0010"]


def test_a_problem_in_one_item_leaves_the_others() -> None:
    good = "- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}\n"
    bad = "- {apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: x}]}}\n"
    result = load_text(f"apiVersion: v1\nkind: List\nitems:\n{good}{bad}")
    assert [resource.name for resource in result.resources] == ["a"]
    (finding,) = result.findings
    assert (finding.line, finding.column, finding.name, finding.path) == (5, 78, "b", "spec.ports[0].port")


def test_the_same_resource_twice_names_both_places() -> None:
    text = SERVICE.replace("NAME", "a")
    result = load_text(f"{text}---\n{text}")
    assert len(result.resources) == 1
    (finding,) = result.findings
    assert (finding.code, finding.level, finding.line) == ("GWD0013", "error", 12)
    assert finding.message == "declared twice: <stdin>:1 has it first, and counts"
    assert [document.line for document in result.set_aside] == [9]


def test_the_same_name_in_another_namespace_or_kind_is_another_resource() -> None:
    other = SERVICE.replace("name: NAME", "name: edge\n  namespace: shop")
    assert codes(load_text(f"{GATEWAY}---\n{other}---\n{SERVICE.replace('NAME', 'edge')}")) == []


@pytest.mark.parametrize("kind", ["Deployment", "ConfigMap", "ServiceAccount", "PodDisruptionBudget"])
def test_kinds_of_the_platform_are_left_alone(kind: str) -> None:
    result = load_text(f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert [(finding.code, finding.level) for finding in result.findings] == [("GWD0012", "info")]
    assert result.set_aside == []


@pytest.mark.parametrize(
    ("api_version", "kind", "message"),
    [
        ("v1", "Servise", 'unknown kind "Servise" (v1), so it has no effect (did you mean "Service"?)'),
        (
            "networking.istio.io/v1",
            "VirtalService",
            'unknown kind "VirtalService" (networking.istio.io/v1), so it has no effect '
            '(did you mean "VirtualService"?)',
        ),
        (
            "security.istio.io/v1",
            "AuthorisationPolicy",
            'unknown kind "AuthorisationPolicy" (security.istio.io/v1), so it has no effect '
            '(did you mean "AuthorizationPolicy"?)',
        ),
        ("x.io/v1", "Widget", 'unknown kind "Widget" (x.io/v1), so it has no effect'),
        (
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "AuthorizationPolicy (security.istio.io/v1) is not supported yet, so it has no effect",
        ),
        (
            "gateway.networking.k8s.io/v1",
            "Gateway",
            'Gateway of "gateway.networking.k8s.io/v1" is not supported, so it has no effect',
        ),
        ("v1", "VirtualService", 'VirtualService of "v1" is not supported, so it has no effect'),
    ],
)
def test_other_kinds_are_a_warning(api_version: str, kind: str, message: str) -> None:
    result = load_text(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    (finding,) = result.findings
    assert (finding.code, finding.level, finding.message) == ("GWD0011", "warning", message)


def test_gateway_of_another_group_does_not_hide_ours() -> None:
    other = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\n"
    )
    assert [resource.name for resource in load_text(f"{other}---\n{GATEWAY}").resources] == ["edge"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just text\n", "a document must be a mapping with apiVersion, kind and metadata, not the text"),
        ("- a\n", "a document must be a mapping with apiVersion, kind and metadata, not a list"),
        ("kind: Service\nmetadata: {name: a}\n", 'missing required field "apiVersion"'),
        ("apiVersion: v1\nmetadata: {name: a}\n", 'missing required field "kind"'),
        ("apiVersion: v1\nkind: [Service]\n", '"kind" must be text, not a list'),
        ("apiVersion: v1\nkind: Service\n", 'missing required field "metadata.name"'),
        ("apiVersion: v1\nkind: Service\nmetadata: {labels: {}}\n", 'missing required field "metadata.name"'),
        ("apiVersion: v2\nkind: Service\nmetadata: {name: a}\n", 'Service has no version "v2"'),
    ],
)
def test_documents_that_are_no_resources(text: str, message: str) -> None:
    result = load_text(text)
    assert result.findings[0].code == "GWD0010"
    assert result.findings[0].message.startswith(message)
    assert len(result.set_aside) == 1


def test_bytes_that_are_no_text_have_a_place() -> None:
    result = load_text(b"a: 1\nb: \xc3\xa9\xff\n")
    (finding,) = result.findings
    assert (finding.code, finding.line, finding.column) == ("GWD0002", 2, 5)
    assert finding.message == "byte 0xff is not UTF-8 text"
    assert result.unreadable == 1


def test_a_byte_order_mark_is_fine() -> None:
    assert codes(load_text(b"\xef\xbb\xbf" + GATEWAY.encode())) == []


def test_files_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GATEWAY)
    result = load([str(tmp_path / "nope.yaml"), str(tmp_path)])
    assert (result.files, result.unreadable, len(result.resources)) == (2, 1, 1)
    assert result.findings[0].message == "cannot read: no such file or directory"


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    result = load([str(tmp_path)])
    assert [(finding.code, finding.message) for finding in result.findings] == [
        ("GWD0007", f"no *.yaml, *.yml or *.json file in {tmp_path}")
    ]


def test_too_large_a_file_is_one_finding() -> None:
    result = load_text("#" * 2000, Limits(max_file_bytes=1000))
    assert codes(result) == ["GWD0006"]


def test_json_files_are_read_whatever_their_escapes(tmp_path: Path) -> None:
    metadata = '{"name": "a", "annotations": {"x": "\\ud83d\\ude00"}}'
    text = f'{{"apiVersion": "v1", "kind": "Service", "metadata": {metadata}}}'
    (tmp_path / "a.json").write_text(text)
    result = load([str(tmp_path)])
    assert codes(result) == []
    assert result.resources[0].metadata.annotations == {"x": "😀"}


def test_a_number_as_duration_is_read_as_seconds_with_a_warning() -> None:
    result = load_text(VIRTUAL_SERVICE + "    timeout: 10\n")
    (finding,) = result.findings
    assert (finding.code, finding.level, finding.line, finding.column) == ("GWD0015", "warning", 18, 14)
    assert finding.message == '"timeout" has no unit: 10 is read as 10 seconds'
    assert finding.help == "write 10s"
    (resource,) = result.of_kind(VirtualService)
    assert resource.spec.http[1].timeout == 10.0


def test_empty_values_count_as_left_out() -> None:
    result = load_text(VIRTUAL_SERVICE + "    timeout:\n    retries: ~\n  gateways:\n")
    assert codes(result) == []
    assert result.of_kind(VirtualService)[0].spec.http[1].timeout is None


def test_an_empty_required_value_is_missing() -> None:
    result = load_text(VIRTUAL_SERVICE.replace("host: b", "host:"))
    assert [finding.message for finding in result.findings] == ['missing required field "host"']


def test_the_collector_is_as_it_was() -> None:
    assert gc.isenabled()
    load_text(GATEWAY)
    assert gc.isenabled()


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 200_000, "a: &a [*a]\n", "%" * 1000])
def test_bombs_are_findings(text: str) -> None:
    result = load_text(f"{GATEWAY}---\n{text}")
    assert len(result.findings) == 1


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    result = load_text(data)
    assert result.resources == []


FIELDS = st.sampled_from(
    [
        "hosts",
        "http",
        "match",
        "uri",
        "prefix",
        "route",
        "destination",
        "host",
        "port",
        "number",
        "weight",
        "name",
    ]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=15,
)


@given(TREES, st.sampled_from(["VirtualService", "Gateway", "DestinationRule", "ServiceEntry", "Sidecar"]))
def test_no_tree_makes_it_raise_and_every_error_has_a_place(tree: object, kind: str) -> None:
    document = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "a"}, "spec": tree}
    result = load_text(json.dumps(document))
    assert bool(result.resources) != any(finding.level == "error" for finding in result.findings)
    for finding in result.findings:
        assert finding.line == 1
        assert finding.column >= 1
        assert render(finding)
