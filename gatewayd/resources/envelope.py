"""The envelope of a document: which kind it is, what it is called, and its content as a typed model."""

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from gatewayd.resources.collect import Path
from gatewayd.resources.decode import decode
from gatewayd.resources.faults import Fault, describe, nearest_word, unknown_word
from gatewayd.resources.kinds import KINDS, LATER_KINDS, MESH_GROUPS, PLATFORM_KINDS, Kind
from gatewayd.resources.meta import DEFAULT_NAMESPACE, ObjectMeta
from gatewayd.resources.model import EMPTY
from gatewayd.resources.rest import check_rest
from gatewayd.resources.unsupported import find_unsupported
from gatewayd.resources.validate import validate

_ISTIO_TOP = ["apiVersion", "kind", "metadata", "spec", "status"]
#: RFC 3339 in UTC without fractions: what Kubernetes writes, and what sorts as text.
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z")


class Identity(NamedTuple):
    """What is known of a document before it is decoded, for messages: any part may be empty."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Opened(NamedTuple):
    """A decoded document. `spec` is None when an error is among `faults`, or the kind is not decoded."""

    identity: Identity
    api_version: str
    metadata: ObjectMeta | None
    spec: Any
    faults: list[Fault]


def identify(tree: Any) -> Identity:
    """Return kind, namespace and name as far as they are written as text."""
    if not isinstance(tree, dict):
        return Identity()
    kind = tree.get("kind")
    metadata = tree.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    kind_text = kind if isinstance(kind, str) else ""
    namespaced = (kind_text or name) and (kind_text not in KINDS or KINDS[kind_text].namespaced)
    return Identity(
        kind_text,
        (namespace if isinstance(namespace, str) and namespace else DEFAULT_NAMESPACE) if namespaced else "",
        name if isinstance(name, str) else "",
    )


def open_document(tree: Any) -> Opened:
    """Decode one document, whatever it is."""
    identity = identify(tree)
    if not isinstance(tree, dict):
        message = f"a document must be a mapping with apiVersion, kind and metadata, not {describe(tree)}"
        return Opened(identity, "", None, None, [Fault((), message, code="GWD0010")])
    faults = [
        Fault(
            (),
            f'missing required field "{key}"',
            "apiVersion, kind and metadata.name are required",
            code="GWD0010",
        )
        for key in ("apiVersion", "kind")
        if tree.get(key) is None
    ]
    faults += [
        Fault((key,), f'"{key}" must be text, not {describe(tree[key])}', code="GWD0010")
        for key in ("apiVersion", "kind")
        if tree.get(key) is not None and not isinstance(tree[key], str)
    ]
    if faults:
        return Opened(identity, "", None, None, faults)
    api_version: str = tree["apiVersion"]
    group, _, version = api_version.rpartition("/")
    kind = KINDS.get(identity.kind)
    if kind is None or (group.lower() != kind.group and group.lower() not in kind.other_groups):
        return Opened(identity, api_version, None, None, [_not_ours(identity.kind, api_version, group, kind)])
    if version not in kind.versions and group.lower() not in kind.other_groups:
        expected = ", ".join(f"{kind.group}/{known}".lstrip("/") for known in kind.versions)
        message = f'{identity.kind} has no version "{version}"'
        faults.append(Fault(("apiVersion",), message, f"expected one of: {expected}", code="GWD0010"))
    metadata, found = _metadata(tree, kind)
    faults += found
    spec, found = _content(tree, kind, metadata)
    faults += found
    if spec is not None and metadata is not None:
        faults += validate(spec, metadata)
    if any(fault.level == "error" for fault in faults):
        return Opened(identity, api_version, metadata, None, faults)
    if kind.group in MESH_GROUPS:
        faults += find_unsupported(spec, f"{identity.kind}.spec")
    return Opened(identity, api_version, metadata, spec, faults)


def _metadata(tree: dict[str, Any], kind: Kind) -> tuple[ObjectMeta | None, list[Fault]]:
    raw = tree.get("metadata")
    if raw is None or (isinstance(raw, dict) and raw.get("name") in (None, "")):
        path = ("metadata",) if raw else ()
        message = 'missing required field "metadata.name"'
        return None, [Fault(path, message, "every resource needs a name", code="GWD0010")]
    metadata, faults = decode(raw, ObjectMeta, ("metadata",))
    if metadata is None:
        return None, faults
    changes: dict[str, Any] = {}
    if kind.sealed:
        # `kubectl apply` writes the whole document into one of them.
        changes["annotations"] = EMPTY
    if not kind.namespaced:
        changes["namespace"] = ""
    elif not metadata.namespace:
        changes["namespace"] = DEFAULT_NAMESPACE
    stamp = metadata.creation_timestamp
    if stamp and not _TIMESTAMP.fullmatch(stamp):
        try:
            changes["creation_timestamp"] = _utc(stamp)
        except ValueError:
            message = f'"{stamp[:40]}" is not a time (expected 2024-05-01T10:00:00Z)'
            faults.append(Fault(("metadata", "creationTimestamp"), message))
    return (replace(metadata, **changes) if changes else metadata), faults


def _utc(stamp: str) -> str:
    moment = datetime.fromisoformat(stamp)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _content(tree: dict[str, Any], kind: Kind, metadata: ObjectMeta | None) -> tuple[Any, list[Fault]]:
    """Decode what the kind's model describes: the spec, or the whole document."""
    if kind.whole:
        return _decode(tree, kind.model, (), metadata)
    faults = []
    if kind.group in MESH_GROUPS:
        for key in tree:
            if key not in _ISTIO_TOP:
                faults.append(Fault((), *unknown_word("field", key, _ISTIO_TOP), key=key))
    raw = tree.get("spec")
    if raw is None:
        if kind.spec_required:
            faults.append(Fault((), 'missing required field "spec"'))
            return None, faults
        raw = {}
    spec, found = _decode(raw, kind.model, ("spec",), metadata)
    return spec, faults + found


def _decode(tree: Any, model: Any, path: Path, metadata: ObjectMeta | None) -> tuple[Any, list[Fault]]:
    spec, faults = decode(tree, model, path)
    if spec is None and metadata is not None:
        faults += check_rest(tree, model, path, faults, metadata)
    return spec, faults


def _not_ours(kind: str, api_version: str, group: str, known: Kind | None) -> Fault:
    """Say why a document of this kind has no effect."""
    if known is not None:
        expected = f"{known.group}/{known.versions[0]}".lstrip("/")
        message = f'{kind} of "{api_version}" is not supported, so it has no effect'
        return Fault(
            ("apiVersion",), message, f"expected apiVersion {expected}", code="GWD0011", level="warning"
        )
    if kind in PLATFORM_KINDS:
        message = f"{kind} is not needed to serve: left alone"
        return Fault(("kind",), message, code="GWD0012", level="info")
    if kind in LATER_KINDS and group in MESH_GROUPS:
        message = f"{kind} ({api_version}) is not supported yet, so it has no effect"
        return Fault(("kind",), message, code="GWD0011", level="warning")
    message = f'unknown kind "{kind[:80]}" ({api_version[:80]}), so it has no effect'
    if nearest := nearest_word(kind, [*KINDS, *LATER_KINDS]):
        message += f' (did you mean "{nearest}"?)'
    return Fault(("kind",), message, code="GWD0011", level="warning")
