"""From paths to a snapshot: load, compile, and say what was found. Shared by ``run`` and ``validate``."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.compiler import CompileMemory, CompileOptions, compile_snapshot
from gatewayd.compiler.tracing import observing_faults
from gatewayd.exit_codes import EXIT_INPUT, EXIT_REFUSED
from gatewayd.findings import Finding, render, summary
from gatewayd.observe.logs import FACTS, structured
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.meta import Resource
from gatewayd.runtime.certificates import Certificates
from gatewayd.runtime.last_good import Good, Kept, Key, keep_last_good, key_of, reason_for
from gatewayd.runtime.options import RunOptions
from gatewayd.snapshot import Snapshot
from gatewayd.sources import FileMemory, LoadResult, load, load_mesh_config, release_texts
from gatewayd.upstream.spec import ClusterSpec

_log = logging.getLogger("gatewayd.runtime")
_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}

#: Makes what turns the specs of one compilation into clusters.
Begin = Callable[[], Callable[[ClusterSpec], Any]]


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
class Compiled:
    """A compilation and what it was made of."""

    snapshot: Snapshot
    mesh: MeshConfig
    #: all documents free of errors, in order, and those kept because of errors
    given: list[Resource[Any]]
    #: the same, but with the last good version of what could not be compiled
    used: list[Resource[Any]]
    #: those
    spoiled: tuple[Kept, ...] = ()
    #: what was wrong with the newer versions of them
    errors: tuple[Finding, ...] = ()

    def good(self) -> Good:
        """The resources that are served."""
        bad = set(self.snapshot.set_aside)
        return {key_of(each): each for each in self.used if _title(each) not in bad}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What came of reading: the snapshot and what there is to say."""

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
    #: the mesh configuration has an error; at the start Istio's defaults stand in its place
    mesh_refused: bool
    certificates: Certificates
    compiled: Compiled
    elapsed_s: float
    #: what stays in force although there is a newer version, which has an error
    kept: tuple[Kept, ...] = ()
    #: credentials in use were found to be new, or newly broken
    renewed: bool = False

    @property
    def report_end(self) -> str:
        """``2 files, 7 resources, 1 error, 1 warning, 41 ms``."""
        return summary(self.findings, self.files, self.resources, self.elapsed_s)


class ConfigurationReader:
    """Reads the files of one process, again and again; what did not change is not parsed again.

    A configuration that was read is in force when :meth:`put_in_force` says so. Later ones keep the last good
    version of what has an error in them. May be used in a thread, one call at a time.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._memory = FileMemory()
        self._compile_memory = CompileMemory()
        self.certificates = Certificates(options)
        self._in_force: Configuration | None = None
        self._good: Good = {}
        self._former: Good = {}

    @property
    def in_force(self) -> Configuration | None:
        """What is served."""
        return self._in_force

    def put_in_force(self, configuration: Configuration) -> None:
        """``configuration`` is what is served from now on."""
        self._in_force = configuration
        self._good = configuration.compiled.good()
        self._former = {key_of(resource): resource for resource in configuration.compiled.given}
        self.certificates.retain(configuration.snapshot)

    def fall_back(self) -> None:
        """What was read last is not put in force: the Secrets are again those of what is."""
        if self._in_force is not None:
            if self.certificates.take(self._in_force.compiled.used):
                self.certificates.renew()
            self.certificates.retain(self._in_force.snapshot)

    def read(self, begin: Begin, *, renew: bool = False) -> Configuration:
        """Load and compile; never raises for what stands in the files.

        ``begin`` is called before each compilation; a second one may be needed to keep what was good. Where nothing
        has changed there is none, and the snapshot is the one in force. ``renew``: credentials may have changed.
        """
        began = time.monotonic()
        before = self._in_force.compiled if self._in_force is not None else None
        mesh = MeshConfig()
        mesh_findings: tuple[Finding, ...] = ()
        if self._options.mesh_config is not None:
            mesh, mesh_findings = load_mesh_config(self._options.mesh_config, check=observing_faults)
        mesh_refused = any(finding.level == "error" for finding in mesh_findings)
        if mesh_refused and before is not None:
            mesh = before.mesh
        # None: started with it closed
        loaded = load(self._options.paths, getattr(sys.stdin, "buffer", None), memory=self._memory)
        kept = keep_last_good(self._good, loaded)
        given = [*map(self._as_before, loaded.resources), *(each.resource for each in kept)]
        renewed = False
        if (self.certificates.take(given) or renew) and before is not None:
            renewed = bool(self.certificates.renew())
        if before is not None and mesh == before.mesh and given == before.given:
            compiled = before
        else:
            compiled = self._compile(given, mesh, begin)
        self.certificates.store.settle()
        release_texts()
        return Configuration(
            snapshot=compiled.snapshot,
            findings=(*mesh_findings, *loaded.findings, *compiled.errors, *compiled.snapshot.findings),
            files=loaded.files,
            unreadable=loaded.unreadable,
            resources=len(given),
            kinds=frozenset(resource.kind for resource in given),
            set_aside=(*_not_served(loaded, kept), *compiled.snapshot.set_aside),
            mesh_refused=mesh_refused,
            certificates=self.certificates,
            compiled=compiled,
            elapsed_s=time.monotonic() - began,
            kept=(*kept, *compiled.spoiled),
            renewed=renewed,
        )

    def _as_before(self, resource: Resource[Any]) -> Resource[Any]:
        """The former object of a resource that says the same in the same place: much hangs on it."""
        former = self._former.get(key_of(resource))
        if former is None or former is resource or not _alike(former, resource):
            return resource
        former.locator = resource.locator
        return former

    def _compile(self, given: list[Resource[Any]], mesh: MeshConfig, begin: Begin) -> Compiled:
        used, spoiled, errors = given, list[Kept](), list[Finding]()
        while True:
            snapshot = self._compile_once(used, mesh, begin())
            bad = self._spoiled(used, snapshot)
            if not bad:
                return Compiled(snapshot, mesh, given, used, tuple(spoiled), tuple(errors))
            found = [each for each in snapshot.findings if each.level == "error"]
            for key, former in bad.items():
                spoiled.append(Kept(former, reason_for(key, found)))
                errors += [each for each in found if (each.kind, each.namespace, each.name) == key]
            used = [bad.get(key_of(resource), resource) for resource in used]

    def _compile_once(
        self, resources: list[Resource[Any]], mesh: MeshConfig, adopt: Callable[[ClusterSpec], Any]
    ) -> Snapshot:
        store = self.certificates.store
        options = compile_options(self._options, mesh)
        return compile_snapshot(
            resources,
            options,
            adopt,
            server_tls=store.server,
            client_tls=store.client,
            memory=self._compile_memory,
        )

    def _spoiled(self, used: list[Resource[Any]], snapshot: Snapshot) -> dict[Key, Resource[Any]]:
        """The last good versions of what the compiler has set aside, where they are others."""
        if not snapshot.set_aside or not self._good:
            return {}
        bad = set(snapshot.set_aside)
        keys = ((key_of(resource), resource) for resource in used if _title(resource) in bad)
        return {
            key: former
            for key, resource in keys
            if (former := self._good.get(key)) is not None and former is not resource
        }


def _alike(one: Resource[Any], other: Resource[Any]) -> bool:
    return (
        (one.file, one.line, one.column, one.api_version)
        == (other.file, other.line, other.column, other.api_version)
        and one.spec == other.spec
        and one.metadata == other.metadata
        and one.rule_lines == other.rule_lines
    )


def _title(resource: Resource[Any]) -> str:
    """As ``Snapshot.set_aside`` names it."""
    return f"{resource.kind} {resource.full_name}"


def _not_served(loaded: LoadResult, kept: Iterable[Kept]) -> list[str]:
    """Documents that are set aside and have no former version that stands in for them."""
    still = {key_of(each.resource) for each in kept}
    return [str(each) for each in loaded.set_aside if (each.kind, each.namespace, each.name) not in still]


def read_configuration(options: RunOptions, adopt: Callable[[ClusterSpec], Any]) -> Configuration:
    """Load and compile once; never raises for what stands in the files."""
    return ConfigurationReader(options).read(lambda: adopt)


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
        extended_connect=options.extended_connect,
        misdirected_request=options.misdirected == 421,
        endpoint_pins=pins,
        mesh=mesh,
        collector=options.otlp,
    )


def load_configuration(options: RunOptions, adopt: Callable[[ClusterSpec], Any]) -> Configuration:
    """As :func:`read_configuration`, with the findings printed; raises :class:`Refused`."""
    return first_configuration(ConfigurationReader(options), options, adopt)


def first_configuration(
    reader: ConfigurationReader, options: RunOptions, adopt: Callable[[ClusterSpec], Any]
) -> Configuration:
    """What a process begins with, in force; findings are printed. Raises :class:`Refused`."""
    configuration = reader.read(lambda: adopt)
    print_findings(configuration.findings)
    if configuration.findings and not structured():
        print(configuration.report_end, file=sys.stderr, flush=True)
    if configuration.mesh_refused:
        # Serving with other settings than those that were written is worse than not serving.
        raise Refused(f"--mesh-config {options.mesh_config} has an error", EXIT_REFUSED)
    if configuration.snapshot.listeners:
        reader.put_in_force(configuration)
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
    """Findings to stderr, in the form of ``validate``, or one record each where everything is to be one."""
    if structured():
        for finding in findings:
            facts = finding.as_json()
            _log.log(_LEVELS[finding.level], "%s", facts.pop("message"), extra={FACTS: facts})
        return
    for finding in findings:
        print(render(finding), file=sys.stderr)
    sys.stderr.flush()
