"""Processes that are forked, for what is shared between them.

A test process runs an event loop and threads of its own and is not to be forked: a scenario is played by a fresh
interpreter (:func:`play_apart`), and forks there as it likes (:class:`Child`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

#: For a scenario that hangs; none takes more than a few seconds.
_TOO_LONG_S = 120


def play_apart(scenario: Callable[[], None]) -> None:
    """Call ``scenario``, a function of a module, in a process of its own; it fails if that does."""
    call = f"from {scenario.__module__} import {scenario.__name__} as play; play()"
    done = subprocess.run(
        [sys.executable, "-c", call], capture_output=True, text=True, timeout=_TOO_LONG_S, check=False
    )
    assert done.returncode == 0, f"{scenario.__name__} ended with {done.returncode}:\n{done.stderr}"


class Channel:
    """One end of a conversation, a line of JSON each time."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rw", encoding="utf-8")

    def say(self, what: Any = None) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()

    def hear(self) -> Any:
        """What the other said; EOFError if it is gone."""
        line = self._file.readline()
        if not line:
            raise EOFError("the other process is gone")
        return json.loads(line)


class Child:
    """A fork that runs ``body``, given its end of a conversation and ``args``, and is killed with the ``with``."""

    def __init__(self, body: Callable[..., None], *args: Any) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            status = 1
            try:
                body(Channel(theirs), *args)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        theirs.close()
        self._channel = Channel(ours)
        self.say, self.hear = self._channel.say, self._channel.hear
        self._gone = False

    def kill(self) -> None:
        """By force, and wait until it is gone."""
        if not self._gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._gone = True

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
