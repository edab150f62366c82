"""Read the mesh configuration: one YAML file with the fields of Istio's MeshConfig."""

from collections.abc import Callable

from gatewayd.findings import Finding
from gatewayd.resources.collect import unknown_fields
from gatewayd.resources.decode import decode
from gatewayd.resources.envelope import Identity
from gatewayd.resources.faults import Fault
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.unsupported import find_unsupported
from gatewayd.sources.files import FoundFile, Unreadable
from gatewayd.sources.limits import Limits
from gatewayd.sources.origin import Disk, FileSource
from gatewayd.sources.remarks import fault_finding, not_text_finding, text_finding
from gatewayd.sources.text import Anchor, Place, SourceText, digest_of
from gatewayd.sources.yaml_tree import SyntaxProblem, documents

_NOBODY = Identity(kind="MeshConfig")


def load_mesh_config(
    path: str,
    limits: Limits | None = None,
    files: FileSource | None = None,
    check: Callable[[MeshConfig], list[Fault]] = lambda settings: [],
) -> tuple[MeshConfig, tuple[Finding, ...]]:
    """Read the file at `path` and return the settings with what there is to say about it.

    A field that is not supported is a warning. With an error among the findings the settings returned are
    Istio's defaults. `files`: where texts come from, if not from the disk. `check` finds what no type can say.
    """
    limits = limits or Limits()
    files = files or Disk()
    found = next(iter(files.find([path])), FoundFile(path, None, "no such file"))
    try:
        data = files.read(found, limits)
        source = SourceText(found.name, found.path, digest_of(data), data.decode("utf-8-sig"), limits)
    except Unreadable as problem:
        finding = Finding(code=problem.code, level="error", message=str(problem), file=path)
        return MeshConfig(), (finding,)
    except UnicodeDecodeError as error:
        return MeshConfig(), (not_text_finding(path, data, error),)
    try:
        written = [
            document for document in documents(source.text or "", limits) if document.value is not None
        ]
    except SyntaxProblem as problem:
        return MeshConfig(), (text_finding(source, problem.problem, _NOBODY),)
    if not written:
        return MeshConfig(), ()
    document = written[0]
    place = Place(Anchor(source, document.start, document.end, document.start_line))
    if document.problems:
        return MeshConfig(), tuple(text_finding(source, problem, _NOBODY) for problem in document.problems)
    settings, faults = decode(document.value, MeshConfig)
    faults += [
        Fault(path, f'"{key}" is not supported, so it has no effect', help_text, key, "GWD0016", "warning")
        for path, key, help_text in unknown_fields(document.value, MeshConfig)
    ]
    if settings is not None:
        faults += find_unsupported(settings, "MeshConfig")
        faults += check(settings)
    if len(written) > 1:
        message = "only the first document of this file is read"
        faults.append(Fault((), message, code="GWD0016", level="warning"))
    findings = tuple(fault_finding(source, place, fault, _NOBODY) for fault in faults)
    source.forget()
    return settings or MeshConfig(), findings
