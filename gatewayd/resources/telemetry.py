"""Telemetry: what is written down of requests, by namespace and workload."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from gatewayd.resources.model import EMPTY, IstioModel, Seconds
from gatewayd.resources.workload import LabelSelector

Mode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
Name = Annotated[str, Meta(min_length=1)]


class ProviderRef(IstioModel, frozen=True, kw_only=True):
    """A provider of MeshConfig, by its name."""

    name: Name


class TracingMatch(IstioModel, frozen=True, kw_only=True):
    """Which side of a request is meant; that of a gateway is the client."""

    mode: Mode = "CLIENT_AND_SERVER"


class TagLiteral(IstioModel, frozen=True, kw_only=True):
    """A text that is the same on every span."""

    value: Name


class TagFormatter(IstioModel, frozen=True, kw_only=True):
    """A text with variables, as those of the access log."""

    value: Name


class TagName(IstioModel, frozen=True, kw_only=True):
    """A variable of the environment, or a field of the request."""

    name: Name
    default_value: str = ""


class TracingTag(IstioModel, frozen=True, kw_only=True):
    """A further attribute of spans: one of the four."""

    literal: TagLiteral | None = None
    environment: TagName | None = None
    header: TagName | None = None
    formatter: TagFormatter | None = None


class Tracing(IstioModel, frozen=True, kw_only=True):
    """How requests are traced."""

    match: TracingMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: Annotated[float, Meta(ge=0, le=100)] | None = None
    disable_span_reporting: bool | None = None
    custom_tags: dict[str, TracingTag] = EMPTY
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None


class LogFilter(IstioModel, frozen=True, kw_only=True):
    """Which requests are logged, in CEL."""

    expression: str = ""


class AccessLogging(IstioModel, frozen=True, kw_only=True):
    """Whether and where requests are logged."""

    match: TracingMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: LogFilter | None = None


class Metrics(IstioModel, frozen=True, kw_only=True):
    """Changes of the standard metrics."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[dict[str, Any], ...] = ()
    reporting_interval: Seconds | None = None


class TargetRef(IstioModel, frozen=True, kw_only=True):
    """A resource whose proxies are meant: of waypoints and of the Gateway API."""

    kind: Name
    name: Name
    group: str = ""
    namespace: str = ""


class Telemetry(IstioModel, frozen=True, kw_only=True):
    """`spec` of a Telemetry."""

    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: Annotated[tuple[TargetRef, ...], Meta(max_length=16)] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
