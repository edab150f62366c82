"""The real Envoy with a configuration of its own, for tests that compare with it; it ends with the block."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.raw_client import RawClient

_PROGRAM = Path(sys.executable).parent / "envoy"
_LOOPBACK = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
_TYPE = "type.googleapis.com/envoy.extensions.filters."
_READY_S = 60.0
_READY_POLL_S = 0.05


class EnvoyProcess:
    """``async with EnvoyProcess(routes, clusters) as envoy``: one HTTP listener on ``envoy.port``.

    routes and clusters are Envoy's own messages as JSON, and so are further parts of its bootstrap. Raises
    AssertionError with its log when it does not start.
    """

    def __init__(
        self, routes: Sequence[Mapping[str, Any]], clusters: Sequence[Mapping[str, Any]], **bootstrap: Any
    ) -> None:
        self.port = self.admin_port = 0
        self._config = configuration(routes, clusters) | bootstrap
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> EnvoyProcess:
        self._folder = tempfile.TemporaryDirectory(prefix="gatewayd-envoy-")
        try:
            await self._start(Path(self._folder.name))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        self._folder.cleanup()

    async def _start(self, folder: Path) -> None:
        config, address, log = folder / "config.json", folder / "admin", folder / "log"
        config.write_text(json.dumps(self._config))
        with log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(str(_PROGRAM), "-c", str(config), "--admin-address-path", str(address)),
                *("--concurrency", "1", "--disable-hot-restart", "-l", "warning"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _READY_S
        while not (address.exists() and await self._is_ready(address.read_text())):
            starting = self._process.returncode is None and time.monotonic() < deadline
            assert starting, f"Envoy did not start:\n{log.read_text()}"
            await asyncio.sleep(_READY_POLL_S)

    async def _is_ready(self, admin: str) -> bool:
        if not admin.strip():
            return False
        self.admin_port = int(admin.strip().rpartition(":")[2])
        if await self._ask("/ready") != b"LIVE\n":
            return False
        listeners = json.loads(await self._ask("/listeners?format=json"))["listener_statuses"]
        self.port = listeners[0]["local_address"]["socket_address"]["port_value"]
        return True

    async def _ask(self, path: str) -> bytes:
        outcome = await RawClient(self.admin_port).http(
            f"GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n".encode(), observe_s=0.0
        )
        return outcome.responses[0].body if outcome.responses else b""


def configuration(
    routes: Sequence[Mapping[str, Any]], clusters: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A static configuration whose ports the kernel chooses."""
    manager = {
        "@type": _TYPE + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "use_remote_address": True,
        "generate_request_id": False,
        "http_filters": [{"name": "router", "typed_config": {"@type": _TYPE + "http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(routes)}]},
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"name": "http", "address": _LOOPBACK, "filter_chains": [{"filters": filters}]}
    resources = {"listeners": [listener], "clusters": list(clusters)}
    return {"admin": {"address": _LOOPBACK}, "static_resources": resources}
