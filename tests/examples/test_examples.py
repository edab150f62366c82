"""Every example's page is true: its commands start, and its curl lines print what it shows."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.examples.readme import Scene, difference, scenes, with_ports
from tests.support.gateway_process import GatewayProcess
from tests.support.ports import PortReservation

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PAGES = sorted(EXAMPLES.glob("*/README.md"))
#: Other pages that show what comes.
MORE = [EXAMPLES.parent / "docs" / "admin.md"]
SCENES = [
    pytest.param(scene, id=f"{page.parent.name if page.name == 'README.md' else page.stem}-{number}")
    for page in [*PAGES, *MORE]
    for number, scene in enumerate(scenes(page), 1)
]
#: The admin port, unless another is chosen.
ADMIN = "15000"
_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
#: A page's command to what this checkout runs for it.
PYTHON = {"python": [sys.executable], "gatewayd": [sys.executable, "-m", "gatewayd"]}


@pytest.mark.parametrize("scene", SCENES)
async def test_what_the_page_shows_is_what_comes(scene: Scene, tmp_path: Path) -> None:
    await _play(scene, tmp_path)


async def test_the_first_gateway_of_the_readme_works(tmp_path: Path) -> None:
    readme = EXAMPLES.parent / "README.md"
    text = readme.read_text()
    name = re.search(r"Save this as `first/(\S+)`", text)
    yaml = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert name is not None
    assert yaml is not None
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / name[1]).write_text(yaml[1])
    (scene,) = scenes(readme)
    (run,) = (command for command in scene.commands if command[0] == "gatewayd")
    assert run[2] == "first"
    await _play(scene, tmp_path)


async def _play(scene: Scene, folder: Path) -> None:
    """Run a page's commands and lines as if ``folder`` were the project's."""
    (folder / "examples").symlink_to(EXAMPLES)
    reservations = [PortReservation() for _ in scene.ports]
    ports = {page: str(held.port) for page, held in zip(scene.ports, reservations, strict=True)}
    for held in reservations:
        held.release()
    assert scene.shown
    for line in scene.prepare:
        await _output(line, folder, must=True)
    async with _started(scene, ports, folder):
        for shown in scene.shown:
            output = await _output(with_ports(shown.command, ports), folder, admin=ports.get(ADMIN, ""))
            lines = tuple(with_ports(line, ports) for line in shown.lines)
            problem = difference(type(shown)(shown.command, lines), output)
            assert not problem, f"$ {shown.command}\n{problem}"


@asynccontextmanager
async def _started(scene: Scene, ports: dict[str, str], folder: Path) -> AsyncIterator[None]:
    *before, last = ([with_ports(word, ports) for word in command] for command in scene.commands)
    backends = [await _wait_for_line(command, b"{", folder) for command in before]
    try:
        if last[:2] == ["gatewayd", "demo"]:
            backends.append(await _wait_for_line(last, b"Ctrl-C", folder))
            yield
        else:
            assert last[:2] == ["gatewayd", "run"]
            async with GatewayProcess([last[2]], flags=last[3:], cwd=folder):
                yield
    finally:
        for process in backends:
            process.send_signal(signal.SIGINT)
        for process in backends:
            await asyncio.wait_for(process.communicate(), 60)


async def _wait_for_line(command: list[str], beginning: bytes, folder: Path) -> asyncio.subprocess.Process:
    """Start ``command`` and wait for a line on its stdout that begins so."""
    process = await asyncio.create_subprocess_exec(
        *PYTHON[command[0]], *command[1:], stdout=subprocess.PIPE, cwd=folder
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while not (line := await process.stdout.readline()).startswith(beginning):
            assert line, f"{command} ended with {await process.wait()}"
    return process


async def _output(command: str, folder: Path, *, must: bool = False, admin: str = "") -> str:
    """What a line for the shell prints; ``must``: it must succeed, and what it complains of is told.

    ``admin``: the port where gatewayd's commands look for its admin port.
    """
    given = {"GATEWAYD_ADMIN": f"127.0.0.1:{admin}"} if admin else {}
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if must else None,
        cwd=folder,
        env={**os.environ, "no_proxy": "*", "LC_ALL": "C.UTF-8", "PATH": _PATH, **given},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert not (must and process.returncode), f"$ {command}\n{output.decode()}"
    return output.decode()


def test_every_example_has_a_page_and_is_listed() -> None:
    folders = sorted({path.relative_to(EXAMPLES).parts[0] for path in EXAMPLES.rglob("*.yaml")})
    assert folders == [page.parent.name for page in PAGES]
    index = (EXAMPLES / "README.md").read_text()
    assert [name for name in folders if f"({name})" not in index] == []


def test_every_folder_of_yaml_is_served_by_its_page() -> None:
    words = {
        word for page in PAGES for scene in scenes(page) for command in scene.commands for word in command
    }
    served = words | {str(Path(word).parent) for word in words if word.endswith(".yaml")}
    folders = {str(path.parent.relative_to(EXAMPLES.parent)) for path in EXAMPLES.rglob("*.yaml")}
    assert folders - served == {"examples/bookinfo"}  # which `gatewayd demo` serves
