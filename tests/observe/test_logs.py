"""The program's own log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

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


async def test_a_record_of_another_thread_is_written_by_the_loop(stream: int) -> None:
    """The loop's own calls are not for other threads."""
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logs.SinkHandler)
    writers: list[int] = []
    write = handler.sink.write

    def noted(lines: bytes) -> None:
        writers.append(threading.get_ident())
        write(lines)

    handler.sink.write = noted  # type: ignore[method-assign]  # to see who calls it
    handler.sink.attach(asyncio.get_running_loop())
    logs.set_level("info")
    await asyncio.to_thread(logging.getLogger("gatewayd.tracing").warning, "elsewhere")
    assert writers == [threading.get_ident()]
    assert b"warning tracing: elsewhere" in os.read(stream, 1000)
    handler.sink.attach(None)


class TestJson:
    def record(self, stream: int) -> dict[str, object]:
        found: dict[str, object] = json.loads(os.read(stream, 10_000))
        return found

    @pytest.fixture(autouse=True)
    def form(self, stream: int) -> None:
        logs.set_level("info")
        logging.getLogger().handlers[0].setFormatter(logs.JsonFormatter())

    def test_a_record_is_one_object(self, stream: int) -> None:
        logging.getLogger("gatewayd.listeners").warning('took %s\n"x"', 3)
        shown = self.record(stream)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(shown.pop("time")))
        assert shown == {"level": "warning", "component": "listeners", "message": 'took 3\n"x"'}
        assert logs.structured()

    def test_with_its_facts_and_its_exception(self, stream: int) -> None:
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("gatewayd.proxy").exception(
                "failed", extra={logs.FACTS: {"code": "GWD1", "line": 7}}
            )
        shown = self.record(stream)
        assert (shown["code"], shown["line"]) == ("GWD1", 7)
        assert str(shown["exception"]).endswith("ValueError: broken")

    def test_of_bytes_that_are_no_text(self) -> None:
        record = logging.makeLogRecord(
            {"name": "gatewayd.x", "msg": "file %s", "args": (os.fsdecode(b"\xff.yaml"),)}
        )
        assert json.loads(logs.JsonFormatter().format(record))["message"] == "file \\udcff.yaml"


class TestLevels:
    @pytest.mark.parametrize(
        ("text", "levels"),
        [
            ("info", {"": "info"}),
            ("info,listeners=debug", {"": "info", "listeners": "debug"}),
            (" warn , tls:trace ", {"": "warning", "tls": "debug"}),
            ("dns=err", {"dns": "error"}),
        ],
    )
    def test_are_read(self, text: str, levels: dict[str, str]) -> None:
        assert logs.parse_levels(text) == levels

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "expected a level"),
            ("loud", "'loud' is no level: expected debug, info, warning, error"),
            ("wanring", "did you mean 'warning'?"),
            ("lisseners=debug", "'lisseners' is no component (did you mean 'listeners'?)"),
        ],
    )
    def test_that_do_not_exist_are_told(self, text: str, said: str) -> None:
        with pytest.raises(ValueError, match=re.escape(said)):
            logs.parse_levels(text)

    def test_of_all_take_away_what_components_had(self, stream: int) -> None:
        logs.set_levels({"": "warning", "tls": "debug"})
        assert (logs.levels()["tls"], logs.levels()["dns"]) == ("debug", "warning")
        logs.set_levels({"dns": "error"})
        assert (logs.levels()["tls"], logs.levels()["dns"]) == ("debug", "error")
        logs.set_levels({"": "info"})
        assert set(logs.levels().values()) == {"info"}

    def test_are_for_every_component_there_is(self) -> None:
        """COMPONENTS is the list of loggers in the source."""
        package = Path(logs.__file__).parents[1]
        found = {
            name
            for path in package.rglob("*.py")
            for name in re.findall(r'getLogger\("gatewayd\.([a-z_]+)"\)', path.read_text())
        }
        assert set(logs.COMPONENTS) == found
