"""Telemetry resources: whose counts, and what they come to; as istiod merges them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gatewayd.http.options import W3C, TraceOptions
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.snapshot import Snapshot
from tests.compiler.support import EDGE, compile_yaml, routes_of

OTEL = {"name": "otel", "opentelemetry": {"service": "otel.example", "port": 4317}}
OTHER = {"name": "other", "opentelemetry": {"service": "other.example", "port": 4317}}
MESH = msgspec.convert({"extensionProviders": [OTEL, OTHER]}, MeshConfig)


def telemetry(
    spec: str, *, name: str = "t", namespace: str = "istio-system", created: str = "2026-01-01"
) -> str:
    return f"""
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{created}T00:00:00Z"}}
spec: {spec}
"""


def snapshot(*documents: str, **options: Any) -> Snapshot:
    options = {"mesh": MESH, "unknown_hosts": "dns", "namespace": "front", **options}
    return compile_yaml("---".join([EDGE, *documents]), **options).snapshot


def settings(*documents: str, **options: Any) -> TraceOptions | None:
    found = snapshot(*documents, **options).listeners[0].chains[0].options
    assert found is not None
    return found.tracing


def test_without_any_the_mesh_counts() -> None:
    assert settings() == TraceOptions()


def test_one_of_the_root_namespace_names_a_provider_and_a_share() -> None:
    text = telemetry("{tracing: [{providers: [{name: otel}], randomSamplingPercentage: 12.5}]}")
    assert settings(text) == TraceOptions(sampling=1250, propagation=W3C)
    collector = snapshot(text).collector
    assert collector is not None
    assert collector.endpoint == "otel.example:4317"


def test_nothing_may_be_sampled() -> None:
    """Unlike in MeshConfig, 0 is a number here."""
    found = settings(telemetry("{tracing: [{providers: [{name: otel}], randomSamplingPercentage: 0}]}"))
    assert found == TraceOptions(sampling=0, propagation=W3C)


def test_the_nearer_goes_before_field_by_field() -> None:
    root = telemetry(
        "{tracing: [{providers: [{name: otel}], randomSamplingPercentage: 50, "
        "customTags: {a: {literal: {value: root}}, b: {literal: {value: root}}}}]}"
    )
    own = telemetry("{tracing: [{customTags: {a: {literal: {value: own}}}}]}", namespace="front")
    selected = telemetry(
        "{selector: {matchLabels: {app: edge}}, tracing: [{providers: [{name: other}]}]}",
        name="selected",
        namespace="front",
    )
    found = settings(root, own, selected, labels={"app": "edge"})
    assert found == TraceOptions(sampling=5000, propagation=W3C, tags=(("a", "literal", "own", ""),)), (
        "tags are taken whole"
    )
    collector = snapshot(root, own, selected, labels={"app": "edge"}).collector
    assert collector is not None
    assert collector.endpoint == "other.example:4317"
    assert settings(root, own, selected, labels={"app": "else"}) == found
    collector = snapshot(root, own, selected, labels={"app": "else"}).collector
    assert collector is not None
    assert collector.endpoint == "otel.example:4317"


@pytest.mark.parametrize(
    "text",
    [
        telemetry("{tracing: [{providers: [{name: otel}]}]}", namespace="elsewhere"),
        telemetry("{tracing: [{providers: [{name: otel}], match: {mode: SERVER}}]}"),
        telemetry("{targetRefs: [{kind: Gateway, name: w}], tracing: [{providers: [{name: otel}]}]}"),
        telemetry(
            "{selector: {matchLabels: {app: edge}}, tracing: [{providers: [{name: otel}]}]}",
            namespace="front",
        ),
    ],
    ids=["another namespace", "servers", "waypoints", "labels that are not given"],
)
def test_what_speaks_for_others_does_not_count(text: str) -> None:
    assert settings(text) == TraceOptions()


def test_of_two_in_one_namespace_the_older_counts() -> None:
    newer = telemetry("{tracing: [{providers: [{name: other}]}]}", name="a", created="2026-02-01")
    older = telemetry("{tracing: [{providers: [{name: otel}]}]}", name="b", created="2026-01-01")
    collector = snapshot(newer, older).collector
    assert collector is not None
    assert collector.endpoint == "otel.example:4317"


def test_reporting_can_be_switched_off() -> None:
    assert settings(telemetry("{tracing: [{disableSpanReporting: true}]}")) is None


def test_without_a_provider_that_is_known_nothing_is_traced() -> None:
    """istiod does the same."""
    text = telemetry("{tracing: [{providers: [{name: nobody}]}]}")
    assert settings(text) is None
    (finding,) = [each for each in snapshot(text).findings if each.code == "GWD0108"]
    assert '"nobody" is no tracing provider' in finding.message
    text = telemetry("{tracing: [{randomSamplingPercentage: 100}]}")
    assert settings(text) is None
    (finding,) = [each for each in snapshot(text).findings if each.code == "GWD0108"]
    assert "no tracing provider is named" in finding.message


def test_tags_of_every_kind() -> None:
    text = telemetry(
        "{tracing: [{providers: [{name: otel}], customTags: {e: {environment: {name: E, defaultValue: d}}, "
        'h: {header: {name: x-h}}, l: {literal: {value: v}}, f: {formatter: {value: "%REQ(:PATH)% x"}}, '
        'g: {formatter: {value: "%NOPE%"}}}}]}'
    )
    found = settings(text)
    assert found is not None
    assert found.tags == (
        ("e", "environment", "E", "d"),
        ("f", "format", "%REQ(:PATH)% x", ""),
        ("h", "header", "x-h", ""),
        ("l", "literal", "v", ""),
    )
    (finding,) = [each for each in snapshot(text).findings if each.code == "GWD0104"]
    assert 'tag "g" is left out: unknown variable %NOPE%' in finding.message


@pytest.mark.parametrize(("written", "there"), [("true", True), ("false", False)])
def test_istio_tags_may_be_left_out(written: str, there: bool) -> None:
    text = telemetry(f"{{tracing: [{{providers: [{{name: otel}}], enableIstioTags: {written}}}]}}")
    assert bool(snapshot(text).span_tags) is there


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        (telemetry("{accessLogging: [{disabled: true}]}"), False),
        (telemetry("{accessLogging: [{disabled: false}]}"), True),
        (telemetry("{accessLogging: [{disabled: true, match: {mode: SERVER}}]}"), True),
    ],
)
def test_the_access_log_may_be_switched_off(text: str, logged: bool) -> None:
    assert snapshot(text).access_log is logged


def test_a_changed_telemetry_is_another_compilation() -> None:
    """Routes are what they were; the settings of listeners are not."""
    before = snapshot()
    after = snapshot(telemetry("{tracing: [{disableSpanReporting: true}]}"))
    assert len(routes_of(before.listeners[0]).virtual_hosts) == len(
        routes_of(after.listeners[0]).virtual_hosts
    )
    assert before.listeners[0].chains[0].options != after.listeners[0].chains[0].options
