"""Short ways to write requests, rules and routes."""

from __future__ import annotations

from gatewayd.http.message import Fields, Pair, RequestHead
from gatewayd.routing.index import Rule
from gatewayd.routing.matchers import MATCHERS
from gatewayd.routing.route import FORWARD, Route
from tests.reference.routing import Spec


def request(
    target: bytes = b"/",
    *fields: Pair,
    method: bytes = b"GET",
    host: bytes = b"shop.test",
    scheme: bytes = b"http",
) -> RequestHead:
    return RequestHead(method, target, host, scheme, Fields(fields))


def rule(name: str, *specs: Spec) -> Rule:
    conditions = tuple(MATCHERS[field](key, kind, value) for field, key, kind, value in specs)
    return Rule(conditions, Route(name, FORWARD))


def uri(kind: str, value: str) -> Spec:
    return ("uri", "", kind, value)
