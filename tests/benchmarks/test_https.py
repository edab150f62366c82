"""The HTTPS scenarios: three proxies told the same, and a client that notices what is wrong."""

import contextlib
import json
import socket
import ssl
import threading
from itertools import islice
from pathlib import Path

import yaml

from benchmarks.macro import envoy, istio, nginx
from benchmarks.macro.certificates import over_tls
from benchmarks.macro.site import many_hosts_site, plain_site
from benchmarks.macro.tls_client import client_context, endless, visit


def test_every_host_has_a_certificate_of_its_own_and_its_key(tmp_path: Path) -> None:
    site = over_tls(many_hosts_site(3, 8080), tmp_path / "pairs")
    pairs = [host.certificate for host in site.hosts if host.certificate]
    assert len({pair.certificate.read_bytes() for pair in pairs}) == 3
    for pair in pairs:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.certificate, pair.private_key)


def test_each_proxy_is_told_every_certificate(tmp_path: Path) -> None:
    site = over_tls(many_hosts_site(3, 8080), tmp_path / "pairs")
    gateway = yaml.safe_load(next(iter(istio.documents(site))).split("---")[0])
    servers = gateway["spec"]["servers"]
    text = nginx.config(site, 9090, tmp_path, tmp_path / "log", buffered_log=True)
    listener = envoy.bootstrap(site, 9090, tmp_path / "log")["static_resources"]["listeners"][0]
    assert listener["listener_filters"][0]["name"] == "tls"
    for host, server, chain in zip(site.hosts, servers, listener["filter_chains"], strict=True):
        assert host.certificate is not None
        path = str(host.certificate.certificate)
        assert server["hosts"] == [host.host]
        assert server["tls"]["serverCertificate"] == path
        assert f"ssl_certificate {path};" in text
        assert chain["filter_chain_match"] == {"server_names": [host.host]}
        assert path in json.dumps(chain["transport_socket"])


def test_one_host_is_served_whatever_name_the_client_says(tmp_path: Path) -> None:
    site = over_tls(plain_site(8080), tmp_path / "pairs")
    gateway = yaml.safe_load(next(iter(istio.documents(site))).split("---")[0])
    assert gateway["spec"]["servers"][0]["hosts"] == ["*"]
    listener = envoy.bootstrap(site, 9090, tmp_path / "log")["static_resources"]["listeners"][0]
    assert "filter_chain_match" not in listener["filter_chains"][0]


def test_thousands_of_servers_are_spread_over_gateways_that_their_routes_name(tmp_path: Path) -> None:
    site = over_tls(many_hosts_site(501, 8080), tmp_path / "pairs")
    documents = [each for text in istio.documents(site) for each in yaml.safe_load_all(text)]
    servers = {
        server["hosts"][0]: each["metadata"]["name"]
        for each in documents
        if each["kind"] == "Gateway"
        for server in each["spec"]["servers"]
    }
    routes = {
        each["spec"]["hosts"][0]: each["spec"]["gateways"][0]
        for each in documents
        if each["kind"] == "VirtualService"
    }
    assert len(set(servers.values())) == 2
    assert routes == servers


def _answering_in_plain(connections: int) -> int:
    """A server that speaks no TLS; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for _ in range(connections):
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.recv(4096)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def test_an_answer_that_is_not_tls_is_an_error() -> None:
    result = visit(_answering_in_plain(1), 1, 60.0, iter(["a.test"]))
    assert (result["count"], result["errors"]) == (0, 1)


def test_each_name_is_tried_once_in_turn() -> None:
    result = visit(_answering_in_plain(3), 2, 60.0, iter(["a.test", "b.test", "c.test"]))
    assert (result["count"], result["errors"]) == (0, 3)
    assert list(islice(endless(["a.test"], 1.0), 3)) == ["a.test"] * 3


def test_only_the_newest_version_is_spoken() -> None:
    assert client_context().minimum_version == ssl.TLSVersion.TLSv1_3
