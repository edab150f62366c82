"""nginx as an upstream on a UNIX socket, for what only another implementation can prove."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

READY_S = 20.0  # only ever reached by a test that fails
_POLL_S = 0.01

_CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen unix:{folder}/socket{options};
        default_type text/plain;
        {server}
    }}
}}
"""


class Nginx:
    """One server block; use ``async with Nginx(server, options) as nginx``.

    options: of ``listen``, such as ``proxy_protocol`` or ``ssl``. server: directives of the server.
    """

    def __init__(self, server: str, options: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nginx-test-")
        self._server = server
        self._options = f" {options}" if options else ""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(self._folder.name, "socket")

    async def __aenter__(self) -> Nginx:
        folder = Path(self._folder.name)
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, options=self._options, server=self._server))
        self._process = await asyncio.create_subprocess_exec(
            "nginx",
            *("-c", str(config), "-p", str(folder), "-e", str(folder / "error.log")),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(READY_S):
                while not self.socket.exists():
                    if self._process.returncode is not None:
                        raise RuntimeError((folder / "error.log").read_text())
                    await asyncio.sleep(_POLL_S)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()
        self._folder.cleanup()
