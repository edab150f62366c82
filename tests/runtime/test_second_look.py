"""What a reload found new is read once more: it may have been the middle of a change (sources/watch.py)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gatewayd.runtime import reload
from gatewayd.runtime.configuration import ConfigurationReader, first_configuration
from gatewayd.runtime.options import RunOptions
from gatewayd.tls.store import Refreshed
from gatewayd.upstream.registry import Registry
from tests.runtime.running import DIRECT, GATEWAY, LIMIT_S, configuration


async def test_credentials_that_were_new_are_read_until_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was not the watch that asked for the look, but an earlier one."""
    monkeypatch.setattr(reload, "SECOND_LOOK_S", 0.01)
    loop = asyncio.get_running_loop()
    options = RunOptions(paths=(str(configuration(tmp_path, GATEWAY, DIRECT)),), secrets=())
    reader, registry = ConfigurationReader(options), Registry(loop)
    first_configuration(reader, options, registry.adopt)
    news = [Refreshed(), Refreshed(broken=("b",)), Refreshed(renewed=("a",)), Refreshed(renewed=("a",))]
    monkeypatch.setattr(reader.certificates, "renew", lambda: news.pop() if news else Refreshed())
    # Nothing changes but credentials, so nothing is deployed.
    reloader = reload.Reloader(loop, options, reader, None, registry)  # type: ignore[arg-type]
    reloader.start(watch=True)
    async with asyncio.timeout(LIMIT_S):
        while news:  # noqa: ASYNC110, a thread decides
            await asyncio.sleep(0.005)
    reloader.close()
    await reloader.wait_closed()
    await registry.close()


async def test_a_reload_that_fails_is_logged_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    options = RunOptions(paths=(str(configuration(tmp_path, GATEWAY, DIRECT)),), secrets=())
    reader, registry = ConfigurationReader(options), Registry(loop)
    first_configuration(reader, options, registry.adopt)
    outcomes: list[reload.Outcome] = []
    reloader = reload.Reloader(loop, options, reader, None, registry, outcomes.append)  # type: ignore[arg-type]

    def fail() -> None:
        raise RuntimeError("odd")

    with monkeypatch.context() as patched:
        patched.setattr(reader.certificates, "renew", fail)
        reloader.reload()
        async with asyncio.timeout(LIMIT_S):
            while "the configuration of before stays in force" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    reloader.reload()
    async with asyncio.timeout(LIMIT_S):
        while not outcomes:  # noqa: ASYNC110, a thread decides
            await asyncio.sleep(0.005)
    assert outcomes[0].result == reload.UNCHANGED
    reloader.close()
    await reloader.wait_closed()
    await registry.close()
