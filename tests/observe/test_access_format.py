"""The lines of the access log: semantics 17.2 to 17.6."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.http.message import Fields, RequestHead
from gatewayd.observe.access_format import (
    FORMATS,
    compile_text,
    json_formatter,
    text_formatter,
)
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.observe.text_lines import TextLines
from tests.observe.infos import exchange, unparsed

text = text_formatter()
as_json = json_formatter()


def test_17_2_the_columns_stand_in_istios_order() -> None:
    assert text(exchange(server_name="shop.test")) == (
        '[2026-01-02T03:04:05.678Z] "GET /items?x=1 HTTP/1.1" 200 - via_upstream - "-" 0 1024 3 2 '
        '"10.0.0.99" "curl/8.5" "5f0c7a9e-8a0e-4a1c-9c5b-0e4f2f6c9d11" "shop.test" "10.0.0.7:8080" '
        "outbound|8080|v2|shop.local 10.0.0.1:40000 10.0.0.1:8080 10.0.0.99:50000 shop.test default\n"
    )


def test_17_2_missing_values_print_a_dash() -> None:
    assert text(unparsed(bytes_sent=11)) == (
        '[2026-01-02T03:04:05.678Z] "- - HTTP/1.1" 400 DPE http1.codec_error - "-" 0 11 3 - '
        '"-" "-" "-" "-" "-" - - 10.0.0.1:8080 10.0.0.99:50000 - -\n'
    )


def test_17_3_the_time_is_utc_with_milliseconds() -> None:
    assert text(exchange(started_wall=0.0)).startswith("[1970-01-01T00:00:00.000Z]")
    assert text(exchange(started_wall=1767323045.9999)).startswith("[2026-01-02T03:04:05.999Z]")
    assert text(exchange(started_wall=1767323046.0)).startswith("[2026-01-02T03:04:06.000Z]")


def test_17_3_the_second_before_is_not_printed_again() -> None:
    fresh = text_formatter()
    stamps = [fresh(exchange(started_wall=wall))[1:25] for wall in (100.5, 101.25, 100.75)]
    assert stamps == ["1970-01-01T00:01:40.500Z", "1970-01-01T00:01:41.250Z", "1970-01-01T00:01:40.750Z"]


def test_17_6_a_route_without_name_prints_a_dash() -> None:
    assert text(exchange(route_name="")).endswith(" -\n")
    assert text(exchange(route_name=None)).endswith(" -\n")


def test_the_upstream_time_is_whole_milliseconds_and_a_dash_without_an_answer() -> None:
    assert " 1024 3 2 " in text(exchange())
    assert " 1024 3 - " in text(exchange(responded_at=0.0))


def test_14_1_the_trusted_client_stands_in_the_last_address() -> None:
    assert " 192.0.2.7:0 - " in text(exchange(trusted_address=b"192.0.2.7"))
    assert " [2001:db8::7]:0 - " in text(exchange(trusted_address=b"2001:db8::7"))


@pytest.mark.parametrize("slot", ["path", "method", "request_id", "x_forwarded_for", "authority", "agent"])
def test_a_client_cannot_forge_a_line_or_a_column(slot: str) -> None:
    evil = b'a" 200 -\r\n[2026] "GET / HTTP/1.1\x00\x1b[31m\xff\\'
    if slot == "agent":
        info = exchange(headers=[(b"user-agent", evil)])
    elif slot == "authority":
        info = exchange(authority=evil)
    else:
        info = exchange(**{slot: evil})
    honest = text(exchange())
    line = text(info)
    assert line.count("\n") == 1
    assert line.count('"') == honest.count('"')
    assert line.isascii()
    assert line[:-1].isprintable()
    assert r"a\x22 200 -\x0d\x0a[2026] \x22GET / HTTP/1.1\x00\x1b[31m\xff\x5c" in line


def test_details_stay_one_column() -> None:
    assert " upstream_reset{remote_reset} - " in text(exchange(details="upstream_reset{remote reset}"))


def test_a_value_shown_before_looks_the_same_again() -> None:
    formatter = text_formatter()
    first = [formatter(exchange(path=path, details=details)) for path, details in PAIRS]
    assert [formatter(exchange(path=path, details=details)) for path, details in PAIRS] == first


PAIRS = [(b'/a"b', "one two"), (b"/plain", "via_upstream"), (b"/" + b"x" * 500, ""), (b"", "-")]


def test_many_different_values_do_not_fill_the_memory() -> None:
    lines = TextLines()
    for index in range(10_000):
        info = exchange(
            path=b"/%d" % index,
            authority=b"%d.test" % index,
            upstream_local_address=f"10.0.0.1:{index}",
            upstream_cluster=f"outbound|80||{index}.test",
            route_name=str(index),
        )
        assert b'"GET /%d HTTP/1.1"' % index in lines([info])
    assert min(lines.remembered) > 0
    assert max(lines.remembered) <= 4096


def test_the_lines_of_a_batch_are_those_of_its_exchanges_in_order() -> None:
    batch = [exchange(path=b"/%d" % index, started_wall=1e9 + index / 3) for index in range(10)]
    assert TextLines()(batch).decode() == "".join([text(info) for info in batch])


VALUES = st.binary(max_size=40) | st.sampled_from([b"", b"-", b"GET", b'"', b"a b", b"\xc3\xa9"])
WORDS = st.text(max_size=20).map(lambda t: t.encode("utf-8", "ignore").decode())
NAMES = st.sampled_from(["", "-", "default", "a b", 'q"', "é"]) | WORDS
# Of our time: what floats near 1970 round to below a microsecond is nobody's concern.
SECONDS = st.floats(1e9, 4e9)


@st.composite
def exchanges(draw: st.DrawFn) -> StreamInfo:
    started = draw(st.floats(0, 1e6))
    responded = draw(st.just(0.0) | st.floats(0, 500).map(lambda s: started + s + 1e-6))
    method, path, agent, authority = (draw(VALUES) for _ in range(4))
    request_id, forwarded = draw(VALUES), draw(VALUES)
    headers = [(b"user-agent", agent), (b"x-request-id", request_id), (b"x-forwarded-for", forwarded)]
    facts: dict[str, Any] = {
        "headers": [pair for pair in headers if draw(st.booleans()) or pair[1]],
        "method": method,
        "path": path,
        "authority": authority,
        "request_id": request_id,
        "x_forwarded_for": forwarded,
        "protocol": draw(st.sampled_from([b"", b"HTTP/1.1", b"HTTP/2"])),
        "status": draw(st.integers(0, 599)),
        "flags": draw(st.sampled_from(["", "UH", "URX,UF"])),
        "details": draw(NAMES),
        "termination_details": draw(NAMES),
        "transport_failure": draw(NAMES),
        "upstream_cluster": draw(NAMES),
        "upstream_host": draw(st.sampled_from(["", "10.0.0.7:8080", "[::1]:1"])),
        "upstream_local_address": draw(st.sampled_from(["", "10.0.0.1:40000"])),
        "bytes_received": draw(st.integers(0, 2**40)),
        "bytes_sent": draw(st.integers(0, 2**40)),
        "started_wall": draw(SECONDS),
        "started_at": started,
        "responded_at": responded,
        "finished_at": started + draw(st.floats(1e-3, 1e5)),
        "server_name": draw(NAMES),
        "trusted_address": draw(st.sampled_from([b"", b"10.0.0.99", b"192.0.2.1", b"::1"])),
        "route_name": draw(NAMES | st.none()),
    }
    if responded:
        service_ms = b"%d" % int((responded - started) * 1000)
        facts["response_pairs"] = [(b"x-envoy-upstream-service-time", service_ms)]
    return exchange(**facts)


@given(exchanges())
def test_the_hand_written_formatter_equals_the_compiled_one(info: StreamInfo) -> None:
    assert text_formatter()(info) == compile_text()(info)


@given(st.lists(exchanges(), min_size=2, max_size=6), st.data())
def test_pieces_of_lines_before_are_used_only_where_they_are_the_same(
    infos: list[StreamInfo], data: st.DataObject
) -> None:
    """Heads and connections are shared; whatever else is the same, is so by chance or because it is drawn again."""
    first, lines, compiled = infos[0], TextLines(), compile_text()
    assert first.request is not None
    method, path = first.method, first.path
    head = RequestHead(
        method, path, first.request.authority, b"http", Fields([(b"user-agent", data.draw(VALUES))])
    )
    for info in infos:
        info.request, info.method, info.protocol = head, method, first.protocol
        info.path = data.draw(st.sampled_from([first.path, info.path]))
        for fact in ("connection", "route", "status", "bytes_sent", "flags", "details", "x_forwarded_for",
                     "trusted_address", "upstream_host", "upstream_cluster", "upstream_local_address"):  # fmt: skip
            if data.draw(st.booleans()):
                setattr(info, fact, getattr(first, fact))
    for info in [*infos, *infos]:
        assert lines([info]).decode() == compiled(info)


@given(exchanges())
def test_every_line_is_one_line_of_printable_ascii(info: StreamInfo) -> None:
    line = text(info)
    assert line.endswith("\n")
    assert re.fullmatch("[ -~]*", line[:-1])


def test_a_format_of_ones_own() -> None:
    formatter = compile_text('%PROTOCOL% "%REQ(USER-AGENT)%" %RESPONSE_CODE% %REQ(X-NONE)% é 100%%\n')
    assert formatter(exchange()) == 'HTTP/1.1 "curl/8.5" 200 - é 100%\n'
    with pytest.raises(ValueError, match="unknown variable"):
        compile_text("%NO_SUCH_THING%")


def test_17_4_json_has_the_same_facts_under_istios_keys() -> None:
    assert json.loads(as_json(exchange(server_name="shop.test"))) == {
        "start_time": "2026-01-02T03:04:05.678Z",
        "route_name": "default",
        "method": "GET",
        "path": "/items?x=1",
        "protocol": "HTTP/1.1",
        "response_code": 200,
        "response_flags": "-",
        "response_code_details": "via_upstream",
        "connection_termination_details": None,
        "bytes_received": 0,
        "bytes_sent": 1024,
        "duration": 3,
        "upstream_service_time": "2",
        "x_forwarded_for": "10.0.0.99",
        "user_agent": "curl/8.5",
        "request_id": "5f0c7a9e-8a0e-4a1c-9c5b-0e4f2f6c9d11",
        "authority": "shop.test",
        "upstream_host": "10.0.0.7:8080",
        "upstream_cluster": "outbound|8080|v2|shop.local",
        "upstream_local_address": "10.0.0.1:40000",
        "downstream_local_address": "10.0.0.1:8080",
        "downstream_remote_address": "10.0.0.99:50000",
        "requested_server_name": "shop.test",
        "upstream_transport_failure_reason": None,
    }


def test_17_4_json_of_an_unread_request_has_nulls() -> None:
    record = json.loads(as_json(unparsed()))
    absent = {key for key, value in record.items() if value is None}
    assert {"method", "path", "user_agent", "authority", "upstream_host", "route_name"} <= absent
    assert record["response_flags"] == "DPE"


@given(exchanges())
def test_json_is_one_line_whatever_the_bytes(info: StreamInfo) -> None:
    line = as_json(info)
    assert line.endswith("\n")
    assert not re.search("[\x00-\x1f]", line[:-1])
    record = json.loads(line)
    assert record["bytes_sent"] == info.bytes_sent
    assert len(record) == 24


def test_every_form_can_be_had_by_name() -> None:
    for make in FORMATS.values():
        assert make()([exchange(), exchange()]).count(b"\n") == 2
