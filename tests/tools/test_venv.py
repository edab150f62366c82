"""What a stranger with the wrong Python is told by ``make``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "venv.sh"


def fake_python(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def venv(python: Path, target: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), str(python), str(target)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        timeout=60,
    )


def test_a_python_without_venv_is_told_the_package(tmp_path: Path) -> None:
    broken = fake_python(
        tmp_path, "python3", f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    )
    program = venv(broken, tmp_path / "venv", os.environ["PATH"])
    assert program.returncode == 1
    assert "apt-get install python3-venv" in program.stderr
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_told_what_is_needed(tmp_path: Path) -> None:
    old = fake_python(tmp_path, "python3", '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0; exit 1')
    program = venv(old, tmp_path / "venv", str(tmp_path))
    assert program.returncode == 1
    assert "Python 3.11 or newer" in program.stderr
    assert "3.9.2" in program.stderr


def test_a_newer_python_on_the_path_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    old = fake_python(tmp_path, "python3", "exit 1")
    fake_python(
        tmp_path,
        "python3.12",
        '[ "$1" = -m ] && { echo "$@" > "$3.called"; exit 0; }; [ "$1" = --version ] && echo 3.12; exit 0',
    )
    program = venv(old, tmp_path / "venv", str(tmp_path))
    assert program.returncode == 0, program.stderr
    assert (tmp_path / "venv.called").read_text().startswith("-m venv ")
