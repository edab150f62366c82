"""The program's own log."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator

import pytest

from gatewayd.observe import logs
from gatewayd.observe.escaping import escape, escape_text
from gatewayd.observe.log_sink import LogSink


@pytest.fixture
def stream() -> Iterator[int]:
    """What was written to it is read back; logging is put back as it was."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = root.handlers[:], root.level, ours.level
    handler = logs.SinkHandler(LogSink("-", None, stream_fd=writer))
    handler.setFormatter(logs.LineFormatter())
    root.handlers[:] = [handler]
    yield reader
    handler.sink.close()
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]
    logging.getLogger("gatewayd.listeners").setLevel(logging.NOTSET)
    logging.captureWarnings(False)
    os.close(reader)
    os.close(writer)


def test_a_record_is_one_line_with_time_level_and_component(stream: int) -> None:
    logs.set_level("info")
    logging.getLogger("gatewayd.listeners").info("took %d", 3)
    line = os.read(stream, 1000).decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info listeners: took 3\n", line)


def test_a_message_cannot_forge_a_line(stream: int) -> None:
    logs.set_level("info")
    logging.getLogger("gatewayd.proxy").warning("host %s", "a\nb\x1b[2J")
    line = os.read(stream, 1000)
    assert line.count(b"\n") == 1
    assert b"host a\\x0ab\\x1b[2J" in line


def test_a_traceback_follows_indented(stream: int) -> None:
    logs.set_level("info")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("gatewayd.proxy").exception("it failed")
    lines = os.read(stream, 10_000).decode().splitlines()
    assert lines[0].endswith("error proxy: it failed")
    assert lines[-1] == "    ValueError: broken"
    assert all(line.startswith("    ") for line in lines[1:])


def test_one_component_can_be_louder_than_the_rest(stream: int) -> None:
    logs.set_level("warning")
    logs.set_level("debug", "listeners")
    logging.getLogger("gatewayd.proxy").info("quiet")
    logging.getLogger("gatewayd.listeners").debug("loud")
    assert b"loud" in (text := os.read(stream, 1000))
    assert b"quiet" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"plain", "plain"),
        (b"", ""),
        (b'"', r"\x22"),
        (b"\\x22", r"\x5cx22"),
        (b"\r\n\x00\x7f", r"\x0d\x0a\x00\x7f"),
        ("é".encode(), r"\xc3\xa9"),
    ],
)
def test_foreign_bytes_are_shown_as_printable_ascii(value: bytes, shown: str) -> None:
    assert escape(value) == shown


def test_letters_of_any_script_stay_in_messages() -> None:
    assert escape_text("größe 東京\t") == "größe 東京\\x09"
