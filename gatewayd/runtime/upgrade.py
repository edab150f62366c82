"""Another program in the place of this one, with the same command line and the same sockets (USR2).

A process that is alone starts its successor beside itself. A supervisor becomes its successor, in the same process:
service managers and containers see no change. It tries the new program first, since there is no way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Final

from gatewayd.exit_codes import EXIT_OK, EXIT_REFUSED
from gatewayd.observe.events import Events
from gatewayd.runtime import process, summary
from gatewayd.runtime.configuration import Configuration, ConfigurationReader, Refused, first_configuration
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.servers import Servers
from gatewayd.runtime.worker import SERVING
from gatewayd.upstream.late_loop import LateLoop
from gatewayd.upstream.registry import Registry

_log = logging.getLogger("gatewayd.runtime")

_TRIAL: Final = "GATEWAYD_TRIAL"
#: How long a new program may take until it serves.
LIMIT_S: Final = 120.0
#: Time for the answer to whoever asked, and to those who ask meanwhile.
_ANSWER_S: Final = 0.2
_LEAVE_S: Final = 1.0
_SHOWN_LINES: Final = 12
_READ_BYTES: Final = 65536


class NotUpgraded(Exception):
    """All is as it was; the text says why, in one or more lines."""


class Upgrades:
    """One at a time, while ``state()`` is SERVING and after ``look_again()``.

    ``upgrade()`` says what happened, or raises :class:`NotUpgraded`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        state: Callable[[], str],
        look_again: Callable[[], Awaitable[None]],
        upgrade: Callable[[], Awaitable[str]],
        events: Events,
    ) -> None:
        self._loop = loop
        self._state = state
        self._look_again = look_again
        self._upgrade = upgrade
        self._events = events
        self._task: asyncio.Task[tuple[bool, str]] | None = None

    def ask(self) -> asyncio.Task[tuple[bool, str]]:
        """Upgrade, unless that is under way; whether it goes well, and what happens."""
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run())
        return self._task

    async def _run(self) -> tuple[bool, str]:
        try:
            if self._state() != SERVING:
                raise NotUpgraded(f"not while {self._state()}")
            await self._look_again()
            text = await self._upgrade()
        except NotUpgraded as error:
            text = f"not upgraded, this program serves on: {error}"
            _log.error("%s", text)
            self._events.publish("upgrade", text, ok=False)
            return False, text
        _log.info("%s", text)
        self._events.publish("upgrade", text, ok=True)
        return True, text


def command() -> list[str]:
    """How this program was started, for its successor; the file to be executed comes first."""
    return [sys.executable, *sys.orig_argv[1:]]


def refuse_what_would_be_lost(configuration: Configuration | None) -> None:
    """Raise :class:`NotUpgraded` if something is served that a new program could not know."""
    kept = configuration.kept if configuration is not None else ()
    if kept:
        raise NotUpgraded(
            f"{len(kept)} resources are served in their last good version, which a new program cannot know; "
            f"mend them first: {kept[0]}"
        )


async def leave(servers: Servers) -> None:
    """Give the operators' ports up to the program that takes our place, once whoever asked has his answer."""
    await asyncio.sleep(_ANSWER_S)
    await servers.leave(_LEAVE_S)


def spawn(
    environment: Mapping[str, str],
    fds: Sequence[int] = (),
    *,
    stdin: bytes | None = None,
    output_fd: int = -1,
) -> int:
    """Start the program once more, with ``fds`` open; its process id. ``output_fd`` takes the place of its output."""
    actions: list[tuple[int, int, int]] = []
    text_fd = -1
    try:
        if stdin is not None:
            text_fd = _file_of(stdin)
            actions.append((os.POSIX_SPAWN_DUP2, text_fd, 0))
        if output_fd >= 0:
            actions += [(os.POSIX_SPAWN_DUP2, output_fd, 1), (os.POSIX_SPAWN_DUP2, output_fd, 2)]
        for fd in fds:
            os.set_inheritable(fd, True)
        words = command()
        return os.posix_spawn(
            words[0],
            words,
            {**os.environ, **environment},
            file_actions=actions,
            setsigmask=(),
            setsigdef=process.SIGNALS,
        )
    except OSError as error:
        raise NotUpgraded(f"the program cannot be started: {error}") from None
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)
        if text_fd >= 0:
            os.close(text_fd)


def become(environment: Mapping[str, str], fds: Sequence[int], *, stdin: bytes | None = None) -> None:
    """Execute the program in this process, with ``fds`` open. Returns only by raising :class:`NotUpgraded`."""
    words = command()
    # A signal that comes before the new program has its handlers would end it: they wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, process.SIGNALS)
    try:
        if stdin is not None:
            text_fd = _file_of(stdin)
            os.dup2(text_fd, 0)
            os.close(text_fd)
        for fd in fds:
            os.set_inheritable(fd, True)
        os.execve(words[0], words, {**os.environ, **environment})
    except OSError as error:
        for fd in fds:
            os.set_inheritable(fd, False)
        process.hear_signals()
        raise NotUpgraded(f"the program cannot be executed: {error}") from None


def _file_of(text: bytes) -> int:
    fd = os.memfd_create("gatewayd-stdin")
    with open(fd, "wb", closefd=False) as file:
        file.write(text)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def read_all(loop: asyncio.AbstractEventLoop, fd: int, until: bytes = b"") -> bytes:
    """What comes from ``fd`` until its end, or until it contains ``until``; closes it."""
    os.set_blocking(fd, False)
    heard = bytearray()
    ended: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        try:
            piece = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        heard.extend(piece)
        if not ended.done() and (not piece or (until and until in heard)):
            ended.set_result(None)

    loop.add_reader(fd, readable)
    try:
        await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return bytes(heard)


def last_lines(said: bytes) -> str:
    """The end of what a program said."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-_SHOWN_LINES:])


def end(pid: int) -> None:
    """End a program that was started in vain."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# The trial


def trial_environment() -> dict[str, str]:
    """What tells a program that it is on trial."""
    return {_TRIAL: "1"}


def is_trial(environment: MutableMapping[str, str]) -> bool:
    """Whether this process is one; the variable is taken out of ``environment``."""
    return bool(environment.pop(_TRIAL, ""))


def stand_trial(options: RunOptions) -> int:
    """Load and compile all that would be served, and nothing more; the exit code."""
    try:
        registry = Registry(LateLoop.make()[1])
        configuration = first_configuration(ConfigurationReader(options), options, registry.adopt)
    except Refused as refusal:
        for line in refusal.lines:
            summary.say(f"gatewayd: {line}", logging.ERROR)
        return refusal.exit_code
    return EXIT_OK if configuration.snapshot.listeners else EXIT_REFUSED
