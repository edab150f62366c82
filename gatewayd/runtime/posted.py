"""Findings for a text that is no file of ours, by a process of its own: traffic pays nothing for it.

The child (``python -m gatewayd.runtime.posted``) reads the options and the text from stdin and writes the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from gatewayd.findings import report_json
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.options import RunOptions
from gatewayd.sources.files import FoundFile
from gatewayd.sources.limits import Limits
from gatewayd.sources.origin import Disk, Stamp

_log = logging.getLogger("gatewayd.admin")

LIMIT_S: Final = 60.0


class _Task(msgspec.Struct):
    options: RunOptions
    text: str
    name: str


class OneText:
    """A source whose only configuration file is ``text``; anything else is read from the disk."""

    def __init__(self, name: str, text: bytes) -> None:
        self._file = FoundFile(name, None, "")
        self._text = text
        self._disk = Disk()

    def find(self, paths: Sequence[str], changed: frozenset[str] | None = None) -> Sequence[FoundFile]:
        """See :class:`gatewayd.sources.origin.FileSource`."""
        return (self._file,) if tuple(paths) == (self._file.name,) else self._disk.find(paths, changed)

    def stamp(self, found: FoundFile) -> Stamp | None:
        """It never changes."""
        return Stamp("posted", True) if found is self._file else self._disk.stamp(found)

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        """The text."""
        return self._text if found is self._file else self._disk.read(found, limits)


def report(options: RunOptions, text: str, name: str) -> dict[str, Any]:
    """What loading and compiling ``text`` as the only file has to say."""
    reader = ConfigurationReader(replace(options, paths=(name,)), OneText(name, text.encode()))
    read = reader.read(lambda: lambda spec: spec)
    return report_json(read.findings, read.files, read.resources)


async def report_of(options: RunOptions, text: str, name: str) -> dict[str, Any]:
    """The same from another process; ``error`` if it takes too long or comes to nothing."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatewayd.runtime.posted"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            out, _ = await child.communicate(msgspec.json.encode(_Task(options, text, name)))
    except TimeoutError:
        return {"error": f"this takes longer than {LIMIT_S:g} s", "status": 503}
    finally:
        with contextlib.suppress(ProcessLookupError):
            if child.returncode is None:
                child.kill()
                await child.wait()
    try:
        found: dict[str, Any] = msgspec.json.decode(out)
    except msgspec.DecodeError:
        _log.error("a posted text could not be looked at: exit code %s", child.returncode)
        return {"error": "this text could not be looked at", "status": 500}
    return found


def main() -> None:
    """The child."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=_Task)
    sys.stdout.buffer.write(msgspec.json.encode(report(task.options, task.text, task.name)))


if __name__ == "__main__":
    main()
