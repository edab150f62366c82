"""Kubernetes manifests as their tests need them: documents, pods, containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]


def documents(folder: Path) -> list[Document]:
    """All documents of a folder's own files; what is below it belongs to ConfigMaps."""
    return [
        document
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document is not None
    ]


def one(found: list[Document], kind: str) -> Document:
    """The one document of a kind."""
    (document,) = [each for each in found if each["kind"] == kind]
    return document


def pod(found: list[Document]) -> dict[str, Any]:
    """The spec of the Deployment's pods."""
    spec: dict[str, Any] = one(found, "Deployment")["spec"]["template"]["spec"]
    return spec


def containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All containers of a pod, those that are started first included."""
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def gatewayd_of(spec: dict[str, Any]) -> dict[str, Any]:
    """The container that runs gatewayd."""
    (found,) = [each for each in containers(spec) if each["name"] == "gatewayd"]
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    """The variables of a container."""
    return {each["name"]: each["value"] for each in container.get("env", [])}
