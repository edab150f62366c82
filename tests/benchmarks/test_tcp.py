"""The TCP scenarios: four proxies told the same, and peers that notice when something is missing."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.macro import tcp_peers, tcp_proxies
from benchmarks.macro.tcp_proxies import TcpLaunch
from gatewayd.tls.client_hello import ClientHello, read_client_hello


def launch(folder: Path, name: str = "") -> TcpLaunch:
    return TcpLaunch(folder, 9000, 8000, name)


def by_kind(text: str) -> dict[str, Any]:
    return {document["kind"]: document["spec"] for document in yaml.safe_load_all(text)}


def test_gatewayd_is_told_a_tcp_server_or_a_name_to_pass_through(tmp_path: Path) -> None:
    plain = by_kind(tcp_proxies.istio_text(launch(tmp_path)))
    assert plain["Gateway"]["servers"][0]["port"]["protocol"] == "TCP"
    assert "tcp" in plain["VirtualService"]
    assert plain["ServiceEntry"]["ports"][0]["targetPort"] == 8000
    named = by_kind(tcp_proxies.istio_text(launch(tmp_path, "through.test")))
    assert named["Gateway"]["servers"][0]["tls"] == {"mode": "PASSTHROUGH"}
    assert named["VirtualService"]["tls"][0]["match"][0]["sniHosts"] == ["through.test"]


@pytest.mark.parametrize("name", ["", "through.test"], ids=["plain", "by name"])
def test_all_proxies_lead_to_the_same_upstream_and_look_at_the_name_if_it_counts(
    tmp_path: Path, name: str
) -> None:
    chosen = launch(tmp_path, name)
    texts = [
        maker(chosen) for maker in (tcp_proxies.nginx_text, tcp_proxies.haproxy_text, tcp_proxies.envoy_text)
    ]
    for text in texts:
        assert ("through.test" in text) == bool(name)
        assert "9000" in text
        assert "8000" in text
    nginx, haproxy, envoy = texts
    assert ("ssl_preread on" in nginx) == bool(name)
    assert ("req.ssl_sni" in haproxy) == bool(name)
    assert "option splice-response" in haproxy
    listener = json.loads(envoy)["static_resources"]["listeners"][0]
    assert ("listener_filters" in listener) == bool(name)


def test_each_proxy_keeps_an_access_log(tmp_path: Path) -> None:
    chosen = launch(tmp_path)
    assert f"access_log {chosen.log}" in tcp_proxies.nginx_text(chosen)
    assert "option tcplog" in tcp_proxies.haproxy_text(chosen)
    assert str(chosen.log) in tcp_proxies.envoy_text(chosen)
    (tmp_path / "run").mkdir()
    command = tcp_proxies.gatewayd_command(launch(tmp_path / "run"))
    assert command[command.index("--access-log") + 1] == str(tmp_path / "run" / "access.log")


def test_the_hello_names_its_server() -> None:
    hello = read_client_hello(tcp_peers.client_hello("through.test"))
    assert isinstance(hello, ClientHello)
    assert hello.server_name == "through.test"


def _serve(answer: bytes) -> int:
    """One connection is read from once and answered; the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one() -> None:
        client, _ = listener.accept()
        with client, listener:
            if answer:
                client.sendall(answer)
            else:
                client.sendall(client.recv(4096)[::-1])

    threading.Thread(target=one, daemon=True).start()
    return int(listener.getsockname()[1])


def test_a_transfer_that_falls_short_is_an_error() -> None:
    assert tcp_peers.take(_serve(b"x" * 1000), 1000)["errors"] == 0
    assert tcp_peers.take(_serve(b"x" * 999), 1000)["errors"] == 1


def test_a_message_that_comes_back_changed_is_an_error() -> None:
    result = tcp_peers.pingpong(_serve(b""), 1, 5.0)
    assert (result["count"], result["errors"]) == (0, 1)
