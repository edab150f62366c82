"""MeshConfig's tracing, as istiod turns it into settings of Envoy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gatewayd.compiler.defaults import http_options
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.tracing import istio_tags, observing_faults, service_name, trace_options
from gatewayd.http.options import B3, B3_W3C, W3C, TraceOptions
from gatewayd.observe.collector import GRPC, HTTP, ZIPKIN, Collector
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.model import decode_hook
from gatewayd.snapshot import Snapshot
from tests.compiler.support import compile_yaml

OTEL = {"name": "otel", "opentelemetry": {"service": "otel.observe.svc.cluster.local", "port": 4317}}
ZIPKIN_PROVIDER = {"name": "zipkin", "zipkin": {"service": "zipkin.observe.svc.cluster.local", "port": 9411}}


def mesh_of(written: dict[str, Any]) -> MeshConfig:
    return msgspec.convert(written, MeshConfig, dec_hook=decode_hook)


def settings(written: dict[str, Any], **more: Any) -> TraceOptions | None:
    return trace_options(CompileOptions(mesh=mesh_of(written), **more))


def with_provider(provider: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"extensionProviders": [provider], "defaultProviders": {"tracing": [provider["name"]]}, **more}


class TestSettings:
    def test_by_default_one_of_a_hundred_is_marked_and_nothing_told(self) -> None:
        assert settings({}) == TraceOptions(sampling=100, propagation="")
        assert http_options(CompileOptions()).tracing == TraceOptions()

    def test_enable_tracing_switches_the_mark_off(self) -> None:
        assert settings({"enableTracing": False}) is None

    @pytest.mark.parametrize(
        ("written", "of_ten_thousand"),
        [(100, 10_000), (50.5, 5050), (0.01, 1), (0, 100), (101, 100), (-1, 100)],
    )
    def test_sampling_is_a_percentage_and_0_is_the_default(
        self, written: float, of_ten_thousand: int
    ) -> None:
        found = settings({"defaultConfig": {"tracing": {"sampling": written}}})
        assert found is not None
        assert found.sampling == of_ten_thousand

    def test_a_provider_alone_is_not_used(self) -> None:
        """istiod wants a Telemetry resource or defaultProviders."""
        assert settings({"extensionProviders": [OTEL]}) == TraceOptions()

    def test_an_opentelemetry_provider_tells_in_w3c(self) -> None:
        found = settings(with_provider(OTEL))
        assert found == TraceOptions(propagation=W3C)

    @pytest.mark.parametrize(
        ("option", "propagation"), [("USE_B3", B3), ("USE_B3_WITH_W3C_PROPAGATION", B3_W3C)]
    )
    def test_a_zipkin_provider_tells_in_b3(self, option: str, propagation: str) -> None:
        provider = {"name": "z", "zipkin": {**ZIPKIN_PROVIDER["zipkin"], "traceContextOption": option}}  # type: ignore[dict-item]  # a mapping
        found = settings(with_provider(provider))
        assert found is not None
        assert found.propagation == propagation

    def test_short_ids_and_lengths_are_the_providers(self) -> None:
        zipkin = {**ZIPKIN_PROVIDER["zipkin"], "enable64bitTraceId": True, "maxTagLength": 64}  # type: ignore[dict-item]  # a mapping
        found = settings(with_provider({"name": "z", "zipkin": zipkin}))
        assert found == TraceOptions(propagation=B3, short_ids=True, max_path_length=64)

    def test_the_address_of_a_zipkin_collector_is_enough(self) -> None:
        tracing = {"zipkin": {"address": "zipkin.istio-system:9411"}, "maxPathTagLength": 100}
        found = settings({"defaultConfig": {"tracing": tracing}})
        assert found == TraceOptions(propagation=B3, max_path_length=100)

    def test_the_flag_goes_before_the_mesh(self) -> None:
        flag = Collector(GRPC, "otel:4317")
        assert settings({"enableTracing": False}, collector=flag) == TraceOptions(propagation=W3C)

    def test_a_provider_nobody_knows_switches_tracing_off(self) -> None:
        assert settings({"defaultProviders": {"tracing": ["nobody"]}}) is None

    def test_custom_tags_in_the_order_of_their_names(self) -> None:
        tags = {
            "z": {"literal": {"value": "v"}},
            "a": {"header": {"name": "x-user", "defaultValue": "none"}},
            "m": {"environment": {"name": "POD"}},
        }
        found = settings({"defaultConfig": {"tracing": {"customTags": tags}}})
        assert found is not None
        assert found.tags == (
            ("a", "header", "x-user", "none"),
            ("m", "environment", "POD", ""),
            ("z", "literal", "v", ""),
        )

    def test_istio_tags_say_who_the_proxy_is(self) -> None:
        labels = {"service.istio.io/canonical-name": "edge", "app": "other"}
        options = CompileOptions(labels=labels, namespace="front")
        assert istio_tags(options)["istio.canonical_service"] == "edge"
        assert istio_tags(options)["istio.namespace"] == "front"
        assert service_name(options) == "edge.front"
        assert service_name(CompileOptions()) == "gatewayd.istio-system"
        off = mesh_of({"defaultConfig": {"tracing": {"enableIstioTags": False}}})
        assert istio_tags(CompileOptions(mesh=off)) == {}


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: otel, namespace: observe}
spec: {ports: [{name: grpc, port: 4317}, {name: http, port: 4318}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: otel-1, namespace: observe, labels: {kubernetes.io/service-name: otel}}
addressType: IPv4
ports: [{name: grpc, port: 14317}, {name: http, port: 14318}]
endpoints: [{addresses: [10.0.0.5]}]
"""


class TestTheCollector:
    def snapshot(self, written: dict[str, Any], text: str = SERVICE, **options: Any) -> Snapshot:
        options.setdefault("unknown_hosts", "dns")
        return compile_yaml(text, mesh=mesh_of(written), **options).snapshot

    def test_is_an_endpoint_of_the_service(self) -> None:
        found = self.snapshot(with_provider(OTEL)).collector
        assert found == Collector(
            GRPC, "10.0.0.5:14317", timeout_s=10.0, authority="otel.observe.svc.cluster.local"
        )

    def test_over_http_with_path_headers_and_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKEN", "secret")
        http = {
            "path": "in/v1/traces",
            "timeout": "3s",
            "headers": [{"name": "X-One", "value": "1"}, {"name": "x-token", "envName": "TOKEN"}],
        }
        provider = {
            "name": "o",
            "opentelemetry": {"service": "otel.observe.svc.cluster.local", "port": 4318, "http": http},
        }
        assert self.snapshot(with_provider(provider)).collector == Collector(
            HTTP,
            "http://10.0.0.5:14318/in/v1/traces",
            (("x-one", "1"), ("x-token", "secret")),
            3.0,
            authority="otel.observe.svc.cluster.local",
        )

    def test_of_zipkin(self) -> None:
        found = self.snapshot(with_provider(ZIPKIN_PROVIDER), "").collector
        host = "zipkin.observe.svc.cluster.local:9411"
        assert found == Collector(ZIPKIN, f"http://{host}/api/v2/spans", timeout_s=10.0, authority=host)

    def test_of_an_address(self) -> None:
        written = {"defaultConfig": {"tracing": {"zipkin": {"address": "zipkin:9411"}}}}
        assert self.snapshot(written).collector == Collector(ZIPKIN, "http://zipkin:9411/api/v2/spans")

    def test_that_nobody_declares_is_resolved_by_dns_or_refused(self) -> None:
        written = with_provider({"name": "o", "opentelemetry": {"service": "far.example", "port": 4317}})
        found = self.snapshot(written).collector
        assert found is not None
        assert found.endpoint == "far.example:4317"
        refused = self.snapshot(written, unknown_hosts="reject")
        assert refused.collector is None
        (finding,) = [each for each in refused.findings if each.code == "GWD0108"]
        assert "no Service or ServiceEntry declares far.example with port 4317" in finding.message

    def test_may_be_pinned(self) -> None:
        pins = {"otel": [("127.0.0.1", 5)]}
        found = self.snapshot(with_provider(OTEL), endpoint_pins=pins).collector
        assert found is not None
        assert found.endpoint == "127.0.0.1:5"

    def test_there_is_none_by_default(self) -> None:
        assert self.snapshot({}).collector is None


@pytest.mark.parametrize(
    ("written", "level", "said"),
    [
        ({"accessLogFormat": "%NOPE%"}, "error", "unknown variable %NOPE%"),
        ({"accessLogFormat": "{", "accessLogEncoding": "JSON"}, "error", "it is not JSON"),
        ({"defaultProviders": {"tracing": ["x"]}}, "warning", '"x" is no tracing provider'),
        ({"defaultConfig": {"tracing": {"sampling": 200}}}, "warning", "200 is no percentage"),
        ({"defaultConfig": {"tracing": {"customTags": {"t": {}}}}}, "error", 'tag "t" has no value'),
    ],
)
def test_a_mistake_is_told(written: dict[str, Any], level: str, said: str) -> None:
    (fault,) = observing_faults(mesh_of(written))
    assert fault.level == level
    assert said in fault.message


def test_what_is_right_is_no_fault() -> None:
    written = with_provider(OTEL, accessLogFormat="%RESPONSE_CODE%\n")
    assert observing_faults(mesh_of(written)) == []


@pytest.mark.parametrize(("text", "kept"), [("%RESP(x-a)%", True), ("%RESPONSE_CODE%", False), ("", False)])
def test_answers_are_kept_for_a_log_that_shows_their_fields(text: str, kept: bool) -> None:
    assert http_options(CompileOptions(mesh=mesh_of({"accessLogFormat": text}))).keep_response is kept
