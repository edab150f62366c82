"""The command group: what there is, what it exits with, and that it starts quickly."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest

from gatewayd import __version__
from gatewayd.cli import main
from gatewayd.cli.app import COMMANDS


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gatewayd", *words], capture_output=True, text=True, timeout=30, check=False
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["version"], ["--version"], ["-V"]):
        assert main(words) == 0
        assert capsys.readouterr().out == f"gatewayd {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_has_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, attribute, _ = COMMANDS[name]
    assert isinstance(getattr(import_module(f"gatewayd.cli.{module}"), attribute), click.Command)
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: gatewayd {name}")


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "77 cannot bind" in " ".join(out.split())


@pytest.mark.parametrize("words", [[], ["nothing"], ["version", "more"], ["--nothing"]])
def test_a_wrong_call_exits_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 64
    assert "Usage: gatewayd" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts"], "No such command 'stauts'. (Did you mean 'status'?)"),
        (["zzz"], "No such command 'zzz'.\n"),
        (["run", "--wokers", "2", "x"], "'--workers'"),
    ],
)
def test_a_word_that_is_not_known_is_told_with_the_nearest_that_is(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_GATEWAYD_COMPLETE" in capsys.readouterr().out


def test_completion_of_an_unknown_shell_exits_64() -> None:
    assert main(["completion", "tcsh"]) == 64


def test_as_a_program() -> None:
    ended = call("version")
    assert (ended.returncode, ended.stdout) == (0, f"gatewayd {__version__}\n")
    assert call("nothing").returncode == 64


def test_a_reader_that_went_away_is_no_traceback() -> None:
    script = f"{sys.executable} -m gatewayd run --help | true"
    ended = subprocess.run(script, shell=True, capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in ended.stderr


def test_version_loads_nothing_that_serves() -> None:
    code = (
        "import sys\nfrom gatewayd.cli import main\nmain(['version'])\n"
        "heavy = {'uvloop', 'yaml', 'msgspec', 're2', 'asyncio', 'gatewayd.runtime', 'gatewayd.compiler'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"
