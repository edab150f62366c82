"""Send traffic and judge the answers: wrk and h2load for full load, curl for bodies of any size.

Every result carries `invalid`, the reason why the figure of its run must not be used.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.macro.processes import run
from benchmarks.macro.site import BENCH_HOST
from benchmarks.macro.tools import tool
from benchmarks.macro.traffic import Traffic

SCRIPT = Path(__file__).with_name("traffic.lua")
HEAD_BYTES_AT_MOST = 2048
RESULT_MARK = "RESULT "


@dataclass(frozen=True)
class LoadResult:
    """Answers of one run."""

    requests: int
    seconds: float
    p50_us: float | None
    p99_us: float | None
    invalid: str | None


def parse_wrk(output: str, body_bytes: int, seconds: float) -> LoadResult:
    """Judge the line that `traffic.lua` prints: no errors, and as many bytes as the bodies need."""
    line = next((line for line in output.splitlines() if line.startswith(RESULT_MARK)), None)
    if line is None:
        return LoadResult(0, seconds, None, None, f"wrk gave no result: {output[-300:]}")
    result = json.loads(line.removeprefix(RESULT_MARK))
    requests = result["requests"]
    return LoadResult(
        requests,
        seconds,
        result["p50_us"],
        result["p99_us"],
        judge_totals(requests, result["bytes"], body_bytes, result["errors"]),
    )


def judge_totals(requests: int, received: int, body_bytes: int, errors: dict[str, int]) -> str | None:
    """Why a run with these totals is invalid, or None. Errors count by kind: `status` is non-2xx."""
    bad = {kind: count for kind, count in errors.items() if count}
    if bad:
        return "errors: " + ", ".join(f"{kind} {count}" for kind, count in bad.items())
    if not requests:
        return "no request was answered"
    each = received / requests
    if not body_bytes <= each <= body_bytes + HEAD_BYTES_AT_MOST:
        return f"{each:.0f} bytes per response do not fit a body of {body_bytes}"
    return None


def wrk(
    traffic: Traffic,
    folder: Path,
    port: int,
    core: int | None,
    *,
    connections: int,
    seconds: float,
    tls: bool = False,
) -> LoadResult:
    """Load `port` with one thread for about `seconds` (wrk counts whole ones)."""
    mode = "fresh" if traffic.fresh else "replay"
    # A clock reading, so that no run repeats another's new heads or begins at the same request.
    start = time.time_ns() // 1000 % 2**31
    whole = max(1, round(seconds))
    argv = [
        *(tool("wrk"), "-t", "1", "-c", str(connections), "-d", f"{whole}s", "--timeout", "5s"),
        *(
            "-s",
            str(SCRIPT),
            f"{'https' if tls else 'http'}://127.0.0.1:{port}",
            "--",
            mode,
            str(folder / f"{traffic.name}.requests"),
        ),
        str(start),
    ]
    began = time.monotonic()
    done = run(argv, core=core, timeout_s=whole + 20)
    return parse_wrk(done.stdout + done.stderr, traffic.body_bytes, time.monotonic() - began)


def judge_client(done: "subprocess.CompletedProcess[str]") -> LoadResult:
    """Judge what a client of ours prints: JSON with `count`, `errors` and `seconds`."""
    try:
        result = json.loads(done.stdout)
    except ValueError:
        return LoadResult(0, 1.0, None, None, f"the client failed: {done.stderr.strip()[-300:]}")
    invalid = f"{result['errors']} errors" if result["errors"] else None
    if not result["count"]:
        invalid = "nothing came back"
    return LoadResult(int(result["count"]), result["seconds"], None, None, invalid)


def parse_h2load(output: str, body_bytes: int, seconds: float) -> LoadResult:
    """Judge the totals that h2load prints: all answered, all with 2xx, and as many bytes as the bodies have."""
    counts = re.search(
        r"^requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$",
        output,
        re.M,
    )
    codes = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$", output, re.M)
    data = re.search(r"^traffic: .*\((\d+)\) data$", output, re.M)
    if not counts or not codes or not data:
        return LoadResult(0, seconds, None, None, f"h2load gave no result: {output[-300:]}")
    requests, _, failed, errored, late = map(int, counts.groups())
    status = sum(map(int, codes.groups()[1:]))
    errors = {"failed": failed, "errored": errored, "timeout": late, "status": status}
    # Bodies under way at the end are counted in part.
    judged = judge_totals(requests, int(data[1]), int(body_bytes * 0.98), errors)
    return LoadResult(requests, seconds, None, None, judged)


def h2load(
    targets: Path,
    port: int,
    core: int | None,
    *,
    connections: int,
    streams: int,
    seconds: float,
    body_bytes: int,
    tls: bool = False,
    headers: Sequence[tuple[str, str]] = (),
    data: Path | None = None,
) -> LoadResult:
    """Ask for the paths in the file `targets` in turn, by POST with `data` when it is given."""
    whole = max(1, round(seconds))
    argv = [tool("h2load"), "-D", str(whole), "-c", str(connections), "-m", str(streams)]
    argv += [part for name, value in headers for part in ("-H", f"{name}: {value}")]
    argv += ["-d", str(data)] if data else []
    argv += ["-i", str(targets), "-B", f"{'https' if tls else 'http'}://127.0.0.1:{port}"]
    began = time.monotonic()
    done = run(argv, core=core, timeout_s=whole + 60)
    return parse_h2load(done.stdout + done.stderr, body_bytes, time.monotonic() - began)


def curl_download(
    port: int,
    core: int | None,
    target: str,
    size_bytes: int,
    *,
    tls: bool = False,
    version: str = "--http1.1",
) -> LoadResult:
    """Fetch `target` once and throw it away. version: curl's option for it."""
    began = time.monotonic()
    done = run(
        [
            *(tool("curl"), "-sS", "-o", os.devnull, "-w", "%{http_code} %{size_download}"),
            *("-H", f"Host: {BENCH_HOST}", "-k", version),
            f"{'https' if tls else 'http'}://127.0.0.1:{port}{target}",
        ],
        core=core,
        timeout_s=120,
    )
    got, wanted = done.stdout.strip(), f"200 {size_bytes}"
    invalid = None if got == wanted else f"curl got {got or done.stderr.strip()}, not {wanted}"
    return LoadResult(1, time.monotonic() - began, None, None, invalid)


def upload_command(port: int, source: Path, *, tls: bool = False) -> list[str]:
    """The curl line that sends a file with PUT."""
    return [
        *(tool("curl"), "-sS", "-T", str(source), "-w", " %{http_code} %{size_upload}"),
        *("-H", f"Host: {BENCH_HOST}", "-H", "Expect:", "-k", "--http1.1"),
        f"{'https' if tls else 'http'}://127.0.0.1:{port}/api/upload",
    ]


def curl_upload(port: int, core: int | None, source: Path, *, tls: bool = False) -> LoadResult:
    """Send a file; the upstream answers with the length it has seen."""
    began = time.monotonic()
    done = run(upload_command(port, source, tls=tls), core=core, timeout_s=120)
    size = source.stat().st_size
    got, wanted = done.stdout.strip(), f"{size} 200 {size}"
    invalid = None if got == wanted else f"curl got {got or done.stderr.strip()}, not {wanted}"
    return LoadResult(1, time.monotonic() - began, None, None, invalid)
