"""From merged servers to listeners with their filter chains (semantics 2.3)."""

from __future__ import annotations

from collections.abc import Iterable

from gatewayd.compiler.defaults import http_options
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateways import ServerGroup, bind_addresses
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.virtual_hosts import BindingIndex, BuiltTable, Matched, build_table
from gatewayd.compiler.virtual_services import RuleCompiler
from gatewayd.snapshot import FilterChain, ListenerSpec


def compile_listeners(
    groups: Iterable[ServerGroup],
    index: BindingIndex,
    compiler: RuleCompiler,
    options: CompileOptions,
    matched: Matched,
    report: Reporter,
) -> tuple[list[ListenerSpec], list[BuiltTable]]:
    """The listeners, and the route tables of their HTTP chains for review."""
    listeners: list[ListenerSpec] = []
    tables: list[BuiltTable] = []
    taken: dict[tuple[str, int], ServerGroup] = {}
    settings = http_options(options)
    for group in groups:
        first = group.servers[0]
        if group.kind != "http":
            for server in group.servers:
                report.say(
                    "warning",
                    "GWD0104",
                    f"server {server.index} of Gateway {server.name} is not served yet: "
                    f"protocol {server.spec.port.protocol}",
                    server.gateway,
                    server.path,
                )
            continue
        addresses = bind_addresses(group, options)
        clash = next((taken[address] for address in addresses if address in taken), None)
        if clash is not None:
            other = clash.servers[0]
            report.say(
                "error",
                "GWD0103",
                f"server {first.index} of Gateway {first.name} is left out: port {first.spec.port.number} "
                f"comes to {addresses[0][0]}:{addresses[0][1]}, which port {other.spec.port.number} of "
                f"Gateway {other.name} has already",
                first.gateway,
                first.path,
                help="give each its own with --port-map",
            )
            continue
        taken.update(dict.fromkeys(addresses, group))
        built = build_table(group.servers, index, compiler, options.namespace, options.labels or {}, matched)
        tables.append(built)
        chain = FilterChain(
            name=f"http.{group.port}" + (f".{group.bind}" if group.bind else ""),
            port=first.spec.port.number,
            routes=built.table,
            options=settings,
            gateways=tuple((s.gateway.namespace, s.gateway.name, s.index) for s in group.servers),
        )
        listeners.append(
            ListenerSpec(
                name=_listener_name(addresses[0]),
                bind=addresses,
                port=first.spec.port.number,
                protocol="HTTP",
                chains=(chain,),
                limits=settings.limits,
            )
        )
    return listeners, tables


def _listener_name(address: tuple[str, int]) -> str:
    """``0.0.0.0_8080`` as Envoy names it; the path of a UNIX socket as it is."""
    host, port = address
    return f"{host}_{port}" if port else host
