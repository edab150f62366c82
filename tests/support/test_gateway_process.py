"""The process tool gets ready, retries a lost port, tells why a start failed, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayError, GatewayProcess
from tests.support.ports import PortReservation
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder


@pytest.fixture(autouse=True)
def _relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatewayProcess, "command", (sys.executable, "-m", "tests.support.relay_gateway"))


def _config(folder: Path, port: int) -> Path:
    (folder / "a.yaml").write_text(f"ports: {{http: {port}}}\n")
    return folder


async def test_requests_pass_and_the_log_is_read_in_steps(tmp_path: Path) -> None:
    async with (
        Recorder("alpha") as alpha,
        GatewayProcess([_config(tmp_path, alpha.port)], listen=[80]) as gateway,
    ):
        assert gateway.port(80) != 80
        for path in ("/one", "/two"):
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            assert (await RawClient(gateway.port(80)).http(request)).response.body == b"alpha"
            assert [record["path"] for record in await gateway.log_records(1)] == [path]
        assert await gateway.log_lines(1, 0.05) == []
        pid = gateway.pid
    assert gateway.exit_code == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_lost_port_is_tried_again(tmp_path: Path) -> None:
    async with GatewayProcess([tmp_path], listen=[80], env={"RELAY": "once77"}) as gateway:
        assert gateway.exit_code is None


@pytest.mark.parametrize(
    ("mode", "words"), [("exit77", "status 77"), ("exit3", "status 3"), ("deaf", "not ready")]
)
async def test_a_failed_start_says_why_and_leaves_nothing(tmp_path: Path, mode: str, words: str) -> None:
    gateway = GatewayProcess([tmp_path], env={"RELAY": mode}, ready_s=1.0 if mode == "deaf" else 60.0)
    with pytest.raises(GatewayError, match=words) as failure:
        await gateway.__aenter__()
    if mode.startswith("exit"):
        assert "cannot go on" in str(failure.value)
    assert gateway.exit_code is not None


async def test_a_reserved_port_refuses_and_is_free_after_release() -> None:
    held = PortReservation()
    assert (await RawClient(held.port).http(b"x")).outcome == "refused"
    with pytest.raises(OSError, match="in use"):
        _bind(held.port)
    held.release()
    _bind(held.port)


def _bind(port: int) -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
