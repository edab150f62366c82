"""The allocator and the collector of a serving process."""

from __future__ import annotations

import gc
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.runtime import memory
from tests.runtime.running import GATEWAY, configuration, get, serve
from tests.tls.material import leaf, write_pair

#: Reads of a busy relay: several large buffers at a time, then none.
FAULTS = """
import resource, sys
from gatewayd.runtime import memory
tuned = sys.argv[1] == "tuned" and memory.tune_allocator()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def reads(rounds):
    for _ in range(rounds):
        buffers = [bytearray(256 * 1024) for _ in range(8)]
        buffers.clear()
reads(20)
before = faults()
reads(200)
print(int(tuned), faults() - before)
"""


def page_faults(mode: str) -> tuple[bool, int]:
    ended = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, timeout=60, check=True
    )
    tuned, faults = ended.stdout.split()
    return tuned == "1", int(faults)


def test_freed_memory_is_kept_for_the_next_read() -> None:
    _, plain = page_faults("plain")
    tuned, kept = page_faults("tuned")
    assert tuned == (platform.libc_ver()[0] == "glibc")
    if tuned:
        assert kept < plain / 10
    else:
        assert kept < plain * 2


@pytest.fixture
def _collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


@pytest.mark.usefixtures("_collector")
def test_what_was_loaded_is_never_collected_again() -> None:
    memory.begin_loading()
    assert not gc.isenabled()
    loaded = [{"a": index} for index in range(1000)]
    memory.end_loading()
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(loaded)
    assert gc.get_threshold()[0] == 100_000


async def test_cryptography_is_loaded_with_the_first_certificate(tmp_path: Path) -> None:
    """It takes some 12 MiB."""

    def loaded(pid: int) -> bool:
        return "/cryptography/" in Path(f"/proc/{pid}/maps").read_text()

    folder = configuration(tmp_path)
    async with serve(folder, "--port-map", "443=0") as gatewayd:
        port, _ = await gatewayd.ready()
        assert (await get(port, "/direct"))[0] == 200
        assert not loaded(gatewayd.pid)
        write_pair(folder, leaf("shop.test"))
        files = f"serverCertificate: {folder}/tls.crt, privateKey: {folder}/tls.key"
        (folder / "0.yaml").write_text(
            f"{GATEWAY}  - port: {{number: 443, name: https, protocol: HTTPS}}\n"
            f"    hosts: ['*']\n    tls: {{mode: SIMPLE, {files}}}\n"
        )
        gatewayd.signal(signal.SIGHUP)
        await gatewayd.until(lambda: loaded(gatewayd.pid))
