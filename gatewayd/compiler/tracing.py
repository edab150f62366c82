"""MeshConfig's tracing as settings of listeners, and the collector spans go to.

As istiod does it: a Telemetry or ``defaultProviders.tracing`` names a provider, else ``defaultConfig.tracing`` says
where a Zipkin collector is; with none of them, and unless ``enableTracing`` is false, a share of the requests is marked
as sampled and nothing is told of it. ``--otlp`` goes before all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.names import full_name
from gatewayd.compiler.options import REJECT, CompileOptions
from gatewayd.compiler.pins import Pins
from gatewayd.compiler.services import Registry
from gatewayd.compiler.telemetry import plain_tag
from gatewayd.http.options import B3, B3_W3C, W3C, TraceOptions
from gatewayd.observe.access_template import AccessLogForm
from gatewayd.observe.collector import DEFAULT_TIMEOUT_S, GRPC, HTTP, ZIPKIN, Collector
from gatewayd.resources.faults import Fault
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.mesh_observing import (
    ExtensionProvider,
    OpenTelemetryProvider,
    ProviderHeader,
    ZipkinProvider,
)
from gatewayd.upstream.spec import STATIC

#: Of a hundred requests so many are sampled where nothing is written (PILOT_TRACE_SAMPLING).
DEFAULT_SAMPLING: Final = 1.0
#: What Envoy says of a path where nothing is written.
_PATH_LENGTH: Final = 256
_ZIPKIN_PORT: Final = 9411
_CODE: Final = "GWD0108"


def trace_options(options: CompileOptions) -> TraceOptions | None:
    """How requests are traced; None: not at all."""
    mesh = options.mesh
    asked = options.telemetry.tracing
    if asked is not None and asked.disabled:
        return None
    provider = _provider(options) if options.collector is None else None
    tracing = mesh.default_config.tracing
    propagation, length, short = "", tracing.max_path_tag_length, False
    if options.collector is not None:
        propagation = W3C
    elif provider is not None and provider.opentelemetry is not None:
        propagation, length = W3C, provider.opentelemetry.max_tag_length or length
    elif provider is not None and provider.zipkin is not None:
        zipkin = provider.zipkin
        propagation = B3 if zipkin.trace_context_option == "USE_B3" else B3_W3C
        length, short = zipkin.max_tag_length or length, zipkin.enable_64bit_trace_id
    elif not mesh.enable_tracing or asked is not None or mesh.default_providers.tracing:
        return None  # a provider that cannot be used: istiod switches tracing off
    elif tracing.zipkin is not None and tracing.zipkin.address:
        propagation = B3
    percent = _percent(tracing.sampling)
    if asked is not None and asked.percent is not None:
        percent = asked.percent
    tags = asked.tags if asked is not None else None
    if tags is None:
        found = (plain_tag(name, tag) for name, tag in tracing.custom_tags.items())
        tags = tuple(sorted(tag for tag in found if tag is not None))
    return TraceOptions(
        sampling=round(percent * 100),
        propagation=propagation,
        short_ids=short,
        max_path_length=length or _PATH_LENGTH,
        tags=tags,
    )


def _percent(written: float) -> float:
    """Nothing, 0, and what is no percentage are the default, as istiod has it."""
    if not written:
        return DEFAULT_SAMPLING
    return written if 0.0 < written <= 100.0 else DEFAULT_SAMPLING


def istio_tags(options: CompileOptions) -> dict[str, str]:
    """What Istio puts on every span besides (``enableIstioTags``)."""
    wanted = options.mesh.default_config.tracing.enable_istio_tags
    asked = options.telemetry.tracing
    if asked is not None and asked.istio_tags is not None:
        wanted = asked.istio_tags
    if wanted is False:
        return {}
    labels = options.labels or {}
    return {
        "istio.canonical_revision": labels.get("service.istio.io/canonical-revision") or "latest",
        "istio.canonical_service": labels.get("service.istio.io/canonical-name") or "unknown",
        "istio.cluster_id": "unknown",
        "istio.mesh_id": "unknown",
        "istio.namespace": options.namespace or "default",
    }


def service_name(options: CompileOptions) -> str:
    """How this proxy is called in its spans: ``istio-ingressgateway.istio-system``."""
    labels = options.labels or {}
    own = labels.get("service.istio.io/canonical-name") or labels.get("app") or "gatewayd"
    return f"{own}.{options.namespace}"


def collector_of(options: CompileOptions, registry: Registry, report: Reporter) -> Collector | None:
    """Where spans go; None: nowhere. A provider whose service nobody knows is a finding."""
    if options.collector is not None:
        return options.collector
    tracing = trace_options(options)
    if tracing is None or not tracing.propagation:
        asked = options.telemetry.tracing
        if asked is not None and not asked.disabled:
            name = _provider_name(options)
            what = (
                f'"{name}" is no tracing provider that can be used'
                if name
                else "no tracing provider is named"
            )
            report.say("warning", _CODE, f"Telemetry: {what}, so nothing is traced")
        return None
    provider = _provider(options)
    if provider is None:
        zipkin = options.mesh.default_config.tracing.zipkin
        host, _, port = zipkin.address.partition(":") if zipkin is not None else ("", "", "")
        return Collector(ZIPKIN, f"http://{host}:{port or _ZIPKIN_PORT}/api/v2/spans")
    told = provider.opentelemetry or provider.zipkin
    assert told is not None  # as _provider has seen to
    host = full_name(told.service.rpartition("/")[2], options.namespace, options.cluster_domain)
    address = _address(host, told.port, options, registry)
    if address is None:
        message = (
            f'tracing provider "{provider.name}": no Service or ServiceEntry declares {told.service} with port '
            f"{told.port}, so no span is sent"
        )
        report.say("warning", _CODE, message)
        return None
    if isinstance(told, ZipkinProvider):
        return Collector(
            ZIPKIN,
            f"http://{address}{told.path or '/api/v2/spans'}",
            _headers(told.headers),
            float(told.timeout or DEFAULT_TIMEOUT_S),
            authority=f"{host}:{told.port}",
        )
    return _opentelemetry(told, address, host)


def _opentelemetry(told: OpenTelemetryProvider, address: str, host: str) -> Collector:
    if told.http is not None:
        path = told.http.path or "/v1/traces"
        url = f"http://{address}{path if path.startswith('/') else '/' + path}"
        timeout_s = float(told.http.timeout or DEFAULT_TIMEOUT_S)
        return Collector(HTTP, url, _headers(told.http.headers), timeout_s, authority=host)
    grpc = told.grpc
    metadata = _headers(grpc.initial_metadata) if grpc is not None else ()
    timeout_s = float((grpc.timeout if grpc is not None else None) or DEFAULT_TIMEOUT_S)
    return Collector(GRPC, address, metadata, timeout_s, authority=host)


def _headers(written: Iterable[ProviderHeader]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (header.name.lower(), os.environ.get(header.env_name, "") if header.env_name else header.value)
        for header in written
    )


def _address(host: str, port: int, options: CompileOptions, registry: Registry) -> str | None:
    """``ip:port`` of the first endpoint, ``name:port`` where DNS knows better; None: nobody knows the service."""
    pinned = Pins(options.endpoint_pins, options.cluster_domain).find(host, "")
    if pinned:
        return _joined(pinned[0].address, pinned[0].port)
    service = registry.find(host)
    if service is None:
        return _joined(host, port) if options.unknown_hosts != REJECT else None
    if port not in service.ports:
        return None
    endpoints = service.endpoints(port)
    if endpoints:
        return _joined(endpoints[0].address, endpoints[0].port)
    return _joined(host, port) if service.discovery != STATIC or not service.endpoints_known else None


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _provider_name(options: CompileOptions) -> str:
    """Who is asked to trace: a Telemetry's provider, else the first of ``defaultProviders``; "" for nobody."""
    asked = options.telemetry.tracing
    if asked is not None and asked.provider is not None:
        return asked.provider
    names = options.mesh.default_providers.tracing
    return names[0] if names else ""


def _provider(options: CompileOptions) -> ExtensionProvider | None:
    """The provider of that name, if it is one for traces that is known."""
    return _known_provider(options.mesh, _provider_name(options))


def _known_provider(mesh: MeshConfig, name: str) -> ExtensionProvider | None:
    found = next((each for each in mesh.extension_providers if each.name == name), None)
    return found if found is not None and (found.opentelemetry or found.zipkin) else None


def observing_faults(mesh: MeshConfig) -> list[Fault]:
    """What is wrong with the fields of MeshConfig that say what is written down of requests."""
    faults: list[Fault] = []
    if mesh.access_log_format:
        try:
            access_log_form(mesh).formatter()
        except ValueError as error:
            faults.append(
                Fault(("accessLogFormat",), f"the format of the access log cannot be used: {error}")
            )
    names = mesh.default_providers.tracing
    if names and _known_provider(mesh, names[0]) is None:
        known = [each.name for each in mesh.extension_providers if each.opentelemetry or each.zipkin]
        message = f'"{names[0]}" is no tracing provider that can be used, so nothing is traced'
        help_text = f"expected one of: {', '.join(known)}" if known else "extensionProviders has none"
        faults.append(
            Fault(("defaultProviders", "tracing", 0), message, help_text, code=_CODE, level="warning")
        )
    sampling = mesh.default_config.tracing.sampling
    path = ("defaultConfig", "tracing", "sampling")
    if not 0.0 <= sampling <= 100.0:
        message = f"{sampling:g} is no percentage: {DEFAULT_SAMPLING:g} is used"
        faults.append(Fault(path, message, "expected 0.01 to 100", code=_CODE, level="warning"))
    for name, tag in mesh.default_config.tracing.custom_tags.items():
        if plain_tag(name, tag) is None:
            message = f'tag "{name}" has no value, so no span has it'
            where = ("defaultConfig", "tracing", "customTags", name)
            faults.append(Fault(where, message, "expected one of: literal, environment, header"))
    return faults


def access_log_form(mesh: MeshConfig) -> AccessLogForm:
    """How the lines of the access log look, as far as the mesh says so."""
    return AccessLogForm("json" if mesh.access_log_encoding == "JSON" else "text", mesh.access_log_format)
