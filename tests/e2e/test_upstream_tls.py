"""TLS towards upstreams (semantics 10.2 to 10.9): real servers with good and bad certificates behind the data path."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.routing.route import DEFAULT_RETRY, Destination
from gatewayd.tls.contexts import ClientContext
from gatewayd.tls.material import KeyPair, Material
from gatewayd.tls.spec import ClientTlsSpec
from gatewayd.upstream.dialer import NO_SECRET
from gatewayd.upstream.spec import EndpointSpec
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.in_process import InProcess, forward, request
from tests.support.nginx import Nginx
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder
from tests.support.tcp_in_process import TcpInProcess

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
UNVERIFIED = (
    "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_"
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    ca: dict[str, Any] = {"ca": "ca1", "key": "ec"}
    return CertificateFolder(
        tmp_path_factory.mktemp("certificates"),
        {
            "ca1": CertificateWish("ca1", is_ca=True, key="ec"),
            "ca2": CertificateWish("ca2", is_ca=True, key="ec"),
            "good": CertificateWish(
                "good", ["shop.test", "secure.test", "*.wild.test", "IP:127.0.0.1"], **ca
            ),
            "expired": CertificateWish("expired", ["shop.test"], days=-1, **ca),
            "wrong": CertificateWish("wrong", ["wrong.test"], **ca),
            "rogue": CertificateWish("rogue", ["shop.test"], ca="ca2", key="ec"),
            "client": CertificateWish("gw-client", ["gw.test"], **ca),
        },
    )


def holder(
    certificates: CertificateFolder, *, client: str = "", ca: str = "ca1", **fields: Any
) -> dict[str, Any]:
    """The fields of a ClusterSpec for TLS, as the compiler makes them."""
    fields.setdefault("verify_host", not (fields.get("sni") or fields.get("subject_alt_names")))
    fields.setdefault("alpn", ("http/1.1",))
    spec = ClientTlsSpec("DestinationRule default/up", "MUTUAL" if client else "SIMPLE", **fields)
    pairs: tuple[KeyPair, ...] = ()
    if client:
        pairs = (
            KeyPair(certificates.certificate(client).read_bytes(), certificates.key(client).read_bytes()),
        )
    material = Material(pairs, ca=certificates.certificate(ca).read_bytes())
    return {"tls_spec": spec, "tls": SimpleNamespace(context=ClientContext(spec, material), problem="")}


def secure(certificates: CertificateFolder, name: str = "good", client_ca: str | None = None) -> Recorder:
    return Recorder(
        name, "https", certificates.server_context(name, alpn=["h2", "http/1.1"], client_ca=client_ca)
    )


def at(nginx: Nginx) -> tuple[EndpointSpec, ...]:
    return (EndpointSpec(f"unix:{nginx.socket}", 0),)


def once(cluster: Any) -> Any:
    """A route that does not try again."""
    return forward(cluster, retry=None)


async def get(proxy: InProcess, host: str = "shop.test", path: str = "/") -> Any:
    return (await RawClient(proxy.port).http(request(path=path, host=host), observe_s=0)).response


# -- what is said and what is believed -----------------------------------------------------------------


@BOTH_LOOPS
async def test_10_2_the_sni_that_is_set_is_said_whatever_the_host(certificates: CertificateFolder) -> None:
    """Golden 10_upstream_tls simple-sni; 10.3: then only the chain is verified."""
    async with (
        secure(certificates) as up,
        InProcess([up.port], **holder(certificates, sni="given.test")) as proxy,
    ):
        for host in ("shop.test", "notincert.test"):
            assert (await get(proxy, host)).body == b"good"
        assert [(seen.tls or {})["sni"] for seen in up.seen] == ["given.test", "given.test"]
        assert (up.seen[0].tls or {})["alpn"] == "http/1.1"
        assert (up.seen[0].tls or {})["version"] == "TLSv1.3"
        assert up.connections == 1
        record = (await proxy.logged(2))[0]
        assert record.upstream_host == f"127.0.0.1:{up.port}"
        assert record.upstream_local_address.startswith("127.0.0.1:")
        assert record.transport_failure == ""


async def test_10_2_without_one_it_is_the_host_of_each_request(certificates: CertificateFolder) -> None:
    """Without port; connections are shared among requests for one name only."""
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates)) as proxy:
        for host in ("shop.test", "SHOP.test:8080", "secure.test", "shop.test", "a.wild.test"):
            assert (await get(proxy, host)).status == 200
        assert [(seen.tls or {})["sni"] for seen in up.seen] == [
            "shop.test",
            "shop.test",
            "secure.test",
            "shop.test",
            "a.wild.test",
        ]
        assert [seen.connection for seen in up.seen] == [1, 1, 2, 1, 3]


async def test_10_2_it_is_the_host_after_rewrites(certificates: CertificateFolder) -> None:
    def rewritten(cluster: Any) -> Any:
        return forward(cluster, destination=Destination(cluster, cluster.name, authority=b"secure.test"))

    async with (
        secure(certificates) as up,
        InProcess([up.port], route=rewritten, **holder(certificates)) as proxy,
    ):
        assert (await get(proxy, "elsewhere.test")).status == 200
        assert (up.seen[0].tls or {})["sni"] == "secure.test"
        assert up.seen[0].values("host") == ["secure.test"]


async def test_10_2_an_address_is_not_said_but_verified(certificates: CertificateFolder) -> None:
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates)) as proxy:
        assert (await get(proxy, "127.0.0.1:8080")).status == 200
        assert "sni" not in (up.seen[0].tls or {})
        assert (await get(proxy, "127.0.0.2")).status == 503


@pytest.mark.parametrize("host", ["notincert.test", "a.b.wild.test", "wild.test", ":443", "a" * 70 + ".test"])
async def test_10_3_the_certificate_must_be_for_the_host(certificates: CertificateFolder, host: str) -> None:
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates)) as proxy:
        assert (await get(proxy, host)).status == 503
        assert up.seen == []


async def test_10_3_or_carry_one_of_the_names_that_are_set(certificates: CertificateFolder) -> None:
    """Golden simple-sans: the SNI still follows the Host."""
    names: dict[str, Any] = {"subject_alt_names": ("secure.test",)}
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates, **names)) as proxy:
        assert (await get(proxy, "notincert.test")).status == 200
        assert (up.seen[0].tls or {})["sni"] == "notincert.test"
    names = {"subject_alt_names": ("other.test",)}
    async with (
        secure(certificates, "wrong") as up,
        InProcess([up.port], route=once, **holder(certificates, **names)) as proxy,
    ):
        assert (await get(proxy)).status == 503
        assert up.seen == []
        (record,) = await proxy.logged(1)
        assert "SAN_matcher,_certificate_SANs_are_[wrong.test]" in record.transport_failure


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("expired", "certificate_has_expired"),
        ("rogue", "unable_to_get_local_issuer_certificate"),
        ("wrong", "verify_SAN_list,_expected_SANs:_[shop.test],_certificate_SANs:_[wrong.test]"),
    ],
)
async def test_10_9_a_certificate_that_is_not_believed(
    certificates: CertificateFolder, name: str, why: str
) -> None:
    """Golden simple-system-roots: 503 UF, the reason in details and log, not in the body."""
    async with (
        secure(certificates, name) as up,
        InProcess([up.port], route=once, **holder(certificates)) as proxy,
    ):
        response = await get(proxy)
        assert response.status == 503
        assert response.body == (
            b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
        )
        (record,) = await proxy.logged(1)
        assert record.flags == "UF"
        assert record.transport_failure.startswith(UNVERIFIED)
        assert why in record.transport_failure
        assert record.details == (
            "upstream_reset_before_response_started{remote_connection_failure|"
            + record.transport_failure
            + "}"
        )
        assert up.seen == []


@pytest.mark.parametrize("name", ["expired", "rogue", "wrong"])
async def test_10_4_unless_nothing_is_verified(certificates: CertificateFolder, name: str) -> None:
    tls = holder(certificates, insecure_skip_verify=True, verify_host=False)
    async with secure(certificates, name) as up, InProcess([up.port], **tls) as proxy:
        assert (await get(proxy)).status == 200


async def test_10_9_a_failed_handshake_is_tried_again_by_the_default_policy(
    certificates: CertificateFolder,
) -> None:

    def retried(cluster: Any) -> Any:
        return forward(cluster, retry=DEFAULT_RETRY)

    async with (
        secure(certificates, "rogue") as up,
        InProcess([up.port], route=retried, **holder(certificates)) as proxy,
    ):
        response = await get(proxy)
        assert response.body.endswith(b"retried and the latest reset reason: remote connection failure")
        (record,) = await proxy.logged(1)
        assert (record.flags, record.attempts) == ("URX,UF", 3)


# -- what we show --------------------------------------------------------------------------------------


@BOTH_LOOPS
async def test_10_6_mutual_shows_the_certificate(certificates: CertificateFolder) -> None:
    async with (
        secure(certificates, client_ca="ca1") as up,
        InProcess([up.port], **holder(certificates, client="client")) as proxy,
    ):
        assert (await get(proxy)).status == 200
        shown = bytes.fromhex((up.seen[0].tls or {})["peer_cert_der"])
        expected = ssl.PEM_cert_to_DER_cert(certificates.certificate("client").read_text())
        assert shown == expected


async def test_a_server_that_wants_a_certificate_gets_no_request_without_one(
    certificates: CertificateFolder,
) -> None:
    async with (
        secure(certificates, client_ca="ca1") as up,
        InProcess([up.port], route=once, **holder(certificates)) as proxy,
    ):
        assert (await get(proxy)).status == 503
        (record,) = await proxy.logged(1)
        assert record.flags in ("UF", "UC")  # with TLS 1.3 the refusal comes when we think we are through
        assert up.seen == []


async def test_nginx_agrees_on_who_we_are_and_what_we_want(certificates: CertificateFolder) -> None:
    """Another implementation: client certificate, SNI, HTTP/1.1 on a kept connection."""
    folder = certificates.folder
    server = f"""
        ssl_certificate {folder}/good.pem; ssl_certificate_key {folder}/good.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_client_certificate {folder}/ca1.pem; ssl_verify_client on;
        location / {{ return 200 "$ssl_client_s_dn $ssl_server_name $ssl_protocol $connection_requests"; }}"""
    async with Nginx(server, "ssl") as nginx:
        tls = holder(certificates, client="client")
        async with InProcess([], endpoints=at(nginx), **tls) as proxy:
            assert (await get(proxy)).body == b"CN=gw-client shop.test TLSv1.3 1"
            assert (await get(proxy)).body == b"CN=gw-client shop.test TLSv1.3 2"


async def test_10_11_the_proxy_header_comes_before_the_handshake(certificates: CertificateFolder) -> None:
    folder = certificates.folder
    server = f"""
        ssl_certificate {folder}/good.pem; ssl_certificate_key {folder}/good.key;
        location / {{ return 200 "$proxy_protocol_addr $ssl_server_name"; }}"""
    for version in ("V1", "V2"):
        async with Nginx(server, "ssl proxy_protocol") as nginx:
            tls = holder(certificates)
            async with InProcess([], endpoints=at(nginx), proxy_protocol=version, **tls) as proxy:
                assert (await get(proxy)).body == b"127.0.0.1 shop.test"


# -- handshakes that do not come to an end -------------------------------------------------------------

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[int]:
    """Something on a port that is no TLS server."""
    tasks: set[asyncio.Task[Any]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


@BOTH_LOOPS
async def test_a_handshake_that_hangs_ends_with_the_connect_timeout(certificates: CertificateFolder) -> None:
    """8.3.2: TCP and TLS share it."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        ended.set()

    async with (
        server(silent) as port,
        InProcess([port], route=once, connect_timeout_s=0.1, **holder(certificates)) as proxy,
    ):
        response = await get(proxy)
        assert response.body.endswith(b"reset reason: connection timeout")
        (record,) = await proxy.logged(1)
        assert (record.flags, record.transport_failure) == ("UF", "")
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_server_that_talks_for_ever_does_not_prolong_it(certificates: CertificateFolder) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x16\x03\x03\x40\x00")  # a long record, in drops
        while True:
            writer.write(b"\x02")
            await asyncio.sleep(0.01)

    async with (
        server(trickle) as port,
        InProcess([port], route=once, connect_timeout_s=0.15, **holder(certificates)) as proxy,
    ):
        assert (await get(proxy)).body.endswith(b"reset reason: connection timeout")


@BOTH_LOOPS
@pytest.mark.parametrize("when", ["at once", "after the ClientHello"])
async def test_an_upstream_that_closes_in_the_handshake(certificates: CertificateFolder, when: str) -> None:
    async def close(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        if when != "at once":
            await reader.read(65536)

    async with server(close) as port, InProcess([port], route=once, **holder(certificates)) as proxy:
        response = await get(proxy)
        assert response.body.endswith(b"reset reason: remote connection failure")
        (record,) = await proxy.logged(1)
        assert record.flags == "UF"
        # A close with bytes unread is a reset, and Envoy has words for that only.
        assert record.transport_failure in (
            "",
            "TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end",
        )


async def test_an_upstream_that_resets_in_the_handshake(certificates: CertificateFolder) -> None:
    async with Recorder("x", "tcp") as up, InProcess([up.port], route=once, **holder(certificates)) as proxy:
        up.play({"reset": "before_headers"})
        assert (await get(proxy)).status == 503
        (record,) = await proxy.logged(1)
        assert record.flags == "UF"
        assert record.transport_failure == (
            "TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end"
        )


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 64, b"220 mail.test ESMTP\r\n"]
)
async def test_an_upstream_that_does_not_speak_tls(certificates: CertificateFolder, answer: bytes) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        await writer.drain()

    async with server(plain) as port, InProcess([port], route=once, **holder(certificates)) as proxy:
        assert (await get(proxy)).status == 503
        (record,) = await proxy.logged(1)
        assert record.flags == "UF"
        assert record.transport_failure == (
            "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
        )


@BOTH_LOOPS
async def test_failed_handshakes_leave_nothing_behind(certificates: CertificateFolder) -> None:
    """Neither descriptors nor tasks, however they fail."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    tls = holder(certificates)
    async with (
        secure(certificates, "rogue") as up,
        server(silent) as port,
        InProcess([up.port], route=once, **tls) as rogue,
        InProcess([port], route=once, connect_timeout_s=0.02, **tls) as slow,
    ):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            answers = await asyncio.gather(get(rogue), get(slow))
            assert [response.status for response in answers] == [503, 503]
        await rogue.until(lambda: len(os.listdir("/proc/self/fd")) <= before, 20.0)
        for proxy in (rogue, slow):
            assert proxy.endpoint.connecting == 0
            assert not proxy.endpoint.connections
            proxy.tick()
            assert repr(proxy.endpoint.pools).startswith("keys 0")


@BOTH_LOOPS
async def test_the_process_may_end_in_the_middle_of_a_handshake(certificates: CertificateFolder) -> None:
    ended = asyncio.Event()
    began = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            began.set()
        ended.set()

    async with server(silent) as port:
        async with InProcess([port], **holder(certificates)) as proxy:
            client = asyncio.ensure_future(RawClient(proxy.port).http(request(host="shop.test"), observe_s=0))
            async with asyncio.timeout(20):
                await began.wait()
        async with asyncio.timeout(20):
            await ended.wait()
            assert not (await client).responses


async def test_nobody_listens(certificates: CertificateFolder) -> None:
    async with InProcess([1], route=once, **holder(certificates)) as proxy:
        assert (await get(proxy)).status == 503
        (record,) = await proxy.logged(1)
        assert record.transport_failure == "delayed_connect_error:_Connection_refused"


# -- credentials ---------------------------------------------------------------------------------------


async def test_3_13_without_a_credential_nothing_is_sent(certificates: CertificateFolder) -> None:
    """503 UF; what appears later serves from then on, without a new configuration."""
    tls = holder(certificates)
    context, tls["tls"].context = tls["tls"].context, None
    async with secure(certificates) as up, InProcess([up.port], route=once, **tls) as proxy:
        response = await get(proxy)
        assert response.body.endswith(b"reset reason: remote connection failure")
        (record,) = await proxy.logged(1)
        assert (record.flags, record.transport_failure) == ("UF", NO_SECRET)
        assert record.details.endswith("{remote_connection_failure|TLS_error:_Secret_is_not_supplied_by_SDS}")
        assert up.connections == 0
        tls["tls"].context = context
        assert (await get(proxy)).status == 200


async def test_a_new_certificate_is_for_new_connections(certificates: CertificateFolder) -> None:
    tls = holder(certificates, sni="shop.test")
    async with secure(certificates) as up, InProcess([up.port], route=once, **tls) as proxy:
        assert (await get(proxy)).status == 200
        tls["tls"].context = holder(certificates, sni="shop.test", ca="ca2")["tls"].context
        assert (await get(proxy)).status == 200, "the open connection stays"
        proxy.endpoint.sweep(1e12)
        assert (await get(proxy)).status == 503
        assert len(up.seen) == 2


# -- traffic -------------------------------------------------------------------------------------------


@BOTH_LOOPS
@pytest.mark.parametrize("sni", ["shop.test", ""])
async def test_many_requests_need_one_handshake(certificates: CertificateFolder, sni: str) -> None:
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates, sni=sni)) as proxy:
        client = RawClient(proxy.port)
        outcome = await client.http(request(host="shop.test") * 20, responses=20, observe_s=0)
        assert [response.status for response in outcome.responses] == [200] * 20
        assert {(await get(proxy)).status for _ in range(5)} == {200}
        assert up.connections == 1
        assert len(proxy.endpoint.connections) == 1


@BOTH_LOOPS
async def test_large_bodies_pass_both_ways(certificates: CertificateFolder) -> None:
    body = bytes(range(256)) * 8192  # 2 MiB
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates)) as proxy:
        up.play({"body": body.decode("latin-1")})
        outcome = await RawClient(proxy.port).http(request("POST", "/", body, host="shop.test"), observe_s=0)
        assert outcome.response.body == body
        assert up.seen[0].body == body
        assert up.seen[0].truncated is False
        assert (await get(proxy)).body == body
        assert up.connections == 1


async def test_an_idle_connection_the_upstream_closes_is_not_used_again(
    certificates: CertificateFolder,
) -> None:
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates)) as proxy:
        up.play([{"then": "close"}, {}])
        assert (await get(proxy)).status == 200
        await proxy.until(lambda: not proxy.endpoint.connections)
        assert (await get(proxy)).status == 200
        assert up.connections == 2


async def test_a_body_that_ends_with_the_connection(certificates: CertificateFolder) -> None:
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates)) as proxy:
        up.play({"until_close": True, "body": "x" * 100_000})
        assert (await get(proxy)).body == b"x" * 100_000


@BOTH_LOOPS
async def test_an_upgraded_connection(certificates: CertificateFolder) -> None:
    async with secure(certificates) as up, InProcess([up.port], **holder(certificates)) as proxy:
        up.play({"upgrade": "websocket"})
        head = request(host="shop.test", headers=["connection: upgrade", "upgrade: websocket"])
        outcome = await RawClient(proxy.port).http(head, tunnel=b"frames")
        assert outcome.response.status == 101
        assert outcome.response.tunnel == b"echo:frames"


# -- TCP routes ----------------------------------------------------------------------------------------


@BOTH_LOOPS
async def test_10_7_tcp_routes_go_through_tls_too(certificates: CertificateFolder) -> None:
    """Without a Host there is no SNI but the one that is set, and half close is kept."""
    tls_facts: list[tuple[str | None, str | None]] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = writer.get_extra_info("ssl_object")
        tls_facts.append((getattr(session, "noted_sni", None), session.selected_alpn_protocol()))
        data = await reader.readexactly(100_000)
        writer.write(data[::-1])
        await writer.drain()
        writer.close()

    context = certificates.server_context("good", alpn=["h2", "http/1.1"])
    listening = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    port = int(listening.sockets[0].getsockname()[1])
    for sni in ("given.test", ""):
        tls = holder(certificates, sni=sni, alpn=())
        async with TcpInProcess([port], **tls) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            data = bytes(range(250)) * 400
            writer.write(data)
            async with asyncio.timeout(20):
                assert await reader.read(-1) == data[::-1]
            writer.close()
            record = await proxy.logged()
            assert (record.flags, record.bytes_received, record.bytes_sent) == ("", 100_000, 100_000)
    assert tls_facts == [("given.test", None), (None, None)]
    listening.close()
    await listening.wait_closed()


async def test_a_tcp_route_whose_upstream_is_not_believed(certificates: CertificateFolder) -> None:
    async with (
        secure(certificates, "rogue") as up,
        TcpInProcess([up.port], **holder(certificates, sni="shop.test")) as proxy,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        async with asyncio.timeout(20):
            assert await reader.read(-1) == b""
        writer.close()
        record = await proxy.logged()
        assert record.flags == "UF,URX"
        assert record.transport_failure.startswith(UNVERIFIED)
        assert up.seen == []
