"""Topics ``configuration``, ``findings`` and ``reloads``: what is in force, and what is not and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.history import History
from gatewayd.runtime.last_good import Kept
from gatewayd.runtime.node import node_id
from gatewayd.runtime.options import RunOptions


def configuration_rows(
    options: RunOptions, reader: ConfigurationReader, history: History
) -> Iterator[dict[str, Any]]:
    """One row; none before anything is in force."""
    in_force = reader.in_force
    if in_force is None:
        return
    snapshot = in_force.snapshot
    levels = Counter(finding.level for finding in in_force.findings)
    yield {
        "in_force_since": round(history.in_force_since, 3),
        "files": in_force.files,
        "resources": in_force.resources,
        "listeners": len(snapshot.listeners),
        "clusters": len(snapshot.clusters),
        "virtual_hosts": sum(
            len(chain.routes.virtual_hosts)
            for listener in snapshot.listeners
            for chain in listener.chains
            if chain.routes is not None
        ),
        "findings": {level: levels[level] for level in ("error", "warning", "info")},
        "set_aside": list(in_force.set_aside),
        "kept": [kept_json(kept) for kept in history.kept],
        "refused": history.refusal,
        "reloads": dict(history.results),
        "last_reload": history.rows()[0] if history.outcomes else None,
        "paths": list(options.paths),
        "options": options_json(options),
        "node": node(options),
    }


def kept_json(kept: Kept) -> dict[str, Any]:
    """A resource in its last good version, and the error that is why."""
    reason = kept.reason
    return {
        "kind": kept.resource.kind,
        "namespace": kept.resource.namespace,
        "name": kept.resource.name,
        "text": str(kept),
        "reason": reason.as_json() if reason is not None else None,
    }


def options_json(options: RunOptions) -> dict[str, Any]:
    """The command line in Envoy's words where it has any, else in our own."""
    return {
        "config_path": " ".join(options.paths),
        "log_level": options.log_level,
        "drain_time": f"{options.drain_time_s:g}s",
        "parent_shutdown_time": f"{options.shutdown_time_s:g}s",
        "mode": "Serve",
        "namespace": options.namespace,
        "labels": dict(options.labels) if options.labels is not None else None,
        "cluster_domain": options.cluster_domain,
        "port_map": {str(port): bound for port, bound in options.port_map.items()},
        "port_offset": options.port_offset,
        "watch": options.watch,
    }


def node(options: RunOptions) -> dict[str, Any]:
    """This proxy as Envoy names itself to Istio."""
    labels = dict(options.labels or {})
    name = labels.get("app") or "gatewayd"
    namespace, domain = options.namespace, options.cluster_domain
    return {
        "id": node_id(options),
        "cluster": f"{name}.{namespace}",
        "metadata": {"NAMESPACE": namespace, "LABELS": labels, "DNS_DOMAIN": f"{namespace}.svc.{domain}"},
        "user_agent_name": "gatewayd",
    }


def finding_rows(reader: ConfigurationReader, history: History | None) -> Iterator[dict[str, Any]]:
    """Findings as ``validate -o json`` has them; first what the last reload was refused for."""
    if history is not None and history.refusal:
        yield {
            **dict.fromkeys(("file", "kind", "namespace", "name", "path", "help"), ""),
            "code": "",
            "level": "error",
            "line": 0,
            "column": 0,
            "message": f"the last reload was refused: {history.refusal}",
        }
    in_force = reader.in_force
    if in_force is not None:
        for finding in in_force.findings:
            yield finding.as_json()
