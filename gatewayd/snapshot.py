"""The frozen result of the compiler: what the worker serves, all nouns on a page.

A snapshot is made once from all configuration and put in force by one assignment. A request that began
on it holds it and ends on it. Nothing in it changes: what is worked out per head is kept beside the head and
bound to the listener's spec (``proxy/plan.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gatewayd.findings import Finding
from gatewayd.http.options import HttpOptions
from gatewayd.routing.table import RouteTable
from gatewayd.upstream.spec import ClusterSpec


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """One address to listen on and what answers there.

    ``bind`` holds the addresses to open, each ``(host, port)``, or ``("unix:/path", 0)``; ``port`` is
    the Gateway's own server port number, which ``match.port`` and redirects see (semantics 2.1.4).
    """

    name: str  # e.g. "0.0.0.0_8080", as Envoy names it
    bind: tuple[tuple[str, int], ...]
    port: int
    protocol: str  # "HTTP"
    routes: RouteTable
    options: HttpOptions
    #: Gateways whose servers were merged here: (namespace, name, server index)
    gateways: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything in force at one time."""

    listeners: tuple[ListenerSpec, ...]
    #: by Istio name, "outbound|80||host" (semantics 17.3)
    clusters: dict[str, ClusterSpec]
    #: the objects routes hold, by the same names (made by the ``adopt`` given to the compiler)
    adopted: dict[str, Any]
    findings: tuple[Finding, ...] = ()
    version: int = 0
    #: resources that were set aside, for the log and the admin pages
    set_aside: tuple[str, ...] = field(default=())
