"""HTTP/2 figures: what h2load says is judged, proxies are told the same, and our own clients do as they are told."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
import yaml
from hpack import Decoder

from benchmarks.macro import envoy, istio, nginx
from benchmarks.macro.certificates import over_tls
from benchmarks.macro.h2_frames import HEADERS, Reader, frame
from benchmarks.macro.h2_load import new_heads
from benchmarks.macro.h2_resets import attack
from benchmarks.macro.load import parse_h2load
from benchmarks.macro.scenarios.http2 import http2
from benchmarks.macro.site import BENCH_HOST, Site, plain_site
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.h2_message import Message
from tests.support.h2_recorder import H2Recorder

GOOD = """\
finished in 1.00s, 10.00 req/s, 1.00KB/s
requests: 12 total, 12 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 10 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 11.00KB (11264) total, 1.00KB (1024) headers (space savings 9.00%), 10.00KB (10240) data
"""


def test_a_run_of_h2load_without_errors_is_valid() -> None:
    result = parse_h2load(GOOD, 1024, 1.0)
    assert (result.requests, result.invalid) == (10, None)


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("0 failed", "1 failed", "failed 1"),
        ("0 errored", "2 errored", "errored 2"),
        ("0 timeout", "3 timeout", "timeout 3"),
        ("0 4xx", "4 4xx", "status 4"),
        ("0 5xx", "5 5xx", "status 5"),
        ("(10240) data", "(9000) data", "do not fit"),
        ("10 done", "0 done", "no request was answered"),
        ("requests:", "nothing:", "no result"),
    ],
)
def test_any_error_makes_a_run_of_h2load_invalid(good: str, bad: str, words: str) -> None:
    assert words in str(parse_h2load(GOOD.replace(good, bad), 1024, 1.0).invalid)


def test_each_proxy_speaks_http2_on_the_sides_the_site_says(tmp_path: Path) -> None:
    def told(site: Site) -> tuple[str, str, str]:
        entry = yaml.safe_load(next(iter(istio.documents(site))).split("---")[1])
        text = nginx.config(site, 9090, tmp_path, tmp_path / "log", buffered_log=True)
        return (
            entry["spec"]["ports"][0]["protocol"],
            text,
            json.dumps(envoy.bootstrap(site, 9090, tmp_path / "log")),
        )

    protocol, text, bootstrap = told(plain_site(8080))
    assert protocol == "HTTP"
    assert " http2" not in text
    assert "grpc_pass" not in text
    assert "http2_protocol_options" not in bootstrap
    protocol, text, bootstrap = told(http2(plain_site(8080), upstream=True))
    assert protocol == "HTTP2"
    assert "listen 127.0.0.1:9090 http2;" in text
    assert text.count("grpc_pass grpc://origin;") == 3
    assert "http2_protocol_options" in bootstrap
    _, text, bootstrap = told(http2(over_tls(plain_site(8080), tmp_path / "pairs")))
    assert "listen 127.0.0.1:9090 http2 ssl;" in text
    assert '"alpn_protocols": ["h2", "http/1.1"]' in bootstrap


def test_new_heads_are_sound_and_say_nothing_twice() -> None:
    decoder, heads = Decoder(), new_heads("salt")
    fields = [dict(decoder.decode(next(heads))) for _ in range(20)]
    for name in (":path", "cookie", "traceparent"):
        assert len({head[name] for head in fields}) == 20
    assert {(head[":method"], head[":scheme"], head[":authority"]) for head in fields} == {
        ("GET", "https", BENCH_HOST)
    }
    assert {len(head["traceparent"]) for head in fields} == {55}


def test_frames_come_whole_from_any_pieces() -> None:
    wanted = [(HEADERS, 5, 2**31 - 1, b"x" * 300), (0, 0, 1, b""), (8, 0, 0, b"abcd")]
    data = b"".join(frame(*each) for each in wanted)
    for size in (1, 8, 9, 10, 400):
        reader = Reader()
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        assert [each for piece in pieces for each in reader.feed(piece)] == wanted


class Impatient(H2Recorder):
    """Has had enough of a connection after 120 streams."""

    async def _stream(self, link: object, message: Message, number: int) -> None:
        if len(self.links[-1].messages) > 120:
            self.links[-1].send_goaway(message.stream, "ENHANCE_YOUR_CALM")
            self.links[-1].wire.close()


async def test_resets_are_counted_to_the_end_or_to_the_cut() -> None:
    async with H2Recorder("patient") as patient, Impatient("impatient") as impatient:
        told = await asyncio.to_thread(attack, patient.port, 300, 50)
        assert (told["streams"], told["cut"]) == (300, False)
        assert [message.reset for message in patient.links[0].messages.values()] == ["CANCEL"] * 300
        told = await asyncio.to_thread(attack, impatient.port, 300, 50)
        assert told["cut"]
        assert 120 < told["streams"] < 300


@pytest.mark.parametrize(("behaviour", "errors"), [({"body_size": 100}, False), ({"body_size": 99}, True)])
async def test_the_client_of_new_heads_counts_answers_of_the_right_length(
    behaviour: dict[str, int], errors: bool, tmp_path: Path
) -> None:
    folder = CertificateFolder(tmp_path, {"up": CertificateWish("up", ["a.test"], key="ec")})
    async with H2Recorder("up", folder.server_context("up", alpn=["h2"])) as up:
        up.play(behaviour)
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.macro.h2_load", str(up.port), "2", "3", "0.1", "100"),
            stdout=asyncio.subprocess.PIPE,
        )
        told = json.loads((await client.communicate())[0])
        assert bool(told["errors"]) == errors
        assert bool(told["count"]) != errors
        assert told["count"] + told["errors"] == len(up.seen)
        assert up.connections == 2
        assert len({seen.path for seen in up.seen}) == len(up.seen)
    assert not up.errors
