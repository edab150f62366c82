"""The backends as a program: what it prints, what it refuses, and that it ends."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from gatewayd.demo.backends import Service, read_service
from gatewayd.tls.authority import make_authority, make_leaf


def test_a_service_is_a_name_a_kind_and_a_port() -> None:
    assert read_service("httpbin") == Service("httpbin", "httpbin", 0)
    assert read_service("reviews-v2=9082") == Service("reviews-v2", "reviews-v2", 9082)
    assert read_service("reviews-qa:echo=9083") == Service("reviews-qa", "echo", 9083)
    assert read_service("mysql:lines=9306") == Service("mysql", "lines", 9306)


@pytest.mark.parametrize(
    "text", ["", "unknown", "x:unknown", "httpbin=", "httpbin=99999", "a b", "httpbin=-1"]
)
def test_a_service_that_cannot_be_started_is_refused_in_words(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=repr(text)):
        read_service(text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_prints_addresses_serves_and_ends_quietly(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "gatewayd.demo.backends", "httpbin", "qa:echo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        addresses = json.loads(program.stdout.readline())
        assert set(addresses) == {"httpbin", "qa"}
        with urlopen(f"http://{addresses['qa']}/x", timeout=30) as answer:
            assert json.load(answer)["service"] == "qa"
        program.send_signal(number)
        rest, errors = program.communicate(timeout=60)
    assert (program.returncode, rest, errors) == (0, "", "")


def test_whoever_insists_while_they_end_is_not_heard() -> None:
    """As the demo does, which tells them twice: TERM, and INT for what else it started."""
    with subprocess.Popen(
        [sys.executable, "-m", "gatewayd.demo.backends", "qa:echo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline()
        program.send_signal(signal.SIGTERM)
        while program.poll() is None:
            program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, "")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = make_authority("test CA", 1)
    for name, issued in (("ca", authority), ("up", make_leaf(["up.test"], 1, authority))):
        (folder / f"{name}.crt").write_bytes(issued.certificate)
        (folder / f"{name}.key").write_bytes(issued.private_key)
    return folder


@contextmanager
def running(*words: str | Path) -> Iterator[dict[str, str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "gatewayd.demo.backends", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        try:
            yield json.loads(program.stdout.readline())
        finally:
            program.send_signal(signal.SIGTERM)
            _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, "")


def open_to(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def everything(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def ask(address: str, trust: ssl.SSLContext) -> bytes:
    with trust.wrap_socket(open_to(address), server_hostname="up.test") as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return everything(sock)


def test_lines_are_answered_until_quit_or_the_end() -> None:
    with running("mysql:lines") as addresses:
        with open_to(addresses["mysql"]) as sock:
            sock.sendall(b"one\r\ntwo\nquit\nthree\n")
            assert everything(sock) == b"mysql: one\nmysql: two\n"
        with open_to(addresses["mysql"]) as sock:
            sock.sendall(b"unfinished")
            sock.shutdown(socket.SHUT_WR)
            assert everything(sock) == b"mysql: unfinished\n"


def test_with_a_certificate_they_speak_tls_and_tell_of_it(certificates: Path) -> None:
    flags: list[str | Path] = ["--certificate", certificates / "up.crt"]
    flags += ["--private-key", certificates / "up.key"]
    trust = ssl.create_default_context(cafile=certificates / "ca.crt")
    with running("qa:echo", "db:lines", *flags) as addresses:
        for name in addresses:
            with trust.wrap_socket(open_to(addresses[name]), server_hostname="up.test") as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\nquit\n")
                answer = everything(sock)
            if name == "qa":
                tls = json.loads(answer.partition(b"\r\n\r\n")[2])["tls"]
                assert tls == {"version": "TLSv1.3", "sni": "up.test"}
            else:
                assert answer.startswith(b"db: GET / HTTP/1.0\n")


def test_with_a_client_ca_only_clients_with_a_certificate_are_answered(certificates: Path) -> None:
    flags: list[str | Path] = ["--certificate", certificates / "up.crt"]
    flags += ["--private-key", certificates / "up.key"]
    trust = ssl.create_default_context(cafile=certificates / "ca.crt")
    with running("qa:echo", *flags, "--client-ca", certificates / "ca.crt") as addresses:
        with suppress(ssl.SSLError, ConnectionError):  # an alert, unless the end comes first
            assert ask(addresses["qa"], trust) == b""
        trust.load_cert_chain(certificates / "up.crt", certificates / "up.key")
        assert b'"client": "up.test"' in ask(addresses["qa"], trust)


def test_a_certificate_that_cannot_be_read_is_said_with_65(tmp_path: Path) -> None:
    words = ["--certificate", tmp_path / "no.crt", "--private-key", tmp_path / "no.key", "qa:echo"]
    program = subprocess.run(
        [sys.executable, "-m", "gatewayd.demo.backends", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert program.returncode == 65
    assert "no.crt" in program.stderr
    assert "Traceback" not in program.stderr


def test_a_taken_port_is_said_with_77() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = subprocess.run(
            [sys.executable, "-m", "gatewayd.demo.backends", f"httpbin={port}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert program.returncode == 77
    assert str(port) in program.stderr
    assert "Traceback" not in program.stderr
