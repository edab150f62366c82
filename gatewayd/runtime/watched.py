"""Which files a process follows: its configuration, and the credentials that it names."""

from __future__ import annotations

from gatewayd.runtime.certificates import Certificates
from gatewayd.runtime.options import RunOptions
from gatewayd.sources.files import STDIN, SUFFIXES


def watched(options: RunOptions, certificates: Certificates) -> dict[str, tuple[str, ...]]:
    """Paths to watch, with the suffixes of the files that count in folders; none: all files."""
    paths: dict[str, tuple[str, ...]] = dict.fromkeys(options.paths, SUFFIXES)
    paths.pop(STDIN, None)
    if options.mesh_config is not None:
        paths.setdefault(options.mesh_config, ())
    # Last: all files of such a folder count, even if it is one of the configuration.
    paths.update(certificates.files())
    return paths


def is_configuration(file: str, options: RunOptions) -> bool:
    """Whether ``file`` is one of the paths, a YAML or JSON file below one, or the mesh configuration."""
    if file in options.paths or file == options.mesh_config:
        return True
    below = any(file.startswith(path.rstrip("/") + "/") for path in options.paths)
    return below and file.endswith(SUFFIXES)
