"""Secrets: read as Kubernetes reads them, and never shown (semantics 3.10, hardening 6)."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gatewayd.cli import main
from gatewayd.findings import render
from gatewayd.resources.envelope import open_document
from gatewayd.resources.meta import format_path
from gatewayd.resources.secret import Secret
from gatewayd.sources import load

HIDDEN = "correct-horse-battery-staple"
HIDDEN_64 = base64.b64encode(HIDDEN.encode()).decode()


def document(**content: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "b"}, **content}


def secret(**content: Any) -> Secret:
    opened = open_document(document(**content))
    assert opened.faults == []
    assert isinstance(opened.spec, Secret)
    return opened.spec


def faults(**content: Any) -> list[str]:
    return [
        f"{format_path(fault.path)}: {fault.message}" for fault in open_document(document(**content)).faults
    ]


def test_data_is_base64_and_string_data_is_text() -> None:
    made = secret(data={"tls.crt": "aGk="}, stringData={"tls.key": "höh"}, type="kubernetes.io/tls")
    assert made.values() == {"tls.crt": b"hi", "tls.key": "höh".encode()}


def test_string_data_goes_before_data() -> None:
    assert secret(data={"a": "aGk=", "b": "aGk="}, stringData={"a": "text"}).values() == {
        "a": b"text",
        "b": b"hi",
    }


def test_base64_may_be_broken_into_lines() -> None:
    assert secret(data={"a": "aGVs\nbG8g\r\nd29ybGQ=\n"}).values() == {"a": b"hello world"}


@pytest.mark.parametrize("content", [{}, {"data": None}, {"data": {}, "stringData": None}])
def test_a_secret_may_be_empty(content: dict[str, Any]) -> None:
    assert secret(**content).values() == {}


def test_an_empty_value_is_empty() -> None:
    assert secret(data={"a": None, "b": ""}).values() == {"a": b"", "b": b""}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"data": {"tls.key": HIDDEN}}, ['data["tls.key"]: "tls.key" is not valid base64']),
        ({"data": {"a": "aGk"}}, ['data.a: "a" is not valid base64']),
        ({"data": {"a": "aG k="}}, ['data.a: "a" is not valid base64']),
        ({"data": {"a": 12345678}}, ['data.a: "a" must be base64 text']),
        ({"data": {"a": {"b": HIDDEN}}}, ['data.a: "a" must be base64 text']),
        ({"data": HIDDEN}, ['data: "data" must be a mapping of names to values']),
        ({"data": [HIDDEN]}, ['data: "data" must be a mapping of names to values']),
        (
            {"stringData": {"a": True, "b": 5}},
            ['stringData.a: "a" must be text', 'stringData.b: "b" must be text'],
        ),
        (
            {"data": {"a": "!"}, "stringData": HIDDEN},
            [
                'data.a: "a" is not valid base64',
                'stringData: "stringData" must be a mapping of names to values',
            ],
        ),
    ],
)
def test_every_wrong_value_is_named_and_none_is_shown(content: dict[str, Any], expected: list[str]) -> None:
    assert faults(**content) == expected
    assert HIDDEN not in str(open_document(document(**content)).faults)


def test_values_are_in_no_repr_and_no_dump() -> None:
    made = secret(data={"a": HIDDEN_64}, stringData={"b": HIDDEN})
    for shown in (repr(made), str(made), f"{made.data} {made.string_data}", repr([made])):
        assert HIDDEN not in shown
        assert HIDDEN_64 not in shown
    for dump in (msgspec.json.encode, msgspec.to_builtins, pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            dump(made)


def test_what_kubectl_writes_beside_the_values_is_let_go() -> None:
    tree = document(stringData={"a": HIDDEN})
    tree["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": HIDDEN}
    opened = open_document(tree)
    assert HIDDEN not in repr(opened)


def test_secrets_are_told_apart_by_their_values() -> None:
    assert secret(data={"a": "aGk="}) == secret(data={"a": "aGk="})
    assert secret(data={"a": "aGk="}) != secret(data={"a": "aGkh"})


# Files

HEAD = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"
GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosst: ["*"]
"""


def test_a_wrong_value_has_its_place(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text(f"{HEAD}data:\n  tls.crt: aGk=\n  tls.key: {HIDDEN}\n")
    [finding] = load([str(file)]).findings
    assert (finding.line, finding.column, finding.path) == (6, 12, 'data["tls.key"]')
    assert finding.quote == ""


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}data:\n  tls.key: {HIDDEN}\n",
        f"{HEAD}data: {HIDDEN}\n",
        f"{HEAD}stringData:\n  a: *{HIDDEN}\n",
        f"{HEAD}stringData:\n  a: !!int {HIDDEN}\n",
        f"{HEAD}stringData:\n  a: !{HIDDEN} x\n",
        f'{HEAD}stringData:\n  a: "{HIDDEN}\n',
        f"{HEAD}stringData:\n  a: |\n    x\n {HIDDEN}\n  : {HIDDEN}\n",
        f"{HEAD}stringData: {{a: {HIDDEN}, a: {HIDDEN}}}\n",
        f"{HEAD}stringData:\n  {HIDDEN}: {{\n",
        f"kind: Secret\nstringData: {{a: {HIDDEN}}}\n",
        f"{{apiVersion: v1, kind: Secret, metadata: {{}}, stringData: {{a: {HIDDEN}}}}}\n",
        f"{{apiVersion: v1, kind: Secrett, metadata: {{name: a}}, stringData: {{a: {HIDDEN}}}}}\n",
        f"{{apiVersion: v9, kind: Secret, metadata: {{name: a}}, data: {{a: {HIDDEN_64}}}}}\n",
        f"{HEAD}stringData: {{a: {HIDDEN}}}\n---\n{HEAD}stringData: {{a: {HIDDEN}}}\n",
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "List",
                "items": [
                    document(stringData={"a": HIDDEN}),
                    {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "a"},
                     "spec": {"servers": 5}},
                ],
            }
        ),
    ],
)  # fmt: skip
def test_no_message_shows_a_value_however_broken_the_file_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text(text)
    loaded = load([str(file)])
    assert loaded.findings, "it is wrong, and that is said"
    for finding in loaded.findings:
        assert HIDDEN[:10] not in render(finding)
        assert HIDDEN_64[:10] not in render(finding)
    for form in ("text", "json", "sarif", "github"):
        main(["validate", str(file), "-o", form])
    said = capsys.readouterr()
    assert HIDDEN[:10] not in said.out + said.err
    assert HIDDEN_64[:10] not in said.out + said.err


def test_lines_of_other_documents_are_quoted_as_ever(tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    file.write_text(
        f"{GATEWAY}---\n{HEAD}stringData: {{a: {HIDDEN}}}\n---\n{GATEWAY.replace('edge', 'other')}"
    )
    findings = [finding for finding in load([str(file)]).findings if "hosst" in finding.message]
    assert [finding.quote for finding in findings] == ['    hosst: ["*"]'] * 2
