"""One port that takes TLS and plain text, and notes which came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cases.either_recorder import EitherRecorder
from tests.cases.loading import Call, Case
from tests.cases.routing import secure_backends
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.raw_client import RawClient

GET = b"GET /p HTTP/1.1\r\nhost: a.test\r\n\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> CertificateFolder:
    return CertificateFolder(tmp_path, {"up": CertificateWish("up", ["a.test"], key="ec")})


@pytest.fixture
async def either(folder: CertificateFolder) -> AsyncIterator[EitherRecorder]:
    recorder = EitherRecorder("either", folder.server_context("up"))
    await recorder.start()
    yield recorder
    await recorder.close()


async def test_both_are_answered_and_told_apart(either: EitherRecorder, folder: CertificateFolder) -> None:
    plain = await RawClient(either.port).http(GET)
    secure = await RawClient(either.port, tls=folder.client_context(trust="up"), sni="a.test").http(GET)
    assert plain.response.body == secure.response.body == b"either"
    first, second = either.seen
    assert first.tls is None
    assert second.tls is not None
    assert second.tls["sni"] == "a.test"
    assert not either.errors


async def test_a_failed_handshake_leaves_no_request_and_does_not_stop_it(
    either: EitherRecorder, folder: CertificateFolder
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", either.port)
    writer.write(b"\x16not a hello")
    writer.close()
    assert (await RawClient(either.port).http(GET)).outcome == "response"
    assert len(either.seen) == 1


async def test_a_silent_connection_does_not_keep_it_from_ending(folder: CertificateFolder) -> None:
    recorder = EitherRecorder("either", folder.server_context("up"))
    await recorder.start()
    _, writer = await asyncio.open_connection("127.0.0.1", recorder.port)
    async with asyncio.timeout(30):
        await recorder.close()
    writer.close()


def test_an_upstream_is_secure_if_its_protocol_is() -> None:
    upstreams = [
        {"host": f"{name}.test", "port": 443, "protocol": name} for name in ("https", "tls", "http", "tcp")
    ]
    calls = [Call("c", {"port": 443, "expect": {"kind": "not_found"}})]
    case = Case(Path("f.yaml"), "c", "routing", "", {"upstreams": upstreams}, calls)
    assert secure_backends(case) == ["https.test", "tls.test"]
