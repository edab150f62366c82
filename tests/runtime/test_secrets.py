"""Secrets among the documents of a configuration."""

from __future__ import annotations

import json
from pathlib import Path

from gatewayd.runtime.certificates import Certificates
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.secrets import secret_documents
from gatewayd.sources import load
from gatewayd.tls.spec import SecretName

SHOP = SecretName("edge", "shop")


def secret(value: str, name: str = "shop", namespace: str = "edge") -> str:
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": value}}
    )


def test_secrets_of_all_files_are_known_by_namespace_and_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{secret('one')}\n---\n{secret('two', namespace='other')}\n")
    (tmp_path / "b.yaml").write_text(secret("three", name="b"))
    assert secret_documents(load([str(tmp_path)]).resources) == {
        SHOP: {"key": b"one"},
        SecretName("other", "shop"): {"key": b"two"},
        SecretName("edge", "b"): {"key": b"three"},
    }


def test_of_two_with_one_name_the_first_file_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(secret("first"))
    (tmp_path / "b.yaml").write_text(secret("second"))
    assert secret_documents(load([str(tmp_path)]).resources) == {SHOP: {"key": b"first"}}


def test_taking_the_same_secrets_again_is_no_news(tmp_path: Path) -> None:
    certificates = Certificates(RunOptions(paths=(str(tmp_path),)))
    (tmp_path / "a.yaml").write_text(secret("one"))
    assert certificates.take(load([str(tmp_path)]).resources)
    (tmp_path / "a.yaml").write_text("# a remark\n" + secret("one"))
    assert not certificates.take(load([str(tmp_path)]).resources)
    (tmp_path / "a.yaml").write_text(secret("two"))
    assert certificates.take(load([str(tmp_path)]).resources)
    assert certificates.store.credentials.documents == {SHOP: {"key": b"two"}}
