"""The Secrets among the files of the configuration, by file, so that one that changes is read again alone."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from gatewayd.resources.meta import Resource
from gatewayd.resources.secret import Secret
from gatewayd.sources import load
from gatewayd.sources.files import SUFFIXES, find_files
from gatewayd.tls.spec import SecretName

_log = logging.getLogger("gatewayd.tls")

_COARSE_S: Final = 2.0

#: By namespace and name, the values by key.
Documents = dict[SecretName, dict[str, bytes]]


class SecretDocuments:
    """All Secret documents of ``paths``. Values are never printed."""

    def __init__(
        self, paths: Sequence[str], resources: Iterable[Resource[Any]], loaded_s: float | None = None
    ) -> None:
        """``resources``: what was loaded from ``paths``, of any kind; ``loaded_s``: when that began, by the clock."""
        self._paths = tuple(paths)
        #: times of files are coarse
        self._loaded_s = (time.time() if loaded_s is None else loaded_s) - _COARSE_S
        self._by_file: dict[str, Documents] = {}
        for resource in resources:
            if type(resource.spec) is Secret:
                name, values = _values(resource)
                self._by_file.setdefault(resource.file, {})[name] = values

    def __repr__(self) -> str:
        return f"<SecretDocuments of {len(self._by_file)} files>"

    def merged(self) -> Documents:
        """All of them. Of two with one name the first counts, in the order in which files are read."""
        order = {found.name: index for index, found in enumerate(find_files(self._paths))}
        merged: Documents = {}
        for file in sorted(self._by_file, key=lambda name: order.get(name, len(order))):
            for name, values in self._by_file[file].items():
                merged.setdefault(name, values)
        return merged

    def read_again(self, changed: Iterable[str]) -> bool:
        """Take the Secrets of those ``changed`` files that are configuration; whether there may be others now.

        A file that cannot be read or parsed keeps the Secrets it had.
        """
        moved = False
        for file in sorted(changed):
            if not self.is_configuration(file):  # stdin cannot be read twice
                continue
            had = self._by_file.get(file)
            found = self._read(file) if _may_hold_secrets(file) else {}
            if found is None or found == (had or {}):
                continue
            moved = True
            if found:
                self._by_file[file] = found
            else:
                del self._by_file[file]
        return moved

    def suspects(self) -> set[str]:
        """Files to read again when it is not known what has changed since they were loaded.

        Those with Secrets, and those whose times say that they are new.
        """
        suspects = set(self._by_file)
        for found in find_files(self._paths):
            if (
                found.path is not None
                and found.name not in suspects
                and _newest_s(found.name) >= self._loaded_s
            ):
                suspects.add(found.name)
        return suspects

    def is_configuration(self, file: str) -> bool:
        """Whether ``file`` is one of the paths, or a YAML or JSON file below one."""
        return file in self._paths or (
            file.endswith(SUFFIXES) and any(file.startswith(path.rstrip("/") + "/") for path in self._paths)
        )

    def _read(self, file: str) -> Documents | None:
        loaded = load([file])
        for finding in loaded.findings:
            if finding.level == "error":
                _log.error("%s: %s", finding.place, finding.message)
        if loaded.unreadable:
            return None
        return dict(_values(resource) for resource in loaded.of_kind(Secret))


def _newest_s(file: str) -> float:
    try:
        status = os.stat(file)
    except OSError:
        return 0.0
    return max(status.st_mtime, status.st_ctime)


def _values(resource: Resource[Secret]) -> tuple[SecretName, dict[str, bytes]]:
    return SecretName(resource.namespace, resource.name), resource.spec.values()


def _may_hold_secrets(file: str) -> bool:
    """Whether it is worth parsing: thousands of files of routes are not."""
    try:
        if not os.path.isfile(file):
            return False
        with open(file, "rb") as stream:
            return b"Secret" in stream.read()
    except OSError:
        return True  # let it be said why it cannot be read
