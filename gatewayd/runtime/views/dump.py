"""Topic ``dump``: the elements of ``/config_dump``, a row each; behind a route table come its virtual hosts."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Any, Final

from gatewayd.admin.dump.clusters import cluster_message
from gatewayd.admin.dump.endpoints import endpoints_message
from gatewayd.admin.dump.listeners import listener_message
from gatewayd.admin.dump.routes import route_configuration, virtual_hosts
from gatewayd.admin.dump.tls import secret_messages
from gatewayd.admin.dump.values import TYPE, Message, address
from gatewayd.runtime.history import History
from gatewayd.runtime.options import Address, RunOptions
from gatewayd.runtime.reload import IN_FORCE
from gatewayd.runtime.views.configuration import node
from gatewayd.runtime.views.listeners import bound

_CLUSTER: Final = TYPE + "envoy.config.cluster.v3.Cluster"
_ASSIGNMENT: Final = TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
_LISTENER: Final = TYPE + "envoy.config.listener.v3.Listener"
_ROUTES: Final = TYPE + "envoy.config.route.v3.RouteConfiguration"
_SECRET: Final = TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret"
#: Virtual hosts in one row.
_HOSTS: Final = 20


def dump_about(history: History | None) -> Message:
    """What is said of every element: which configuration it is of, where that is known."""
    if history is None:
        return {}
    return {
        "version_info": str(history.results[IN_FORCE] + 1),
        "last_updated": _moment(history.in_force_since),
    }


def dump_rows(worker: Any, about: Message, sections: Collection[str]) -> Iterator[Message | None]:
    """``sections``: names of :data:`gatewayd.admin.config_dump.SECTIONS`; in that order."""
    dump = _Dump(worker, about)
    for section, rows in (
        ("bootstrap", dump.bootstrap),
        ("dynamic_active_clusters", dump.clusters),
        ("dynamic_endpoint_configs", dump.endpoints),
        ("dynamic_listeners", dump.listeners),
        ("dynamic_route_configs", dump.routes),
        ("dynamic_active_secrets", dump.secrets),
    ):
        if section in sections:
            yield from rows(section)


class _Dump:
    def __init__(self, worker: Any, about: Message) -> None:
        self._worker = worker
        self._about = about

    def bootstrap(self, section: str) -> Iterator[Message | None]:
        options: RunOptions = self._worker.options
        admin: Address | None = options.admin
        made: Message = {"node": node(options)}
        if admin is not None:
            made["admin"] = {"address": address(*admin)}
        yield {"section": section, "name": "", "element": made}

    def clusters(self, section: str) -> Iterator[Message | None]:
        for name, cluster in list(self._worker.registry.clusters.items()):
            message = {"@type": _CLUSTER, **cluster_message(cluster.spec)}
            yield {"section": section, "name": name, "element": {**self._about, "cluster": message}}

    def endpoints(self, section: str) -> Iterator[Message | None]:
        for name, cluster in list(self._worker.registry.clusters.items()):
            message = {"@type": _ASSIGNMENT, **endpoints_message(name, cluster.endpoints)}
            yield {"section": section, "name": name, "element": {**self._about, "endpoint_config": message}}

    def listeners(self, section: str) -> Iterator[Message | None]:
        for listener in list(self._worker.deployment.listeners):
            message = {"@type": _LISTENER, **listener_message(listener.spec, bound(listener))}
            name = listener.spec.name
            active = {**self._about, "listener": message}
            yield {"section": section, "name": name, "element": {"name": name, "active_state": active}}

    def routes(self, section: str) -> Iterator[Message | None]:
        for listener in list(self._worker.deployment.listeners):
            for chain in listener.spec.chains:
                if chain.routes is None:
                    continue
                message = {"@type": _ROUTES, **route_configuration(chain), "virtual_hosts": []}
                element = {**self._about, "route_config": message}  # the list comes last: its items follow
                yield {"section": section, "name": chain.name, "element": element, "list": "virtual_hosts"}
                waiting: list[Message] = []
                for host in virtual_hosts(chain):
                    waiting.append(host)
                    if len(waiting) >= _HOSTS:
                        yield {"items": waiting}
                        waiting = []
                    else:
                        yield None
                if waiting:
                    yield {"items": waiting}
                yield {"end": True}

    def secrets(self, section: str) -> Iterator[Message | None]:
        seen: set[str] = set()
        for holder in self._worker.reader.certificates.store.holders:
            for secret in secret_messages(holder):
                if secret["name"] in seen:
                    continue
                seen.add(secret["name"])
                message = {"@type": _SECRET, **secret}
                element = {"name": secret["name"], **self._about, "secret": message}
                yield {"section": section, "name": secret["name"], "element": element}
            yield None


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
