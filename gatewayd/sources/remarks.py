"""What there is to say about texts and documents, with its place."""

import re

from gatewayd.findings import Finding
from gatewayd.resources.envelope import Identity
from gatewayd.resources.faults import Fault
from gatewayd.resources.meta import format_path
from gatewayd.sources.text import Place, SourceText
from gatewayd.sources.yaml_tree import Problem

#: What a message quotes of the text.
_QUOTED = re.compile('".*"', re.DOTALL)


def fault_finding(source: SourceText, place: Place, fault: Fault, identity: Identity) -> Finding:
    """Give a fault its place."""
    path = fault.path if fault.key is None else (*fault.path, fault.key)
    found = place.locate(path, key=fault.key is not None)
    line, column, width, quote = found or (place.first_line + 1, 1, 1, source.line(place.first_line + 1))
    return Finding(
        code=fault.code,
        level=fault.level,
        message=fault.message,
        file=source.name,
        line=line,
        column=column,
        kind=identity.kind,
        namespace=identity.namespace,
        name=identity.name,
        path=format_path(fault.path),
        help=fault.help,
        quote=quote,
        width=width,
    )


def text_finding(source: SourceText, problem: Problem, identity: Identity) -> Finding:
    """Return the finding for something wrong with the text itself."""
    sealed = source.is_sealed(problem.line)
    return Finding(
        code=problem.code,
        level="error",
        message=_QUOTED.sub('"..."', problem.message) if sealed else problem.message,
        file=source.name,
        line=problem.line,
        column=problem.column,
        kind=identity.kind,
        namespace=identity.namespace if identity.kind else "",
        name=identity.name,
        help=problem.help,
        quote=source.line(problem.line),
        width=problem.width,
    )


def not_text_finding(name: str, data: bytes, error: UnicodeDecodeError) -> Finding:
    """Return the finding for bytes that are no text."""
    line = data.count(b"\n", 0, error.start) + 1
    begin = data.rfind(b"\n", 0, error.start) + 1
    column = len(data[begin : error.start].decode("utf-8", "replace")) + 1
    message = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
    return Finding(code="GWD0002", level="error", message=message, file=name, line=line, column=column)
