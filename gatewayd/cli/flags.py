"""The flags of ``run``, in one table, and what they say. Each can also be set as ``GATEWAYD_<NAME>``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import click

from gatewayd.cli import values
from gatewayd.observe.collector import Collector, collector_from
from gatewayd.runtime.options import DEFAULT_BIND, DEFAULT_SECRETS, DEFAULT_WORKLOAD_CERTS, RunOptions

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _flag(name: str, *names: str, help: str, **settings: Any) -> Decorator:
    """An option that can also be set by an environment variable."""
    variable = "GATEWAYD_" + name.split("/")[0].lstrip("-").upper().replace("-", "_")
    return click.option(name, *names, envvar=variable, show_envvar=True, help=help, **settings)


#: What changes the meaning of the configuration; ``validate`` has these too.
CONFIGURATION_FLAGS: Final[Sequence[Decorator]] = (
    _flag(
        "--port-map",
        type=values.PORT_MAP,
        multiple=True,
        help="Bind another port for a Gateway server port; 80=0 lets the system choose one. "
        "match.port and redirects still see the Gateway's number.",
    ),
    _flag(
        "--port-offset",
        type=click.IntRange(-65534, 65534),
        default=0,
        show_default=True,
        metavar="N",
        help="Add N to every server port that is not in the map.",
    ),
    _flag(
        "--bind",
        type=values.BIND,
        multiple=True,
        help="Where servers without `bind` listen. [default: 0.0.0.0 and ::]",
    ),
    _flag(
        "--mode",
        type=click.Choice(["gateway", "sidecar"]),
        default="gateway",
        show_default=True,
        help="Role of this proxy.",
    ),
    _flag(
        "--namespace",
        type=values.NAME,
        default="istio-system",
        show_default=True,
        help="This proxy's namespace.",
    ),
    _flag(
        "--labels",
        type=values.LABELS,
        multiple=True,
        help="This proxy's labels. Unset: every Gateway is served, whatever its selector.",
    ),
    _flag(
        "--cluster-domain",
        type=values.NAME,
        default="cluster.local",
        show_default=True,
        help="Completes short host names.",
    ),
    _flag(
        "--unknown-hosts",
        type=click.Choice(["dns", "reject"]),
        default="dns",
        show_default=True,
        help="A destination that nothing declares: resolve its name by DNS, or answer 503.",
    ),
    _flag(
        "--endpoint",
        "endpoints",
        type=values.ENDPOINTS,
        multiple=True,
        help="Pin an endpoint of a host, or of one subset: reviews:v2=127.0.0.1:9081. Repeatable.",
    ),
    _flag(
        "--secrets",
        type=click.Path(),
        multiple=True,
        metavar="DIR",
        help="Folder of <credentialName>/{tls.crt,tls.key,ca.crt}; $CREDENTIALS_DIRECTORY is searched as well. "
        f"Repeatable. [default: {DEFAULT_SECRETS[0]}]",
    ),
    _flag(
        "--workload-certs",
        type=click.Path(),
        default=None,
        metavar="DIR",
        help="Folder of this proxy's mesh identity, for ISTIO_MUTUAL: cert-chain.pem, key.pem, root-cert.pem, or "
        "certificates.pem, private_key.pem, ca_certificates.pem. "
        f"[default: {' or '.join(DEFAULT_WORKLOAD_CERTS)}]",
    ),
    _flag(
        "--extended-connect/--no-extended-connect",
        default=False,
        show_default=True,
        help="Let HTTP/2 clients open WebSockets (RFC 8441), which Istio does not offer.",
    ),
    _flag(
        "--misdirected",
        type=click.Choice(["404", "421"]),
        default="404",
        show_default=True,
        help="Answer to a host that the TLS server of the connection does not serve; 421 makes HTTP/2 clients "
        "ask again on a connection of its own.",
    ),
    _flag("--mesh-config", type=click.Path(), default=None, metavar="FILE", help="MeshConfig fields."),
)

#: How it is served.
SERVING_FLAGS: Final[Sequence[Decorator]] = (
    _flag(
        "--workers",
        type=values.WORKERS,
        default=1,
        show_default=True,
        help="Processes that share the listeners; auto: as many as there are processors for us.",
    ),
    _flag(
        "--admin",
        type=values.STATUS,
        default="127.0.0.1:15000",
        show_default=True,
        help="Address of the admin API, also unix:/path; off: none. It asks nobody who they are: keep it local.",
    ),
    _flag(
        "--admin-allow-host",
        "admin_hosts",
        type=values.HOST_NAMES,
        multiple=True,
        help="Host names the admin API may be called by, beside localhost and addresses.",
    ),
    _flag(
        "--status",
        type=values.STATUS,
        default="127.0.0.1:15021",
        show_default=True,
        help="Address of /healthz/ready and /healthz/live.",
    ),
    _flag(
        "--metrics",
        type=values.STATUS,
        default="127.0.0.1:15090",
        show_default=True,
        help="Address of /stats/prometheus; off: none.",
    ),
    _flag(
        "--access-log",
        default=None,
        metavar="PATH|-|off",
        help="File of the access log; - is stdout. [default: MeshConfig's accessLogFile, else -]",
    ),
    _flag(
        "--access-log-format",
        type=click.Choice(["text", "json"]),
        default=None,
        help="Istio's default text line, or JSON with the same fields. "
        "[default: MeshConfig's accessLogFormat and accessLogEncoding, else text]",
    ),
    _flag(
        "--otlp",
        type=values.COLLECTOR,
        default=None,
        metavar="ENDPOINT",
        help="Send spans to this OpenTelemetry collector: http://host:4318, grpc://host:4317 or host:4317. "
        "[default: OTEL_EXPORTER_OTLP_ENDPOINT, else MeshConfig's tracing provider]",
    ),
    _flag(
        "--drain-time",
        type=values.DURATION,
        default="45s",
        show_default=True,
        help="After TERM: how long upgraded connections (WebSocket) may stay.",
    ),
    _flag(
        "--shutdown-time",
        type=values.DURATION,
        default="60s",
        show_default=True,
        help="After TERM: how long requests under way may take; then exit 75.",
    ),
    _flag(
        "--drain-delay",
        type=values.DURATION,
        default="0s",
        show_default=True,
        help="After TERM: how long new connections are still taken, until load balancers have noticed.",
    ),
    _flag(
        "--watch/--no-watch",
        default=True,
        show_default=True,
        help="Take in files of the configuration, certificates and Secrets that change; else only HUP reloads.",
    ),
    _flag(
        "--log-level",
        type=values.LOG_LEVELS,
        default="info",
        show_default=True,
        help="Level of the program's own log, on stderr: debug, info, warning or error; or several, for all and "
        "for components: info,listeners=debug.",
    ),
    _flag(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Form of the program's own log.",
    ),
    _flag(
        "--loop", type=click.Choice(["uvloop", "asyncio"]), default="uvloop", hidden=True, help="Event loop."
    ),
    _flag(
        "--hang-time",
        type=values.DURATION,
        default="10s",
        hidden=True,
        help="A worker of several that gives no sign of life for so long is replaced.",
    ),
)


def with_flags(*groups: Sequence[Decorator]) -> Decorator:
    """A decorator that gives a command all flags of ``groups``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed([flag for group in groups for flag in group]):
            function = decorator(function)
        return function

    return decorate


def configuration_options(paths: Sequence[str], flags: Mapping[str, Any]) -> RunOptions:
    """The options that the configuration flags ask for; raises ``click.UsageError``."""
    if flags["mode"] == "sidecar":
        raise click.UsageError("--mode sidecar is not available yet; use --mode gateway")
    labels = _merged("--labels", flags["labels"])
    return RunOptions(
        paths=tuple(paths),
        port_map=_merged("--port-map", flags["port_map"]),
        port_offset=flags["port_offset"],
        bind=tuple(address for group in flags["bind"] for address in group) or DEFAULT_BIND,
        namespace=flags["namespace"],
        labels=labels if flags["labels"] else None,
        cluster_domain=flags["cluster_domain"],
        unknown_hosts=flags["unknown_hosts"],
        endpoints=tuple(pinned for group in flags["endpoints"] for pinned in group),
        secrets=secret_folders(flags["secrets"], os.environ),
        workload_certs=(flags["workload_certs"],) if flags["workload_certs"] else DEFAULT_WORKLOAD_CERTS,
        mesh_config=flags["mesh_config"],
        extended_connect=flags["extended_connect"],
        misdirected=int(flags["misdirected"]),
    )


def run_options(paths: Sequence[str], flags: Mapping[str, Any]) -> RunOptions:
    """The options that all flags of ``run`` ask for; raises ``click.UsageError``."""
    return replace(
        configuration_options(paths, flags),
        status=flags["status"] or None,
        metrics=flags["metrics"] or None,
        admin=flags["admin"] or None,
        admin_hosts=tuple(name for group in flags["admin_hosts"] for name in group),
        access_log=flags["access_log"],
        access_log_format=flags["access_log_format"],
        otlp=flags["otlp"] or _collector_of_environment(),
        drain_time_s=flags["drain_time"],
        shutdown_time_s=flags["shutdown_time"],
        drain_delay_s=flags["drain_delay"],
        workers=flags["workers"],
        hang_time_s=flags["hang_time"],
        watch=flags["watch"],
        log_level=flags["log_level"],
        log_format=flags["log_format"],
        loop=flags["loop"],
    )


def _collector_of_environment() -> Collector | None:
    try:
        return collector_from(os.environ)
    except ValueError as error:
        raise click.UsageError(f"OTEL_EXPORTER_OTLP_ENDPOINT: {error}") from None


def secret_folders(given: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where credentials are looked for by name: the folders given, else the default; then systemd's."""
    own = environment.get("CREDENTIALS_DIRECTORY", "")
    return tuple(dict.fromkeys((*(given or DEFAULT_SECRETS), *((own,) if own else ()))))


def _merged(flag: str, groups: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    """The values of a repeated flag as one mapping."""
    merged: dict[Any, Any] = {}
    for group in groups:
        for key, value in group.items():
            if merged.setdefault(key, value) != value:
                raise click.UsageError(f"{flag}: {key} is given twice, as {merged[key]} and {value}")
    return merged
