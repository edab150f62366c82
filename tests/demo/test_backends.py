"""The backends as a program: what it prints, what it refuses, and that it ends."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest

from gatewayd.demo.backends import Service, read_service


def test_a_service_is_a_name_a_kind_and_a_port() -> None:
    assert read_service("httpbin") == Service("httpbin", "httpbin", 0)
    assert read_service("reviews-v2=9082") == Service("reviews-v2", "reviews-v2", 9082)
    assert read_service("reviews-qa:echo=9083") == Service("reviews-qa", "echo", 9083)


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
