"""Starting: what is said, what is refused with which exit code (product.md section 2)."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest

from tests.runtime.running import DIRECT, GATEWAY, configuration, get, running, serve

BROKEN_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken, namespace: shop}
spec:
  hosts: ["shop.test"]
  gateways: [istio-system/edge]
  htttp: []
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configuration(tmp_path)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_it_serves_and_says_what_is_served_where(folder: Path, loop: str) -> None:
    async with serve(folder, env={"GATEWAYD_LOOP": loop}) as gatewayd:
        port, status = await gatewayd.ready()
        code, _, body = await get(port, "/direct/x")
        assert (code, body) == (200, b"hello")
        code, _, body = await get(status, "/healthz/ready")
        assert (code, body) == (200, b"ready\n")
        assert f"http://127.0.0.1:{port}" in gatewayd.said
        assert "Gateway port 80 of istio-system/edge" in gatewayd.said
        assert "hosts: shop.test" in gatewayd.said
        assert "2 files" in gatewayd.said


async def test_the_port_of_the_map_is_bound_and_shown(folder: Path) -> None:
    async with running(
        "run",
        folder,
        "--port-map",
        "80=0",
        "--status",
        "off",
        "--bind",
        "127.0.0.1,::1",
        "--access-log",
        "off",
    ) as gatewayd:
        found = await gatewayd.until_said(r"listener +http://127\.0\.0\.1:(\d+) +http://\[::1\]:(\d+)")
        assert found[1] == found[2]
        assert (await get(int(found[1]), "/direct"))[0] == 200
        assert "status" not in gatewayd.said


async def test_a_resource_with_an_error_is_set_aside_loudly_and_the_rest_is_served(tmp_path: Path) -> None:
    configuration(tmp_path, GATEWAY, DIRECT, BROKEN_SERVICE)
    async with serve(tmp_path) as gatewayd:
        port, _ = await gatewayd.ready()
        assert (await get(port, "/direct"))[0] == 200
        assert 'unknown field "htttp"' in gatewayd.said
        assert f"--> {tmp_path}/2.yaml:7:3" in gatewayd.said
        assert "!! NOT SERVED: 1 document set aside because of 1 error" in gatewayd.said
        assert re.search(r"!!   VirtualService shop/broken \(.*2\.yaml:1\)", gatewayd.said)


async def test_documents_may_come_from_stdin() -> None:
    async with serve("-", stdin=asyncio.subprocess.PIPE) as gatewayd:
        assert gatewayd.process.stdin is not None
        gatewayd.process.stdin.write(f"{GATEWAY}---\n{DIRECT}".encode())
        gatewayd.process.stdin.close()
        port, _ = await gatewayd.ready()
        assert (await get(port, "/direct"))[0] == 200


async def refused(*words: str | Path) -> tuple[int, str]:
    """Exit code and last words of a start that fails."""
    async with running("run", *words) as gatewayd:
        return await gatewayd.ended(), gatewayd.said


async def test_a_missing_path_exits_65(tmp_path: Path) -> None:
    code, said = await refused(tmp_path / "none")
    assert code == 65
    assert "none" in said
    assert "gatewayd: nothing to serve:" in said


async def test_files_that_cannot_be_parsed_exit_65(tmp_path: Path) -> None:
    code, said = await refused(configuration(tmp_path, "a: [1\nb: }"))
    assert code == 65
    assert f"{tmp_path}/0.yaml:2" in said


async def test_an_empty_folder_exits_78(tmp_path: Path) -> None:
    code, said = await refused(tmp_path)
    assert code == 78
    assert "nothing to serve: there is no *.yaml, *.yml or *.json file" in said


async def test_no_gateway_exits_78_and_says_so(tmp_path: Path) -> None:
    code, said = await refused(configuration(tmp_path, DIRECT))
    assert code == 78
    assert "nothing to serve: there is no Gateway and no Ingress" in said


async def test_nothing_but_errors_exits_78(tmp_path: Path) -> None:
    code, said = await refused(configuration(tmp_path, GATEWAY.replace("servers", "serverz")))
    assert code == 78
    assert "serverz" in said
    assert "no Gateway and no Ingress free of errors" in said


async def test_a_gateway_for_other_labels_exits_78(tmp_path: Path) -> None:
    selective = GATEWAY.replace("spec:\n", "spec:\n  selector: {app: other}\n")
    code, said = await refused(configuration(tmp_path, selective), "--labels", "app=edge")
    assert code == 78
    assert "no Gateway server and no Ingress opens a port" in said


async def test_a_broken_mesh_config_is_not_replaced_by_defaults(folder: Path, tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.conf"
    mesh.write_text("connectTimeout: soon\n")
    code, said = await refused(folder, "--mesh-config", mesh)
    assert code == 78
    assert "soon" in said
    assert f"--mesh-config {mesh} has an error" in said


async def test_a_port_in_use_exits_77_and_names_the_flag(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await refused(
            folder, "--port-map", f"80={port}", "--bind", "127.0.0.1", "--status", "off"
        )
    assert code == 77
    assert f"gatewayd: cannot bind 127.0.0.1:{port}: address already in use" in said
    assert "--port-map 80=" in said


async def test_a_busy_status_port_exits_77_and_names_the_flag(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = await refused(folder, "--port-map", "80=0", "--status", address)
    assert code == 77
    assert f"status port: cannot bind {address}: address already in use: --status" in said


async def test_all_ports_that_cannot_be_bound_are_named_at_once(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [sock.getsockname()[1] for sock in (one, two)]
        code, said = await refused(
            folder, "--port-map", f"80={ports[0]}", "--bind", "127.0.0.1", "--status", f"127.0.0.1:{ports[1]}"
        )
    assert code == 77
    assert said.count("gatewayd: ") == 2
    assert all(f"127.0.0.1:{port}" in said for port in ports)


async def test_an_access_log_that_cannot_be_opened_exits_1(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "none" / "log"
    code, said = await refused(folder, "--access-log", path, "--port-map", "80=0", "--status", "off")
    assert code == 1
    assert f"gatewayd: --access-log {path}: no such file or directory" in said


async def test_a_wrong_flag_exits_64(folder: Path) -> None:
    code, said = await refused(folder, "--endpoint", "reviews")
    assert code == 64
    assert "'reviews': expected HOST=ADDRESS:PORT" in said


async def test_an_unknown_destination_that_dns_does_not_know_delays_but_does_not_prevent_the_start(
    folder: Path,
) -> None:
    async with serve(folder) as gatewayd:
        port, _ = await gatewayd.ready()
        assert (await get(port, "/direct"))[0] == 200
        assert (await get(port, "/elsewhere"))[0] == 503
