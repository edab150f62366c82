"""DYNAMIC_DNS beside Envoy 1.40's dynamic forward proxy (semantics 11.3): random Hosts, one name server for both.

Statuses, bodies, flags, details and where requests arrive must agree for names below the wildcard. Others are
resolved by Envoy and not by us, on purpose.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from gatewayd.upstream.dns_lookup import AresLookup
from gatewayd.upstream.spec import DYNAMIC_DNS
from tests.differential.envoy import EnvoyProcess, route
from tests.support.in_process import InProcess, request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder
from tests.upstream.dns_server import A, DnsServer

SEED = 20261120
REQUESTS = 150
_ANY = "type.googleapis.com/envoy.extensions."


def _cache(server: str) -> dict[str, Any]:
    host, _, port = server.rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(port), "protocol": "UDP"}}
    options = {"no_default_search_domain": True}
    cares = {
        "@type": _ANY + "network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [address],
        "dns_resolver_options": options,
    }
    return {
        "name": "cache",
        "dns_lookup_family": "V4_ONLY",
        "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": cares},
    }


def _envoy(server: str) -> EnvoyProcess:
    cache = {"dns_cache_config": _cache(server)}
    by_host = {
        "name": "outbound|80||*.wild.test",
        "connect_timeout": "10s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {"@type": _ANY + "clusters.dynamic_forward_proxy.v3.ClusterConfig", **cache},
        },
    }
    resolving = {
        "name": "resolving",
        "typed_config": {"@type": _ANY + "filters.http.dynamic_forward_proxy.v3.FilterConfig", **cache},
    }
    return EnvoyProcess([route("/", "outbound|80||*.wild.test")], [by_host], filters=[resolving])


def _hosts(random: Random, open_port: int, closed_port: int) -> list[str]:
    names = ["a", "b", "long-name.below", "nx", "empty", "A", "NX"]
    ports = [f":{open_port}", f":{open_port}", f":{closed_port}"]
    odd = ["a.wild.test:0", "a..wild.test:80", f"{'l' * 64}.wild.test:{open_port}"]
    return [
        random.choice(odd)
        if random.random() < 0.1
        else f"{random.choice(names)}.wild.test{random.choice(ports)}"
        for _ in range(REQUESTS)
    ]


async def _ask(port: int, host: str, number: int) -> tuple[int, bytes]:
    asked = request(host=host, path=f"/{number}")
    response = (await RawClient(port).http(asked, observe_s=0.0)).response
    return response.status, response.body


async def test_requests_go_where_envoy_sends_them_and_fail_as_there() -> None:
    server = await DnsServer.start()
    for name in ("a", "b", "long-name.below"):
        server.records[f"{name}.wild.test", A] = (["127.0.0.1"], 60)
    server.records["empty.wild.test", A] = ([], 60)
    ours = InProcess([])
    ours._spec = replace(ours._spec, host="*.wild.test", discovery=DYNAMIC_DNS, endpoints=())
    async with Recorder("alpha") as alpha, Recorder("gone") as gone:
        closed = gone.port
        await gone.close()
        async with _envoy(server.address) as envoy, ours:
            lookup = AresLookup(ours.registry.resolver.loop, [server.address])
            ours.registry.resolver._lookup = lookup
            hosts = _hosts(Random(SEED), alpha.port, closed)
            for number, host in enumerate(hosts):
                theirs = await _ask(envoy.port, host, number)
                assert await _ask(ours.port, host, number) == theirs, host
            records = await envoy.records(REQUESTS)
            mine = await ours.logged(REQUESTS)
            for host, record, logged in zip(hosts, mine, records, strict=True):
                assert (record.status, record.flags or "-") == (logged["status"], logged["flags"]), host
                assert record.details == logged["details"], host
    paths = [seen.path for seen in alpha.seen]
    assert paths[::2] == paths[1::2], "each arrived by both"
    assert len({record.status for record in mine}) > 1
    server.close()
