"""The envelope: names, namespaces, ages, versions."""

from typing import Any

import pytest

from gatewayd.resources.envelope import Opened, open_document
from gatewayd.resources.kinds import KINDS


def opened(kind: str, metadata: Any, api_version: str = "", **more: Any) -> Opened:
    known = KINDS[kind]
    version = api_version or f"{known.group}/{known.versions[0]}".lstrip("/")
    return open_document({"apiVersion": version, "kind": kind, "metadata": metadata, **more})


def messages(document: Opened) -> list[str]:
    return [fault.message for fault in document.faults]


def test_the_namespace_is_default_when_left_out() -> None:
    for metadata in ({"name": "a"}, {"name": "a", "namespace": ""}, {"name": "a", "namespace": None}):
        document = opened("Service", metadata)
        assert document.metadata is not None
        assert document.metadata.namespace == "default"


def test_kinds_without_namespace_have_none() -> None:
    document = opened("IngressClass", {"name": "a", "namespace": "ignored"})
    assert document.metadata is not None
    assert document.metadata.namespace == ""


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00Z"),
        ("2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z"),
        ("2024-05-01T10:00:00.999Z", "2024-05-01T10:00:00Z"),
        ("2024-05-01", "2024-05-01T00:00:00Z"),
    ],
)
def test_ages_are_utc_text_that_sorts(stamp: str, utc: str) -> None:
    document = opened("Service", {"name": "a", "creationTimestamp": stamp})
    assert document.metadata is not None
    assert document.metadata.creation_timestamp == utc


def test_no_age_is_empty_and_a_bad_one_an_error() -> None:
    document = opened("Service", {"name": "a", "creationTimestamp": None})
    assert document.metadata is not None
    assert document.metadata.creation_timestamp == ""
    assert messages(opened("Service", {"name": "a", "creationTimestamp": "yesterday"})) == [
        '"yesterday" is not a time (expected 2024-05-01T10:00:00Z)'
    ]


def test_other_metadata_is_ignored() -> None:
    metadata = {"name": "a", "managedFields": [{}], "resourceVersion": "7", "ownerReferences": []}
    assert messages(opened("Gateway", metadata)) == ["a Gateway needs at least one server"]


@pytest.mark.parametrize(
    "metadata", [{"name": 7}, {"name": "a", "labels": {"x": 1}}, {"name": "a", "namespace": []}, []]
)
def test_metadata_is_checked(metadata: Any) -> None:
    document = opened("Service", metadata)
    assert document.spec is None
    assert document.faults[0].level == "error"


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_version_of_an_istio_kind_is_accepted(version: str) -> None:
    for kind, known in KINDS.items():
        if known.group == "networking.istio.io":
            found = messages(opened(kind, {"name": "a"}, f"networking.istio.io/{version}"))
            assert not [message for message in found if "version" in message]


@pytest.mark.parametrize(
    "api_version",
    [
        "networking.k8s.io/v1",
        "networking.k8s.io/v1beta1",
        "extensions/v1beta1",
        "networking.Kubernetes.io/v1",
    ],
)
def test_ingress_is_accepted_from_all_its_groups(api_version: str) -> None:
    assert opened("Ingress", {"name": "a"}, api_version).spec is not None


def test_a_spec_is_required_where_the_schema_says_so() -> None:
    assert messages(opened("ServiceEntry", {"name": "a"})) == ['missing required field "spec"']
    assert opened("Sidecar", {"name": "a"}).spec is not None


def test_top_level_fields_of_istio_kinds_are_known() -> None:
    document = opened("Sidecar", {"name": "a"}, specs={}, status={})
    assert messages(document) == ['unknown field "specs" (did you mean "spec"?)']
    assert document.faults[0].key == "specs"


def test_top_level_fields_of_kubernetes_kinds_are_the_platforms() -> None:
    assert messages(opened("Service", {"name": "a"}, immutable=True)) == []
