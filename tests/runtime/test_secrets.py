"""Secrets of the configuration's files, taken again when a file changes."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from gatewayd.runtime.secrets import SecretDocuments
from gatewayd.sources import load
from gatewayd.tls.spec import SecretName

SHOP = SecretName("edge", "shop")


def secret(value: str, name: str = "shop", namespace: str = "edge") -> str:
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": value}}
    )


def documents(*paths: Path) -> SecretDocuments:
    names = [str(path) for path in paths]
    return SecretDocuments(names, load(names).resources)


def test_secrets_of_all_files_are_known_by_namespace_and_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{secret('one')}\n---\n{secret('two', namespace='other')}\n")
    (tmp_path / "b.yaml").write_text(secret("three", name="b"))
    assert documents(tmp_path).merged() == {
        SHOP: {"key": b"one"},
        SecretName("other", "shop"): {"key": b"two"},
        SecretName("edge", "b"): {"key": b"three"},
    }


def test_a_file_that_changes_is_read_again_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(secret("before"))
    two.write_text(secret("before", name="two"))
    made = documents(tmp_path)
    one.write_text(secret("after"))
    two.write_text(secret("unseen", name="two"))
    assert made.read_again([str(one)])
    assert made.merged() == {SHOP: {"key": b"after"}, SecretName("edge", "two"): {"key": b"before"}}


def test_secrets_come_and_go_with_their_files(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    made = documents(tmp_path)
    file.write_text(secret("one"))
    assert made.read_again([str(file)])
    assert made.merged() == {SHOP: {"key": b"one"}}
    file.write_text("# nothing\n")
    assert made.read_again([str(file)])
    assert made.merged() == {}
    file.write_text(secret("one"))
    made.read_again([str(file)])
    file.unlink()
    assert made.read_again([str(file)])
    assert made.merged() == {}


def test_other_changes_are_no_news(tmp_path: Path) -> None:
    file, routes = tmp_path / "a.yaml", tmp_path / "routes.yaml"
    file.write_text(secret("one"))
    routes.write_text("# routes\n")
    made = documents(tmp_path)
    file.write_text(secret("one") + "\n# a remark\n")
    routes.write_text("# other routes\n")
    (tmp_path / "notes.txt").write_text(secret("two"))
    assert not made.read_again([str(file), str(routes), str(tmp_path / "notes.txt"), "/elsewhere/a.yaml"])


@pytest.mark.parametrize("broken", ["a: [\n# Secret", "\udcff Secret"])
def test_a_file_that_cannot_be_parsed_keeps_its_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(secret("one"))
    made = documents(tmp_path)
    file.write_bytes(broken.encode("utf-8", "surrogateescape"))
    with caplog.at_level(logging.ERROR):
        assert not made.read_again([str(file)])
    assert made.merged() == {SHOP: {"key": b"one"}}
    assert str(file) in caplog.text


def test_a_wrong_secret_is_logged_without_its_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(secret("one"))
    made = documents(tmp_path)
    file.write_text(secret("one").replace('"stringData": {"key": "one"}', '"data": {"key": "not-base64!"}'))
    with caplog.at_level(logging.ERROR):
        assert made.read_again([str(file)])
    assert made.merged() == {}
    assert "is not valid base64" in caplog.text
    assert "not-base64" not in caplog.text


def test_of_two_with_one_name_the_first_file_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    second.write_text(secret("second"))
    made = documents(tmp_path)
    first.write_text(secret("first"))
    made.read_again([str(first)])
    assert made.merged() == {SHOP: {"key": b"first"}}
    first.unlink()
    made.read_again([str(first)])
    assert made.merged() == {SHOP: {"key": b"second"}}


def test_a_file_named_itself_counts_whatever_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(secret("one"))
    made = documents(file)
    file.write_text(secret("two"))
    assert made.read_again([str(file)])
    assert made.merged() == {SHOP: {"key": b"two"}}


def test_what_may_have_changed_since_loading_is_few_files(tmp_path: Path) -> None:
    for name in ("routes.yaml", "secret.yaml", "moved.yaml"):
        (tmp_path / name).write_text(secret("one") if name == "secret.yaml" else "# nothing\n")
    in_an_hour = time.time() + 3600
    names = [str(tmp_path)]
    made = SecretDocuments(names, load(names).resources, in_an_hour)
    (tmp_path / "new.yaml").write_text(secret("two", name="new"))
    os.utime(tmp_path / "new.yaml", (in_an_hour, in_an_hour))
    os.utime(tmp_path / "moved.yaml", (in_an_hour, in_an_hour))
    suspects = made.suspects()
    assert suspects == {str(tmp_path / name) for name in ("secret.yaml", "new.yaml", "moved.yaml")}
    (tmp_path / "secret.yaml").unlink()
    assert made.read_again(made.suspects())
    assert made.merged() == {SecretName("edge", "new"): {"key": b"two"}}


def test_values_are_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(secret("hidden"))
    assert repr(documents(tmp_path)) == "<SecretDocuments of 1 files>"
