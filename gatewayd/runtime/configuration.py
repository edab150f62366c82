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
from gatewayd.runtime.certificates import Certificates
from gatewayd.runtime.options import RunOptions
from gatewayd.snapshot import Snapshot
from gatewayd.sources import load, load_mesh_config, release_texts
from gatewayd.upstream.spec import ClusterSpec


class Refused(Exception):
    """Nothing can be served; the text says why, in one or more lines."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code

    @property
    def lines(self) -> list[str]:
        """The reasons, one each."""
        return str(self).split("\n")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What came of reading: the snapshot and what there is to say. The documents themselves are let go."""

    snapshot: Snapshot
    #: of loading and of compiling, in that order
    findings: tuple[Finding, ...]
    files: int
    #: files that could not be read or parsed
    unreadable: int
    resources: int
    #: kinds of the resources that are free of errors
    kinds: frozenset[str]
    #: documents that are not served, printable
    set_aside: tuple[str, ...]
    #: the mesh configuration has an error, so Istio's defaults stand in its place
    mesh_refused: bool
    certificates: Certificates
    elapsed_s: float

    @property
    def report_end(self) -> str:
        """``2 files, 7 resources, 1 error, 1 warning, 41 ms``."""
        return summary(self.findings, self.files, self.resources, self.elapsed_s)


def read_configuration(options: RunOptions, adopt: Callable[[ClusterSpec], Any]) -> Configuration:
    """Load and compile; never raises for what stands in the files."""
    began, began_s = time.monotonic(), time.time()
    mesh = MeshConfig()
    mesh_findings: tuple[Finding, ...] = ()
    if options.mesh_config is not None:
        mesh, mesh_findings = load_mesh_config(options.mesh_config)
    loaded = load(options.paths, getattr(sys.stdin, "buffer", None))  # None: started with it closed
    certificates = Certificates(options, loaded.resources, began_s)
    store = certificates.store
    snapshot = compile_snapshot(
        loaded.resources,
        compile_options(options, mesh),
        adopt,
        server_tls=store.server,
        client_tls=store.client,
    )
    store.settle()
    release_texts()
    return Configuration(
        snapshot=snapshot,
        findings=(*mesh_findings, *loaded.findings, *snapshot.findings),
        files=loaded.files,
        unreadable=loaded.unreadable,
        resources=len(loaded.resources),
        kinds=frozenset(resource.kind for resource in loaded.resources),
        set_aside=(*map(str, loaded.set_aside), *snapshot.set_aside),
        mesh_refused=any(finding.level == "error" for finding in mesh_findings),
        certificates=certificates,
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
    where = " ".join(options.paths)
    if configuration.unreadable and not configuration.resources:
        raise Refused(f"nothing to serve: {where} could not be read or parsed", EXIT_INPUT)
    raise Refused(f"nothing to serve: {_why_no_listener(configuration)} in {where}", EXIT_REFUSED)


def _why_no_listener(configuration: Configuration) -> str:
    if not configuration.files:
        return "there is no *.yaml, *.yml or *.json file"
    if not configuration.kinds & {"Gateway", "Ingress"}:
        free = " free of errors" if configuration.set_aside else ""
        return f"there is no Gateway and no Ingress{free}"
    return "no Gateway server and no Ingress opens a port (see the findings above)"


def print_findings(findings: Iterable[Finding]) -> None:
    """Findings to stderr, in the form of ``validate``."""
    for finding in findings:
        print(render(finding), file=sys.stderr)
    sys.stderr.flush()
