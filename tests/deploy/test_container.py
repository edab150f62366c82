"""The image: its file is linted, and what it runs is run, with the wheel it would install, outside of a container."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.deploy.containerfile import Image, instructions
from tests.deploy.units import ROOT, SERVICE, values
from tests.runtime.running import configuration, get
from tests.support.ports import PortReservation

FILE = ROOT / "deploy" / "Containerfile"
_LIMIT_S = 60.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gatewayd as it is published, built here and now."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("gatewayd-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's packages, and its program in ``bin``."""
    folder = tmp_path_factory.mktemp("installed")
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder),
    ]
    subprocess.run([*words, str(wheel)], check=True)
    return folder


class TestTheFile:
    def test_the_linter_has_nothing_to_say(self) -> None:
        linter = Path(sys.executable).with_name("hadolint")
        words = [linter, "--failure-threshold", "style", "--trusted-registry", "docker.io", FILE]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")

    def test_a_mistake_would_be_told(self, tmp_path: Path) -> None:
        bad = tmp_path / "Containerfile"
        bad.write_text("FROM python\nRUN cd /tmp && sudo pip install x\n")
        linter = Path(sys.executable).with_name("hadolint")
        assert subprocess.run([linter, bad], capture_output=True, check=False).returncode != 0

    def test_it_is_built_in_two_stages_on_glibc(self) -> None:
        bases = [rest.split()[0] for word, rest in instructions(FILE) if word == "FROM"]
        assert len(bases) == 2
        assert all(re.search(r"python:3\.\d+-slim-\w+$", base) for base in bases), "not musl's alpine"

    def test_it_runs_as_nobody_special(self) -> None:
        assert Image(FILE).one("USER") == "1337:1337"

    def test_it_is_stopped_as_a_drain_begins(self) -> None:
        assert Image(FILE).one("STOPSIGNAL") == "SIGTERM"

    def test_the_allocator_is_told_what_the_unit_tells_it(self) -> None:
        unit = dict(pair.split("=") for line in values(SERVICE, "Environment") for pair in line.split())
        image = Image(FILE).environment
        for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_"):
            assert image[name] == unit[name]

    def test_what_it_copies_is_there_and_let_in(self) -> None:
        copied = [word for name, rest in instructions(FILE) if name == "COPY" for word in rest.split()[:-1]]
        let_in = (ROOT / "deploy" / "Containerfile.dockerignore").read_text().splitlines()
        for name in copied:
            assert (ROOT / name).exists()
            assert f"!{name}" in let_in


def test_the_wheel_has_what_it_needs_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gatewayd").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    examples = {
        f"gatewayd/demo/examples/{path.relative_to(ROOT / 'examples')}"
        for path in (ROOT / "examples" / "bookinfo").rglob("*.yaml")
    }
    assert sources | examples <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "deploy/"))]


#: Told on stderr by each attempt to write a file: an audit hook sees what Python opens, makes, moves and removes.
_WATCH = """
import os, sys
def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and isinstance(path, (str, bytes)):
            os.write(2, b"WRITES %s\\n" % os.fsencode(path))
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link", "shutil.copyfile"):
        os.write(2, b"WRITES %s\\n" % str(arguments).encode())
sys.addaudithook(hook)
"""


@asynccontextmanager
async def container(
    installed: Path, folder: Path, **more: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Mapping[str, str], Path]]:
    """What the image runs, with its environment but for the ports, in the folder mounted where it begins."""
    image = Image(FILE)
    (installed / "sitecustomize.py").write_text(_WATCH)
    env = {
        **image.environment,
        "PATH": f"{installed / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(installed),
        **more,
    }
    said = folder.parent / "said"
    with said.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *image.command, cwd=folder, env=env, stdout=output, stderr=output
        )
    try:
        yield process, env, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_it_is_the_wheel_that_runs_and_what_is_written_would_be_told(installed: Path, tmp_path: Path) -> None:
    (installed / "sitecustomize.py").write_text(_WATCH)
    code = f"import gatewayd; print(gatewayd.__file__); open({str(tmp_path / 'x')!r}, 'w')"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == str(installed / "gatewayd" / "__init__.py")
    assert done.stderr.strip() == f"WRITES {tmp_path / 'x'}"


async def health(env: Mapping[str, str]) -> tuple[int, str]:
    """What the image's health check comes to."""
    process = await asyncio.create_subprocess_exec(
        *Image(FILE).words("HEALTHCHECK"), env=dict(env), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode().strip()


async def test_what_the_image_runs_serves_is_healthy_and_drains(installed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    configuration(site)
    ports = [PortReservation(["0.0.0.0"]) for _ in range(4)]
    serving, status, metrics, admin = (each.port for each in ports)
    environment = {
        "GATEWAYD_PORT_MAP": f"80={serving}",
        "GATEWAYD_STATUS": f"0.0.0.0:{status}",
        "GATEWAYD_METRICS": f"0.0.0.0:{metrics}",
        "GATEWAYD_ADMIN": f"127.0.0.1:{admin}",
    }
    for each in ports:
        each.release()
    async with container(installed, site, **environment) as (process, env, said):
        code, text = await health(env)
        deadline = time.monotonic() + _LIMIT_S
        while code:
            assert code in (1, 69), "not ready yet"
            assert process.returncode is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            code, text = await health(env)
        assert text == "ready"
        assert (await get(serving, "/direct"))[0] == 200
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0, said.read_text()
        assert (await health(env))[0] == 69
        lines = said.read_text().splitlines()
    assert any('"GET /direct HTTP/1.1" 200' in line for line in lines), "the access log is stdout"
    written = {line.removeprefix("WRITES ") for line in lines if line.startswith("WRITES ")}
    streams = {path for path in written if path.startswith(("/proc/self/fd/", "/dev/"))}
    assert written == streams, "the root file system may be read-only"
