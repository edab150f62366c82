"""Start, pin, weigh and end process trees: CPU time and memory as the kernel counts them."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CLOCK_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessStat:
    """The fields of `/proc/PID/stat` a tree needs; CPU times in clock ticks."""

    pid: int
    parent: int
    own_ticks: int
    """User and system time of the process itself, all threads, ended ones too."""
    reaped_ticks: int
    """User and system time of children that ended and were waited for."""


@dataclass(frozen=True)
class Memory:
    """Memory of a process tree in KiB: resident pages, and resident pages with shared ones divided (PSS)."""

    rss_kib: int
    pss_kib: int


def parse_stat(text: str) -> ProcessStat:
    """Read one `/proc/PID/stat` line. The name in parentheses may hold spaces and parentheses itself."""
    pid, _, rest = text.partition(" (")
    fields = rest.rpartition(")")[2].split()
    return ProcessStat(
        pid=int(pid),
        parent=int(fields[1]),
        own_ticks=int(fields[11]) + int(fields[12]),
        reaped_ticks=int(fields[13]) + int(fields[14]),
    )


def parse_kib(text: str, field: str) -> int:
    """Value of `field` in KiB in the text of `/proc/PID/status` or `smaps_rollup`; 0 without it."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    return 0


def descendants(root: int, stats: list[ProcessStat]) -> list[ProcessStat]:
    """`root` and everything below it, from a snapshot of all processes."""
    found = [stat for stat in stats if stat.pid == root]
    known = {root}
    for stat in found:
        for child in stats:
            if child.parent == stat.pid and child.pid not in known:
                known.add(child.pid)
                found.append(child)
    return found


def all_stats() -> list[ProcessStat]:
    """Every process there is; those that end meanwhile are left out."""
    stats = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stats.append(parse_stat(Path(f"/proc/{entry}/stat").read_text()))
    return stats


def process_cpu_ns(stat: ProcessStat) -> int:
    """CPU time of one process in ns: user plus system, as in `/proc/PID/stat` but not rounded to 10 ms.

    clock_getcpuclockid(3) names the kernel's clock of process P as (~P << 3) | 2; where it may not be read,
    the ticks stand in.
    """
    try:
        return time.clock_gettime_ns((~stat.pid << 3) | 2)
    except OSError:
        return stat.own_ticks * CLOCK_TICK_NS


def tree_cpu_ns(root: int) -> int:
    """CPU time in ns of the process tree below `root`, children that ended included."""
    return sum(
        process_cpu_ns(stat) + stat.reaped_ticks * CLOCK_TICK_NS for stat in descendants(root, all_stats())
    )


def tree_memory(root: int) -> Memory:
    """Memory of the process tree below `root`, summed."""
    rss = pss = 0
    for stat in descendants(root, all_stats()):
        with contextlib.suppress(OSError):
            rss += parse_kib(Path(f"/proc/{stat.pid}/status").read_text(), "VmRSS")
            pss += parse_kib(Path(f"/proc/{stat.pid}/smaps_rollup").read_text(), "Pss")
    return Memory(rss, pss)


def private_kib(pid: int) -> int:
    """Memory of a process that no other has, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return parse_kib(text, "Private_Clean") + parse_kib(text, "Private_Dirty")


@dataclass(frozen=True)
class Pinning:
    """The core the proxy under test has for itself, and the one all else shares; None: anywhere."""

    proxy: int | None
    rest: int | None

    def describe(self) -> str:
        """One phrase for the head of a report."""
        if self.proxy is None or self.rest is None:
            return "processes not pinned"
        return f"proxy on core {self.proxy}, load generator and upstream on core {self.rest}"


def default_pinning() -> Pinning:
    """The last two cores this process may use, or no pinning when there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return Pinning(proxy=cores[-1], rest=cores[-2]) if len(cores) > 1 else Pinning(None, None)


def _pin(core: int | None) -> Callable[[], None] | None:
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


def spawn(
    argv: list[str], *, core: int | None, output: Path, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a long-lived program on `core`, its output appended to a file, in a process group of its own."""
    with output.open("ab") as stream:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=cwd,
            preexec_fn=_pin(core),
            start_new_session=True,
        )


def run(argv: list[str], *, core: int | None, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program to its end on `core` and return what it wrote."""
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout_s, check=False, preexec_fn=_pin(core)
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a program to end, and end its whole process group when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_ports(count: int) -> list[int]:
    """Different TCP ports of the loopback address that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]


def until(condition: Callable[[], bool], timeout_s: float, step_s: float = 0.01) -> bool:
    """Wait until `condition` holds; False when it did not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True


def raise_file_limit(wanted: int) -> None:
    """Allow this process and those it starts `wanted` open files, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
