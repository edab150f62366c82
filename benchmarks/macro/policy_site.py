"""One host with a rule for each policy, beside a plain one; all rules lead to the same upstream process.

Written as Istio YAML for gatewayd alone: the figures are those of its routes against each other.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.macro import traffic
from benchmarks.macro.traffic import Traffic

POLICY_HOST = "policies.test"
USER_HEADER = "x-user"
ORIGIN = "https://app.test"
USERS = 16
"""How many different heads there are for each route, told apart by `x-user`."""

RING_ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")

PLAIN = "plain"
LEAST = "least"
RETRIES = "retries"
FAULT = "fault"
MIRROR = "mirror"
HASH = "hash"
ABORT = "abort"
CORS = "cors"
OUTLIER = "outlier"
LIMITS = "limits"
TIMEOUT = "timeout"


@dataclass(frozen=True)
class Policy:
    """A route: what its rule says besides the destination, and what its DestinationRule says."""

    name: str
    row: str
    rule: dict[str, Any] = field(default_factory=dict)
    traffic_policy: dict[str, Any] | None = None
    addresses: tuple[str, ...] = ("127.0.0.1",)

    @property
    def path(self) -> str:
        """Prefix of the requests that its rule takes."""
        return f"/{self.name}/"

    @property
    def service(self) -> str:
        """Host of its own upstream service."""
        return f"{self.name}.upstream.test"


POLICIES = (
    Policy(PLAIN, "plain route"),
    Policy(LEAST, "plain route to 3 endpoints", addresses=RING_ADDRESSES),
    Policy(
        RETRIES,
        "retries: 3 on 5xx and reset, none needed",
        {"retries": {"attempts": 3, "retryOn": "5xx,reset,connect-failure"}},
    ),
    Policy(
        FAULT,
        "fault: delay and abort at 0.0001 %",
        {
            "fault": {
                "delay": {"percentage": {"value": 0.0001}, "fixedDelay": "0.001s"},
                "abort": {"percentage": {"value": 0.0001}, "httpStatus": 418},
            }
        },
    ),
    Policy(
        MIRROR,
        "mirror: a copy of each request to a second service",
        {"mirror": {"host": "mirrored.upstream.test"}, "mirrorPercentage": {"value": 100}},
    ),
    Policy(
        HASH,
        "consistent hash by header, ring of 3 endpoints",
        traffic_policy={"loadBalancer": {"consistentHash": {"httpHeaderName": USER_HEADER}}},
        addresses=RING_ADDRESSES,
    ),
    Policy(
        ABORT,
        "fault: abort with 50 %",
        {"fault": {"abort": {"percentage": {"value": 50}, "httpStatus": 418}}},
    ),
    Policy(
        CORS,
        "corsPolicy, origin allowed",
        {"corsPolicy": {"allowOrigins": [{"exact": ORIGIN}], "allowCredentials": True}},
    ),
    Policy(
        OUTLIER,
        "outlierDetection, 3 endpoints",
        traffic_policy={"outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s"}},
        addresses=RING_ADDRESSES,
    ),
    Policy(
        LIMITS,
        "connectionPool limits, none reached",
        traffic_policy={
            "connectionPool": {
                "tcp": {"maxConnections": 1000},
                "http": {"http1MaxPendingRequests": 1000, "http2MaxRequests": 1000},
            }
        },
    ),
    Policy(TIMEOUT, "timeout of 15 s", {"timeout": "15s"}),
)


def policy(name: str) -> Policy:
    """The route of that name."""
    return next(each for each in POLICIES if each.name == name)


def requests(each: Policy, body_bytes: int) -> Traffic:
    """Repeated heads for a route: the same `USERS` clients in turn on every route."""
    headers = [*traffic.nine_headers(POLICY_HOST), ("Origin", ORIGIN)]
    heads = tuple(
        traffic.head(f"{each.path}items?page=2", [*headers, (USER_HEADER, f"user-{number}")])
        for number in range(USERS)
    )
    return Traffic(f"policy-{each.name}", heads, body_bytes)


def _service(host: str, addresses: tuple[str, ...], port: int) -> dict[str, Any]:
    return _resource(
        "ServiceEntry",
        host.replace(".", "-"),
        {
            "hosts": [host],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": port}],
            "endpoints": [{"address": address} for address in addresses],
        },
    )


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": spec,
    }


def _rule(each: Policy) -> dict[str, Any]:
    return {
        "match": [{"uri": {"prefix": each.path}}],
        "route": [{"destination": {"host": each.service, "port": {"number": 80}}}],
        **each.rule,
    }


def resources(upstream_port: int) -> Iterator[dict[str, Any]]:
    """Everything but the Gateway, which is called ``bench``."""
    yield _service("mirrored.upstream.test", ("127.0.0.1",), upstream_port)
    for each in POLICIES:
        yield _service(each.service, each.addresses, upstream_port)
        if each.traffic_policy is not None:
            spec = {"host": each.service, "trafficPolicy": each.traffic_policy}
            yield _resource("DestinationRule", each.name, spec)
    rules = [_rule(each) for each in POLICIES]
    yield _resource(
        "VirtualService", "policies", {"hosts": [POLICY_HOST], "gateways": ["bench"], "http": rules}
    )


def documents(upstream_port: int) -> tuple[str, ...]:
    """The resources as YAML documents (JSON is YAML)."""
    return tuple(json.dumps(resource, indent=1) + "\n" for resource in resources(upstream_port))
