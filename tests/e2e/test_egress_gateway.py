"""gatewayd as the egress gateway, a real process: sites outside, straight and through a proxy (semantics 10.10).

Gateway, VirtualService, ServiceEntry and DestinationRule as they are written for Istio's egress gateway, with the
sidecars' half left in, which is none of its business.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.forward_proxy import ForwardProxy
from tests.support.gateway_process import GatewayProcess
from tests.support.in_process import request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

FLAGS = ["--labels", "istio=egressgateway", "--unknown-hosts", "reject"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    names = ["far.test", "proxy.test"]
    wishes = {
        "ca": CertificateWish("ca", is_ca=True, key="ec"),
        "site": CertificateWish("site", names, ca="ca", key="ec"),
    }
    return CertificateFolder(tmp_path_factory.mktemp("certificates"), wishes)


def gateway(*servers: str) -> str:
    listed = "\n".join(f"  - {{{server}}}" for server in servers)
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: istio-egressgateway}}
spec:
  selector: {{istio: egressgateway}}
  servers:
{listed}
"""


HTTP = 'port: {number: 80, name: http, protocol: HTTP}, hosts: ["far.test"]'
TCP = 'port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["far.test"]'
PASSTHROUGH = 'port: {number: 443, name: tls, protocol: TLS}, hosts: ["far.test"], tls: {mode: PASSTHROUGH}'


def entry(host: str, ports: str, address: str = "127.0.0.1") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host.partition(".")[0]}}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  ports: [{ports}]
  resolution: DNS
  endpoints: [{{address: {address}}}]
"""


def routes(block: str, match: str, destination: str) -> str:
    """Of a site outside: the sidecars' rule, and that of the egress gateway."""
    sni = "sniHosts: [far.test], " if block == "tls" else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: far-{block}}}
spec:
  hosts: [far.test]
  gateways: [mesh, istio-egressgateway]
  {block}:
  - match: [{{{sni}gateways: [mesh], port: 80}}]
    route: [{{destination: {{host: istio-egressgateway.istio-system.svc.cluster.local, port: {{number: 80}}}}}}]
  - match: [{{{sni}gateways: [istio-egressgateway], {match}}}]
    route: [{{destination: {{{destination}}}}}]
"""


def rule(host: str, body: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: rule-{host.partition(".")[0]}}}
spec:
  host: {host}
{body}
"""


def serve(folder: Path, *documents: str, listen: int) -> GatewayProcess:
    (folder / "config").mkdir()
    (folder / "config" / "all.yaml").write_text("---".join(documents))
    return GatewayProcess([folder / "config"], listen=[listen], flags=FLAGS, cwd=folder)


async def logged(running: GatewayProcess) -> dict[str, Any]:
    (line,) = await running.log_lines(1)
    record: dict[str, Any] = json.loads(line)
    return record


async def test_http_goes_out_and_only_to_declared_sites(tmp_path: Path) -> None:
    async with Recorder("far") as far:
        ports = f"{{number: 80, name: http, protocol: HTTP, targetPort: {far.port}}}"
        config = gateway(HTTP), entry("far.test", ports), routes("http", "port: 80", "host: far.test")
        async with serve(tmp_path, *config, listen=80) as running:
            client = RawClient(running.port(80))
            assert (await client.http(request(host="far.test"))).response.status == 200
            assert (await logged(running))["upstream_cluster"] == "outbound|80||far.test"
            assert (await client.http(request(host="other.test"))).response.status == 404
        assert [seen.values("host") for seen in far.seen] == [["far.test"]]


async def test_tls_goes_out_by_its_sni_unopened(tmp_path: Path, certificates: CertificateFolder) -> None:
    async with Recorder("far", "https", certificates.server_context("site")) as far:
        ports = f"{{number: 443, name: tls, protocol: TLS, targetPort: {far.port}}}"
        config = gateway(PASSTHROUGH), entry("far.test", ports), routes("tls", "port: 443", "host: far.test")
        async with serve(tmp_path, *config, listen=443) as running:
            context = certificates.client_context(trust="ca")
            client = RawClient(running.port(443), tls=context, sni="far.test")
            assert (await client.http(request(host="far.test"))).response.status == 200
            assert (await logged(running))["requested_server_name"] == "far.test"
            stranger = RawClient(running.port(443), tls=context, sni="proxy.test")
            assert (await stranger.http(request(host="proxy.test"))).outcome != "response"
        assert far.seen[0].tls is not None
        assert far.seen[0].tls["sni"] == "far.test"


async def test_tls_begins_at_the_egress_gateway(tmp_path: Path, certificates: CertificateFolder) -> None:
    async with Recorder("far", "https", certificates.server_context("site")) as far:
        plain = "{number: 80, name: http, protocol: HTTP}"
        ports = f"{plain}, {{number: 443, name: https, protocol: HTTPS, targetPort: {far.port}}}"
        trust = f"caCertificates: {certificates.certificate('ca')}, subjectAltNames: [far.test]"
        tls = f"{{mode: SIMPLE, sni: far.test, {trust}}}"
        policy = f"  trafficPolicy: {{portLevelSettings: [{{port: {{number: 443}}, tls: {tls}}}]}}"
        config = (
            gateway(HTTP),
            entry("far.test", ports),
            routes("http", "port: 80", "host: far.test, port: {number: 443}"),
            rule("far.test", policy),
        )
        async with serve(tmp_path, *config, listen=80) as running:
            response = (await RawClient(running.port(80)).http(request(host="far.test"))).response
            assert response.status == 200
        assert far.seen[0].tls is not None
        assert far.seen[0].tls["sni"] == "far.test"


# -- through another proxy ------------------------------------------------------------------------------------

SUBSET = """  subsets:
  - name: far
    trafficPolicy: {tunnel: {targetHost: far.test, targetPort: 7}}
"""


def _proxied(port: int) -> str:
    return entry("proxy.test", f"{{number: 3128, name: tcp, protocol: TCP, targetPort: {port}}}")


TO_PROXY = "host: proxy.test, subset: far, port: {number: 3128}"


async def test_tcp_goes_through_the_proxy_that_leads_there(tmp_path: Path) -> None:
    async with Recorder("far") as far, ForwardProxy({"far.test:7": far.port}) as proxy:
        config = (
            gateway(TCP),
            _proxied(proxy.port),
            routes("tcp", "port: 9000", TO_PROXY),
            rule("proxy.test", SUBSET),
        )
        async with serve(tmp_path, *config, listen=9000) as running:
            response = (await RawClient(running.port(9000)).http(request(host="far.test"))).response
            assert response.status == 200
            record = await logged(running)
            assert record["upstream_cluster"] == "outbound|3128|far|proxy.test"
            assert record["upstream_host"] == f"127.0.0.1:{proxy.port}"
        assert proxy.asked == ["far.test:7"]


async def test_a_proxy_that_refuses_is_told_in_the_log(tmp_path: Path) -> None:
    async with ForwardProxy({}) as proxy:
        config = (
            gateway(TCP),
            _proxied(proxy.port),
            routes("tcp", "port: 9000", TO_PROXY),
            rule("proxy.test", SUBSET),
        )
        async with serve(tmp_path, *config, listen=9000) as running:
            assert (await RawClient(running.port(9000)).http(request(host="far.test"))).outcome != "response"
            record = await logged(running)
            assert record["upstream_transport_failure_reason"] == "tunnel_response:403"
            assert record["response_flags"] == "UF,URX"


async def test_tls_goes_by_its_sni_through_a_proxy_that_is_spoken_to_in_tls(
    tmp_path: Path, certificates: CertificateFolder
) -> None:
    site = certificates.server_context("site")
    async with (
        Recorder("far", "https", site) as far,
        ForwardProxy({"far.test:7": far.port}, certificates.server_context("site")) as proxy,
    ):
        tls = f"mode: SIMPLE, sni: proxy.test, caCertificates: {certificates.certificate('ca')}"
        policy = (
            f"  trafficPolicy: {{portLevelSettings: [{{port: {{number: 3128}}, tls: {{{tls}}}}}]}}\n{SUBSET}"
        )
        config = (
            gateway(PASSTHROUGH),
            _proxied(proxy.port),
            routes("tls", "port: 443", TO_PROXY),
            rule("proxy.test", policy),
        )
        async with serve(tmp_path, *config, listen=443) as running:
            client = RawClient(running.port(443), tls=certificates.client_context(trust="ca"), sni="far.test")
            assert (await client.http(request(host="far.test"))).response.status == 200
        assert proxy.asked == ["far.test:7"]
        assert far.seen[0].tls is not None
        assert far.seen[0].tls["sni"] == "far.test"
