"""The systemd units: correct, tight, and gatewayd lives within them.

systemd itself is asked what it thinks of them (``systemd-analyze``); a process confined as the unit says serves.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.units import INSTALLED, ROOT, SERVICE, allowed_calls, analyze, settings, values
from tests.runtime.running import GATEWAY
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

SOCKET = ROOT / "deploy" / "gatewayd.socket"
#: what the unit may score at most, of 10
EXPOSURE = 2.0
PROGRAM = str(Path(sys.executable).with_name("gatewayd"))

SITE = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ["*"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, bind: 127.0.0.1, hosts: ["*"],
     tls: {mode: MUTUAL, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: default}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http: [{route: [{destination: {host: localhost, port: {number: PORT}}}]}]
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they would be with gatewayd where they look for it: nothing is installed for a test."""
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in (SERVICE, SOCKET):
        (folder / unit.name).write_text(unit.read_text().replace(INSTALLED, PROGRAM))
    return folder


def test_systemd_has_nothing_to_say_about_them(installed: Path) -> None:
    said = analyze("verify", installed / SERVICE.name, installed / SOCKET.name)
    assert (said.returncode, said.stderr) == (0, "")


def test_a_mistake_would_be_said(installed: Path) -> None:
    unit = installed / SERVICE.name
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "ProtectClok" in analyze("verify", unit).stderr


def test_the_service_is_exposed_as_little_as_promised(installed: Path) -> None:
    said = analyze("security", "--offline=true", "--no-pager", installed / SERVICE.name)
    found = re.search(r"Overall exposure level for gatewayd\.service: ([\d.]+)", said.stdout)
    assert found, said.stderr
    assert float(found[1]) <= EXPOSURE, said.stdout
    limit = round(EXPOSURE * 10)
    assert analyze(
        "security", "--offline=true", f"--threshold={limit}", installed / SERVICE.name
    ).returncode == 0  # fmt: skip


def test_of_roots_powers_it_has_one(installed: Path) -> None:
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert values(SERVICE, key) == ["CAP_NET_BIND_SERVICE"]
    assert values(SERVICE, "DynamicUser") == ["yes"]


def test_what_it_runs_is_what_gatewayd_understands(tmp_path: Path) -> None:
    """Each command line of the unit, with the folder it names put elsewhere."""
    (tmp_path / "site.yaml").write_text(GATEWAY)
    lines = [line for key in ("ExecStartPre", "ExecReload") for line in values(SERVICE, key)]
    mine = [line.split() for line in lines if line.startswith(INSTALLED)]
    assert [words[1:] for words in mine] == [["validate", "/etc/gatewayd"]] * 2
    for words in mine:
        done = subprocess.run([PROGRAM, words[1], tmp_path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    assert values(SERVICE, "ExecStart") == [f"{INSTALLED} run /etc/gatewayd"]


def test_a_reload_validates_before_it_signals() -> None:
    validate, signal = values(SERVICE, "ExecReload")
    assert validate.startswith(f"{INSTALLED} validate ")
    assert signal == "/bin/kill -HUP $MAINPID"


def test_a_stop_may_take_as_long_as_a_drain() -> None:
    """At least --shutdown-time, 60 s unless it is set; for more the process asks by itself."""
    assert int(values(SERVICE, "TimeoutStopSec")[0]) > 60


def test_the_socket_unit_opens_addresses_as_gatewayd_does() -> None:
    listened = values(SOCKET, "ListenStream", "Socket")
    assert {address.rpartition(":")[0] for address in listened} == {"0.0.0.0", "[::]"}
    assert values(SOCKET, "BindIPv6Only", "Socket") == ["ipv6-only"]
    assert not [value for key, value in settings(SOCKET, "Socket") if key == "Service"]  # of its own name


class Confined(GatewayProcess):
    """gatewayd with only the system calls, sockets and memory that the unit leaves it."""

    command = (
        sys.executable, "-m", "tests.deploy.confined", str(SERVICE), "--", sys.executable, "-m", "gatewayd",
    )  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
async def test_within_the_unit_it_serves_reloads_and_drains(tmp_path: Path, workers: int) -> None:
    """HTTP, HTTPS with clients' certificates, an upstream by DNS, files as ``LoadCredential=shop:DIR`` has them."""
    wishes = {"shop": CertificateWish("shop.test", ["shop.test"]), "client": CertificateWish("client")}
    made = CertificateFolder(tmp_path / "made", wishes)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "shop_tls.crt").write_bytes(made.certificate("shop").read_bytes())
    (credentials / "shop_tls.key").write_bytes(made.key("shop").read_bytes())
    (credentials / "shop_ca.crt").write_bytes(made.certificate("client").read_bytes())
    site = tmp_path / "site"
    site.mkdir()
    known = made.client_context(trust="shop", client_cert="client", alpn=["http/1.1"])
    stranger = made.client_context(trust="shop", client_cert="shop")
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}
    request = b"GET /one HTTP/1.1\r\nhost: shop.test\r\n\r\n"
    async with Recorder("up") as up:
        (site / "all.yaml").write_text(SITE.replace("PORT", str(up.port)))
        flags = ["--workers", str(workers)]
        async with Confined([site], listen=[80, 443], hosts=["127.0.0.1"], env=env, flags=flags) as gateway:
            plain = await RawClient(gateway.port(80)).http(request)
            assert plain.responses[0].body == b"up"
            secure = await RawClient(gateway.port(443), tls=known, sni="shop.test").http(request)
            assert secure.responses[0].body == b"up"
            refused = await RawClient(gateway.port(443), tls=stranger, sni="shop.test").http(request)
            assert not refused.responses
            assert len(await gateway.log_lines(2)) == 2
            gateway.signal(signal.SIGHUP)
            await until(gateway, lambda: "reload 1: nothing changed" in gateway.stderr_text())
            if workers > 1:
                gateway.signal(signal.SIGUSR2)
                await until(gateway, lambda: gateway.stderr_text().count("  workers   processes") == 2)
                again = await RawClient(gateway.port(80)).http(request)
                assert again.responses[0].body == b"up"
            gateway.signal(signal.SIGTERM)
            await until(gateway, lambda: gateway.exit_code is not None)
            assert gateway.exit_code == 0
            assert "Operation not permitted" not in gateway.stderr_text()


async def until(gateway: GatewayProcess, condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, gateway.stderr_text()
        await asyncio.sleep(0.01)


class TestTheConfinement:
    """That the test above would fail if gatewayd asked for more."""

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import os; os.chroot('/')", "Operation not permitted"),
            ("import os; os.sched_setaffinity(0, {0})", "Operation not permitted"),
            ("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "Address family"),
            (
                "import mmap; mmap.mmap(-1, 9, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
                "Operation not permitted",
            ),
            ("import socket; socket.socket(); print('fine')", "fine"),
        ],
    )
    def test_it_is_one(self, code: str, said: str) -> None:
        words = [
            sys.executable,
            "-m",
            "tests.deploy.confined",
            str(SERVICE),
            "--",
            sys.executable,
            "-c",
            code,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
        assert said in done.stdout + done.stderr

    def test_the_filter_is_the_units(self) -> None:
        calls = allowed_calls(SERVICE)
        assert {"epoll_wait", "accept4", "execve", "memfd_create", "prlimit64", "splice"} <= calls
        assert not calls & {"mount", "ptrace", "setuid", "chroot", "reboot", "init_module", "add_key", "bpf"}
