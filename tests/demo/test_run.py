"""``gatewayd demo`` for real: every line it prints does what it says, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import pytest
from cryptography import x509

from gatewayd.demo import run
from gatewayd.demo.certificates import CREDENTIAL, make_certificates, secrets_folder
from gatewayd.demo.folders import example_folder
from gatewayd.demo.run import GATEWAY_HTTPS_PORT, GATEWAY_PORT
from gatewayd.demo.tour import TOUR, Place, tour_lines
from tests.support.ports import PortReservation

READY = "Ctrl-C ends it"
#: What each line of the tour must show: a pattern of its whole output (headers too where it says -i).
SHOWS = {
    "the page; its reviews come from v1, v2 or v3": r"<title>Bookinfo(.|\n)*reviews v[123]<",
    "reviews by weight: v1 50 %, v2 30 %, v3 20 %": r'"version": "v[123]"',
    "a header decides: user jason gets v2, with black stars": r'"version": "v2"(.|\n)*"color": "black"',
    "an API behind the same host": r'"publisher": "Loopback Press"',
    "a rewrite: /books/0 reaches details as /details/0": r'"publisher": "Loopback Press"',
    "a redirect to another path": r"HTTP/1.1 301 (.|\n)*location: http://127\.0\.0\.1:\d+/productpage",
    "a response without any backend": r"HTTP/1.1 200 (.|\n)*gatewayd answered this by itself",
    "no route: 404": r"HTTP/1.1 404 Not Found\r\n(.|\n)*server: istio-envoy",
    "what a backend sees": r'"X-Forwarded-Proto": "http"',
    "any status": r"HTTP/1.1 418 ",
    "a slow answer": r'"url": "http://httpbin.example/delay/2"',
    "a body sent": r'"data": "hello"(.|\n)*"method": "POST"',
    "the client's address": r'"origin": "127\.0\.0\.1"',
    "a route timeout of 1 s: 504": r"HTTP/1.1 504 (.|\n)*upstream request timeout",
    "the page over HTTPS": r"<title>Bookinfo(.|\n)*reviews v[123]<",
    "the same routes; the backend is told": r'"X-Forwarded-Proto": "https"',
}


class Demo:
    """A demo in a session of its own, so that whatever it starts can be found."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gatewayd", "demo", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A suite that runs in the background of a shell has INT ignored, and so would the demo until it listens.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.text = ""

    @property
    def output(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def wait_ready(self) -> None:
        for line in self.output:
            self.text += line
            if READY in line:
                return
        raise AssertionError(f"the demo ended:\n{self.text}")

    def place(self, port: int, https_port: int) -> Place:
        """Where it says it serves, once it is ready."""
        trusted = re.search(r"made for this run: (.+)", self.text)
        assert trusted is not None
        return Place(f"http://127.0.0.1:{port}", f"https://localhost:{https_port}", Path(trusted[1]))

    def wait(self) -> int:
        self.text += self.output.read()
        return self.process.wait(timeout=60)

    def left(self) -> list[str]:
        """Processes of the demo's session that still run, given the time to go."""
        deadline = time.monotonic() + 30
        while (found := _session(self.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found


def _session(leader: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" (")
        except OSError:
            continue  # it ended while we looked
        name, _, fields = rest.rpartition(") ")
        state, _, _, session = fields.split()[:4]
        if int(session) == leader and state not in "ZX":
            found.append(f"{pid} {name}")
    return found


@contextmanager
def running(*flags: str) -> Iterator[Demo]:
    demo = Demo(*flags)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            os.killpg(demo.process.pid, signal.SIGKILL)
        demo.process.wait()
        demo.output.close()


def free_ports() -> tuple[int, int]:
    held = PortReservation(), PortReservation()
    for reservation in held:
        reservation.release()
    return held[0].port, held[1].port


def port_flags(ports: tuple[int, int]) -> tuple[str, ...]:
    return "--http-port", str(ports[0]), "--https-port", str(ports[1])


def fetch_page(port: int) -> None:
    with urlopen(f"http://127.0.0.1:{port}/productpage", timeout=60) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Demo, Place]]:
    ports = free_ports()
    with running(*port_flags(ports)) as demo:
        demo.wait_ready()
        place = demo.place(*ports)
        yield demo, place
        os.killpg(demo.process.pid, signal.SIGINT)
        assert demo.wait() == 0
    assert not place.ca.exists(), "its certificates go with it"


def test_it_prints_a_table_of_lines_and_where_the_configuration_is(served: tuple[Demo, Place]) -> None:
    demo, place = served
    for shows, line in tour_lines(place):
        assert f"\n  {shows}\n      {line}\n" in demo.text
    folder = re.search(r"configuration in (.+)", demo.text)
    assert folder is not None
    assert "kind: Gateway" in Path(folder[1], "gateway.yaml").read_text()


@pytest.mark.parametrize("shows", [shows for shows, _ in TOUR])
def test_each_line_does_what_it_says(served: tuple[Demo, Place], shows: str) -> None:
    line = dict(tour_lines(served[1]))[shows]
    program = subprocess.run([*shlex.split(line), "-sS"], capture_output=True, timeout=60)
    assert re.search(SHOWS[shows], program.stdout.decode()), program


def test_no_secret_is_printed_and_none_lies_open(served: tuple[Demo, Place]) -> None:
    demo, place = served
    assert "PRIVATE KEY" not in demo.text
    keys = list(place.ca.parent.rglob("*.key"))
    assert [key.name for key in keys] == ["tls.key"], "the authority's own key is nowhere"
    assert keys[0].stat().st_mode & 0o077 == 0
    assert place.ca.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_term_end_it_with_0_and_leave_no_process(number: signal.Signals) -> None:
    ports = free_ports()
    port = ports[0]
    with running(*port_flags(ports)) as demo:
        demo.wait_ready()
        assert len(_session(demo.process.pid)) == 3
        fetch_page(port)  # leaves idle connections behind everywhere
        if number == signal.SIGINT:
            os.killpg(demo.process.pid, number)  # as a terminal does
        else:
            demo.process.send_signal(number)
        assert demo.wait() == 0
        assert demo.left() == []
    assert '"GET /productpage HTTP/1.1" 200' in demo.text  # the access log
    assert "Traceback" not in demo.text


def test_ctrl_c_with_a_request_under_way_does_not_wait_for_it() -> None:
    ports = free_ports()
    port = ports[0]
    with running(*port_flags(ports)) as demo:
        demo.wait_ready()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /delay/10 HTTP/1.1\r\nhost: httpbin.example\r\n\r\n")
            time.sleep(0.3)  # until it is under way; too short only makes the test easier
            started = time.monotonic()
            os.killpg(demo.process.pid, signal.SIGINT)
            assert demo.wait() == 0
        assert time.monotonic() - started < 9
        assert demo.left() == []


def test_nothing_outlives_a_killed_demo() -> None:
    with running(*port_flags(free_ports())) as demo:
        demo.wait_ready()
        demo.process.kill()
        demo.process.wait()
        assert demo.left() == []


def test_ctrl_c_at_once_is_quiet() -> None:
    with running(*port_flags(free_ports())) as demo:
        time.sleep(0.25)  # somewhere in its start: imports, backends, gateway
        os.killpg(demo.process.pid, signal.SIGINT)
        demo.wait()
        assert demo.left() == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_taken_port_ends_with_77_and_says_how_to_choose_another(which: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = free_ports()
        with running(*port_flags((port, ports[1]) if which == 0 else (ports[0], port))) as demo:
            assert demo.wait() == 77
            assert demo.left() == []
    assert str(port) in demo.text
    assert re.search(r"gatewayd demo --http-port \d+ --https-port \d+", demo.text)
    assert "Traceback" not in demo.text


def test_a_gateway_that_refuses_its_flags_ends_the_demo_with_its_code() -> None:
    with running(*port_flags(free_ports()), "--", "--no-such-flag") as demo:
        assert demo.wait() == 64
        assert demo.left() == []
    assert "no-such-flag" in demo.text


def test_the_example_is_found_in_a_checkout_and_in_a_package(tmp_path: Path) -> None:
    found = example_folder("bookinfo")
    assert found is not None
    gateway = (found / "gateway.yaml").read_text()
    assert f"number: {GATEWAY_PORT}\n" in gateway
    assert f"number: {GATEWAY_HTTPS_PORT}\n" in gateway
    assert f"credentialName: {CREDENTIAL}\n" in gateway
    packaged = tmp_path / "package"
    (packaged / "bookinfo").mkdir(parents=True)
    places = (packaged, found.parent)
    assert example_folder("bookinfo", places) == found  # an empty folder is no example
    (packaged / "bookinfo" / "gateway.yaml").touch()
    assert example_folder("bookinfo", places) == packaged / "bookinfo"
    assert example_folder("nothing", places) is None


def test_the_certificate_is_for_every_address_a_client_can_name(tmp_path: Path) -> None:
    trusted = make_certificates(tmp_path, ("0.0.0.0", "192.0.2.7", "::1"))
    leaf = x509.load_pem_x509_certificate((secrets_folder(tmp_path) / CREDENTIAL / "tls.crt").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert (names.get_values_for_type(x509.DNSName), addresses) == (
        ["localhost"],
        ["127.0.0.1", "::1", "192.0.2.7"],
    )
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(trusted.read_bytes()))


def test_a_second_demo_has_its_admin_port_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAYD_ADMIN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(run, "_ADMIN", taken.getsockname())
        assert run._admin_flags() == ["--admin", "127.0.0.1:0"]
        monkeypatch.setenv("GATEWAYD_ADMIN", "off")
        assert run._admin_flags() == [], "as was asked for"
