"""From paths to a snapshot: load, compile, and say what was found. Shared by ``run`` and ``validate``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.exit_codes import EXIT_INPUT, EXIT_REFUSED
from gatewayd.findings import Finding, render, summary
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.runtime.options import RunOptions
from gatewayd.snapshot import Snapshot
from gatewayd.sources import LoadResult, load, load_mesh_config, release_texts
from gatewayd.upstream.spec import ClusterSpec


class Refused(Exception):
    """Nothing can be served; the text says why."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was read and what it was compiled to. ``findings`` are those of both steps, in that order."""

    snapshot: Snapshot
    loaded: LoadResult
    findings: tuple[Finding, ...]
    #: the mesh configuration has an error, so Istio's defaults stand in its place
    mesh_refused: bool
    elapsed_s: float

    @property
    def set_aside(self) -> tuple[str, ...]:
        """Documents that are not served, printable."""
        return (*map(str, self.loaded.set_aside), *self.snapshot.set_aside)

    @property
    def report_end(self) -> str:
        """``2 files, 7 resources, 1 error, 1 warning, 41 ms``."""
        return summary(self.findings, self.loaded.files, len(self.loaded.resources), self.elapsed_s)


def read_configuration(options: RunOptions, adopt: Callable[[ClusterSpec], Any]) -> Configuration:
    """Load and compile; never raises for what stands in the files."""
    began = time.monotonic()
    mesh = MeshConfig()
    mesh_findings: tuple[Finding, ...] = ()
    if options.mesh_config is not None:
        mesh, mesh_findings = load_mesh_config(options.mesh_config)
    loaded = load(options.paths, sys.stdin.buffer if "-" in options.paths else None)
    snapshot = compile_snapshot(loaded.resources, compile_options(options, mesh), adopt)
    release_texts()
    return Configuration(
        snapshot=snapshot,
        loaded=loaded,
        findings=(*mesh_findings, *loaded.findings, *snapshot.findings),
        mesh_refused=any(finding.level == "error" for finding in mesh_findings),
        elapsed_s=time.monotonic() - began,
    )


def compile_options(options: RunOptions, mesh: MeshConfig) -> CompileOptions:
    """What the compiler needs of the command line."""
    pins: dict[str, list[tuple[str, int]]] = {}
    for host, subset, address, port in options.endpoints:
        pins.setdefault(f"{host}:{subset}" if subset else host, []).append((address, port))
    return CompileOptions(
        namespace=options.namespace,
        labels=options.labels,
        cluster_domain=options.cluster_domain,
        port_map=options.port_map,
        port_offset=options.port_offset,
        bind=options.bind,
        unknown_hosts=options.unknown_hosts,
        endpoint_pins=pins,
        mesh=mesh,
    )


def load_configuration(options: RunOptions, adopt: Callable[[ClusterSpec], Any]) -> Configuration:
    """As :func:`read_configuration`, with the findings printed; raises :class:`Refused`."""
    configuration = read_configuration(options, adopt)
    print_findings(configuration.findings)
    if configuration.findings:
        print(configuration.report_end, file=sys.stderr, flush=True)
    if configuration.mesh_refused:
        # Serving with other settings than those that were written is worse than not serving.
        raise Refused(f"--mesh-config {options.mesh_config} has an error", EXIT_REFUSED)
    if configuration.snapshot.listeners:
        return configuration
    loaded = configuration.loaded
    if loaded.unreadable and not loaded.resources:
        raise Refused("nothing to serve: the input could not be read or parsed", EXIT_INPUT)
    if not loaded.resources:
        found = "no resource that could be used" if loaded.files else "no *.yaml, *.yml or *.json file"
        raise Refused(f"nothing to serve: {found} in {' '.join(options.paths)}", EXIT_REFUSED)
    raise Refused(f"nothing to serve: {_why_no_listener(configuration)}", EXIT_REFUSED)


def _why_no_listener(configuration: Configuration) -> str:
    kinds = {resource.kind for resource in configuration.loaded.resources}
    if not kinds & {"Gateway", "Ingress"}:
        aside = " that is free of errors" if configuration.set_aside else ""
        return f"there is no Gateway and no Ingress{aside} among the resources"
    return "no Gateway server or Ingress opens a port here (see the findings above)"


def print_findings(findings: Iterable[Finding]) -> None:
    """Findings to stderr, in the form of ``validate``."""
    for finding in findings:
        print(render(finding), file=sys.stderr)
    sys.stderr.flush()
