"""What a process is set to before it serves, and how it ends: signals, allocator, event loop, logs, no core dumps."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import resource
import signal
from typing import Final

from gatewayd.exit_codes import EXIT_OK
from gatewayd.observe import logs
from gatewayd.observe.log_sink import LogSink
from gatewayd.runtime import memory

_log = logging.getLogger("gatewayd.runtime")

#: How long tasks that are cancelled at the very end may take.
_LAST_TASKS_S: Final = 1.0

#: Signals that mean something to gatewayd.
SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGQUIT,
)


def prepare(log_level: str, log_format: str = "text") -> LogSink | None:
    """Make ready to load; the sink of the program's log, None without a stderr."""
    sink = logs.set_up(log_level, form=log_format)
    with contextlib.suppress(Exception):  # no stderr
        faulthandler.enable()  # where it stood: systemd's watchdog ends a loop that hangs by SIGABRT
    # While loading. The default of all is to die; process 1 of a container would not even notice a TERM.
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not by an exception: it could come up in anything, half-made objects included. Nothing is open yet.
        signal.signal(number, lambda *_: os._exit(EXIT_OK))
    hear_signals()  # the program before may have held them back
    with contextlib.suppress(ValueError, OSError):
        # A dump would hold the private keys (hardening 9.15).
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    memory.tune_allocator()
    memory.begin_loading()
    return sink


def hear_signals() -> None:
    """Signals that were held back are delivered, those that came meanwhile included."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def ending(status: int) -> str:
    """``exit code 78`` or ``killed by SIGKILL``, by a status of waitpid."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """An event loop of the kind ``uvloop`` or ``asyncio``."""
    if name == "uvloop":
        try:
            import uvloop
        except ImportError:
            _log.warning("uvloop is not installed: serving on plain asyncio, which costs a multiple")
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close ``loop``, whatever is left in it: tasks first, for a generator that one of them is in cannot be closed."""
    with contextlib.suppress(Exception):
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            ended, _ = loop.run_until_complete(asyncio.wait(left, timeout=_LAST_TASKS_S))
            for task in ended:
                task.cancelled() or task.exception()  # nobody is there to hear of it
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def end_logs(sink: LogSink | None) -> None:
    """Write what waits; nothing can be logged after that."""
    if sink is not None:
        # Not without a handler: logging's last resort writes to stderr itself, and waits.
        logging.getLogger().handlers[:] = [logging.NullHandler()]
        sink.close()
