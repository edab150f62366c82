"""From paths to a snapshot: load, compile, and say what was found. Shared by ``run`` and ``validate``."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import compress
from operator import is_not
from typing import Any, Final

from gatewayd.compiler import CompileOptions, Compiler
from gatewayd.compiler.tracing import observing_faults
from gatewayd.exit_codes import EXIT_INPUT, EXIT_REFUSED
from gatewayd.findings import Finding, render, summary
from gatewayd.observe.logs import FACTS, structured
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.meta import Resource
from gatewayd.runtime.certificates import Certificates
from gatewayd.runtime.last_good import Good, Kept, keep_last_good, reason_for
from gatewayd.runtime.options import RunOptions
from gatewayd.snapshot import Snapshot
from gatewayd.sources import (
    Disk,
    FileSource,
    Inventory,
    Key,
    LoadResult,
    collector_off,
    key_of,
    load_mesh_config,
    release_texts,
)
from gatewayd.upstream.own_ports import OwnPorts
from gatewayd.upstream.spec import ClusterSpec

Resources = Mapping[Key, Resource[Any]]
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
    #: all documents free of errors, and those kept because of errors
    given: Resources
    #: the same, but with the last good version of what could not be compiled
    used: Resources
    #: those
    spoiled: tuple[Kept, ...] = ()
    #: what was wrong with the newer versions of them
    errors: tuple[Finding, ...] = ()

    def good(self) -> Good:
        """The resources that are served."""
        good = dict(self.used)
        for title in self.snapshot.set_aside:
            good.pop(_key(title), None)
        return good


@dataclass(frozen=True, slots=True)
class Configuration:
    """What came of reading: the snapshot and what there is to say."""

    snapshot: Snapshot
    #: of loading and of compiling, in that order
    findings: tuple[Finding, ...]
    files: int
    #: files that could not be read or parsed
    unreadable: int
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
    def resources(self) -> int:
        """How many resources are free of errors."""
        return len(self.compiled.given)

    @property
    def kinds(self) -> frozenset[str]:
        """Theirs."""
        return frozenset(kind for kind, _, _ in self.compiled.given)

    def not_in(self, other: Configuration) -> list[Any]:
        """What is big in this one and not in ``other``, piece by piece."""
        pieces: list[Any] = _others(self.compiled.used, other.compiled.used)
        pieces += _others(self.snapshot.adopted, other.snapshot.adopted)
        known = other.snapshot.tables()
        for name, table in self.snapshot.tables().items():
            pieces += _others(table.by_name, known[name].by_name if name in known else {})
        return pieces

    @property
    def report_end(self) -> str:
        """``2 files, 7 resources, 1 error, 1 warning, 41 ms``."""
        return summary(self.findings, self.files, self.resources, self.elapsed_s)


class ConfigurationReader:
    """Reads the files of one process, again and again; what did not change is not parsed again.

    A configuration that was read is in force when :meth:`put_in_force` says so. Later ones keep the last good
    version of what has an error in them. May be used in a thread, one call at a time. ``files``: where texts come
    from, if not from the disk.
    """

    def __init__(self, options: RunOptions, files: FileSource | None = None) -> None:
        self._options = options
        # None: started with it closed
        self._files = files or Disk(getattr(sys.stdin, "buffer", None))
        self._inventory: Inventory | None = None
        self._compiler: Compiler | None = None
        self.certificates = Certificates(options)
        self._mesh: tuple[MeshConfig, tuple[Finding, ...]] | None = None
        self._secrets: list[Resource[Any]] = []
        self._in_force: Configuration | None = None
        #: what was compiled last, perhaps not to be put in force
        self._last: Snapshot | None = None
        self._good: Good = {}

    def read_from(self, files: FileSource) -> None:
        """Texts come from ``files`` from now on; what was read stays known."""
        self._files = files
        if self._inventory is not None:
            self._inventory.read_from(files)

    @property
    def in_force(self) -> Configuration | None:
        """What is served."""
        return self._in_force

    def put_in_force(self, configuration: Configuration) -> None:
        """``configuration`` is what is served from now on."""
        self._in_force = configuration
        self._good = configuration.compiled.good()
        self.certificates.retain(configuration.snapshot)

    def fall_back(self) -> None:
        """What was read last is not put in force: the Secrets are again those of what is, and so are the clusters."""
        in_force, last = self._in_force, self._last
        if in_force is None:
            return
        if self.certificates.take(in_force.compiled.used.values()):
            self.certificates.renew()
        if last is None or last is in_force.snapshot:
            self.certificates.retain(in_force.snapshot)
            return
        # The compiler goes on from what it compiled last.
        self.certificates.retain(in_force.snapshot, last)
        served = in_force.snapshot.adopted
        if self._compiler is not None:
            self._compiler.void(
                name for name, cluster in last.adopted.items() if served.get(name) is not cluster
            )

    def read(
        self, begin: Begin, *, renew: bool = False, changed: frozenset[str] | None = None
    ) -> Configuration:
        """Load and compile; never raises for what stands in the files.

        ``begin`` is called before a compilation. Where nothing has changed there is none, and the snapshot is the one
        in force. ``renew``: credentials may have changed. ``changed``: the files that may be others since they were
        read; None: any.
        """
        began = time.monotonic()
        before = self._in_force.compiled if self._in_force is not None else None
        mesh, mesh_findings = self._read_mesh(changed)
        mesh_refused = any(finding.level == "error" for finding in mesh_findings)
        if mesh_refused and before is not None:
            mesh = before.mesh
        loaded = self._load(changed)
        kept = keep_last_good(self._good, loaded)
        given = loaded.declared | {key_of(each.resource): each.resource for each in kept}
        renewed = False
        if (self._take_secrets(given) or renew) and before is not None:
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
            set_aside=(*_not_served(loaded, kept), *compiled.snapshot.set_aside),
            mesh_refused=mesh_refused,
            certificates=self.certificates,
            compiled=compiled,
            elapsed_s=time.monotonic() - began,
            kept=(*kept, *compiled.spoiled),
            renewed=renewed,
        )

    def _load(self, changed: frozenset[str] | None) -> LoadResult:
        # As with the compiler: only what ends well is gone on from.
        inventory, self._inventory = self._inventory, None
        if inventory is None:
            inventory, changed = Inventory(self._options.paths, self._files), None
        with collector_off():
            loaded = inventory.load(changed)
        self._inventory = inventory
        return loaded

    def _read_mesh(self, changed: frozenset[str] | None) -> tuple[MeshConfig, tuple[Finding, ...]]:
        path = self._options.mesh_config
        if path is None:
            return MeshConfig(), ()
        if self._mesh is None or changed is None or path in changed:
            self._mesh = load_mesh_config(path, files=self._files, check=observing_faults)
        return self._mesh

    def _take_secrets(self, given: Resources) -> bool:
        """Use the Secrets of ``given`` from now on; whether they are others than before."""
        secrets = [resource for key, resource in given.items() if key[0] == "Secret"]
        if secrets == self._secrets:
            return False
        self._secrets = secrets
        return self.certificates.take(secrets)

    def _compile(self, given: Resources, mesh: MeshConfig, begin: Begin) -> Compiled:
        used, spoiled, errors = given, list[Kept](), list[Finding]()
        adopt = begin()
        while True:
            snapshot = self._compile_once(used, mesh, adopt)
            bad = self._spoiled(used, snapshot)
            if not bad:
                return Compiled(snapshot, mesh, given, used, tuple(spoiled), tuple(errors))
            found = [each for each in snapshot.findings if each.level == "error"]
            for key, former in bad.items():
                spoiled.append(Kept(former, reason_for(key, found)))
                errors += [each for each in found if (each.kind, each.namespace, each.name) == key]
            used = {**used, **bad}

    def _compile_once(
        self, resources: Resources, mesh: MeshConfig, adopt: Callable[[ClusterSpec], Any]
    ) -> Snapshot:
        store = self.certificates.store
        options = compile_options(self._options, mesh)
        # Only what ends well is gone on from.
        compiler, self._compiler = self._compiler, None
        if compiler is None or compiler.options != options:
            compiler = Compiler(options, server_tls=store.server, client_tls=store.client)
        snapshot = compiler.compile(resources, adopt)
        self._compiler, self._last = compiler, snapshot
        return snapshot

    def _spoiled(self, used: Resources, snapshot: Snapshot) -> dict[Key, Resource[Any]]:
        """The last good versions of what the compiler has set aside, where they are others."""
        keys = (_key(title) for title in snapshot.set_aside)
        return {
            key: former
            for key in keys
            if key in used and (former := self._good.get(key)) is not None and former is not used[key]
        }


def _others(mapping: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    """Values that are not the same object in another mapping."""
    return list(compress(mapping.values(), map(is_not, mapping.values(), map(other.get, mapping))))


def _key(title: str) -> Key:
    """Of a resource as ``Snapshot.set_aside`` names it."""
    kind, _, full_name = title.partition(" ")
    namespace, _, name = full_name.partition("/")
    return kind, namespace, name


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
        workload_certificates=options.workload_certs,
        mesh=mesh,
        collector=options.otlp,
        own_ports=OwnPorts(
            address for address in (options.admin, options.status, options.metrics) if address is not None
        ),
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
