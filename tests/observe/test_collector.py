"""Addresses of collectors, as a flag or OpenTelemetry's variables say them."""

from __future__ import annotations

import re

import pytest

from gatewayd.observe.collector import GRPC, HTTP, ZIPKIN, Collector, collector_at, collector_from


@pytest.mark.parametrize(
    ("text", "collector"),
    [
        ("otel:4317", Collector(GRPC, "otel:4317")),
        ("grpc://otel:9", Collector(GRPC, "otel:9")),
        ("grpcs://otel:9", Collector(GRPC, "otel:9", secure=True)),
        ("[::1]:4317", Collector(GRPC, "[::1]:4317")),
        ("http://otel:4317", Collector(GRPC, "otel:4317")),
        ("https://otel:4317", Collector(GRPC, "otel:4317", secure=True)),
        ("http://otel:4318", Collector(HTTP, "http://otel:4318/v1/traces")),
        ("http://otel:4318/", Collector(HTTP, "http://otel:4318/v1/traces")),
        ("https://otel/in/v1/traces", Collector(HTTP, "https://otel/in/v1/traces")),
    ],
)
def test_an_address_says_how_it_is_spoken_to(text: str, collector: Collector) -> None:
    assert collector_at(text) == collector


@pytest.mark.parametrize(
    "text", ["", "otel", "ftp://otel:1", "http://", "grpc://otel:1/path", "otel:port", "http://otel/?a=b"]
)
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        collector_at(text)


@pytest.mark.parametrize(
    ("variables", "collector"),
    [
        ({}, None),
        ({"ENDPOINT": "http://otel:4318"}, Collector(HTTP, "http://otel:4318/v1/traces")),
        ({"ENDPOINT": "http://otel:4318/base"}, Collector(HTTP, "http://otel:4318/base/v1/traces")),
        ({"ENDPOINT": "http://otel:4318", "PROTOCOL": "grpc"}, Collector(GRPC, "otel:4318")),
        ({"ENDPOINT": "http://otel:4317", "PROTOCOL": "http/protobuf"},
         Collector(HTTP, "http://otel:4317/v1/traces")),
        ({"ENDPOINT": "http://a:1", "TRACES_ENDPOINT": "http://b:2/x"}, Collector(HTTP, "http://b:2/x")),
    ],
)  # fmt: skip
def test_the_variables_are_read_as_the_specification_says(
    variables: dict[str, str], collector: Collector | None
) -> None:
    environment = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    assert collector_from(environment) == collector


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_they_can_switch_it_off(off: dict[str, str]) -> None:
    assert collector_from({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318", **off}) is None


def test_what_is_needed_is_asked_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    for protocol in (GRPC, HTTP, ZIPKIN):
        assert Collector(protocol, "x").available

    def nothing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.util.find_spec", nothing)
    assert [Collector(protocol, "x").available for protocol in (GRPC, HTTP, ZIPKIN)] == [False, False, True]
    assert re.fullmatch("x", str(Collector(GRPC, "x")))
