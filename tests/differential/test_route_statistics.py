"""Statistics of routes with a ``statPrefix``, counted as the real Envoy counts them (semantics 18.7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.differential.envoy import DEFAULT_RETRY, cluster, route
from tests.differential.pair import Pair, Request, service
from tests.support.raw_client import RawClient

#: What Envoy's names begin with, and ours; the prefix has a character that no metric's name may have.
VIRTUAL_HOST: Final = "vhost.all.route.my-"
OURS: Final = "envoy_vhost___80_route_my_"
RETRY: Final = {
    **DEFAULT_RETRY,
    "retry_on": "5xx,connect-failure",
    "num_retries": 1,
    "retry_back_off": {"base_interval": "0.001s"},
}
#: What the fault filter answers.
ABORT: Final = {"status": 418, "body": {"inline_string": "fault filter abort"}}
#: route -> (what it says, RouteAction of Envoy's, cluster)
ROUTES: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "plain": ("", {}, "up"),
    "nobody": ("", {}, "nobody"),
    "dead": ("", {}, "dead"),
    "slow": ("timeout: 300ms", {"timeout": "0.3s"}, "up"),
    "tries": ("", {"retry_policy": {**RETRY, "per_try_timeout": "0.3s"}}, "up"),
}


def written(name: str) -> str:
    timeout, _, target = ROUTES[name]
    per_try = ", perTryTimeout: 300ms" if name == "tries" else ""
    return f"""
  - match: [{{uri: {{prefix: /{name}/}}, statPrefix: my-{name}}}]
    retries: {{attempts: 1, retryOn: "5xx,connect-failure", backoff: 1ms{per_try}}}
    {timeout}
    route: [{{destination: {{host: {target}.test}}}}]"""


RULES: Final = """
  - match: [{uri: {prefix: /moved}, statPrefix: my-moved}]
    redirect: {uri: /there}
  - match: [{uri: {prefix: /aborted}, statPrefix: my-aborted}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: up.test}}]
  - match: [{uri: {prefix: /uncounted}}, {uri: {exact: /plain/too}, statPrefix: my-plain}]
    route: [{destination: {host: up.test}}]""" + "".join(written(name) for name in ROUTES)
REQUESTS: Final = (
    Request("/uncounted"),
    Request("/moved"),
    Request("/aborted"),
    Request("/plain/too"),
    *(Request(f"/plain/{number}") for number in range(3)),
    Request("/plain/4xx", script=[{"status": 404}]),
    Request("/plain/rescued", script=[{"status": 503}, {}]),
    Request("/plain/lost", script=[{"status": 503}]),
    Request("/plain/no-retry-of-this", "POST", script=[{"status": 429}], body=b"x"),
    Request("/nobody/1"),
    Request("/dead/1"),
    Request("/slow/1", script=[{"hang": True}]),
    Request("/tries/1", script=[{"hang": True}]),
)


def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
    (port,) = ports.values()
    routes = [
        route("/plain/too", "up", action={"retry_policy": RETRY}, stat_prefix="my-plain"),
        *(
            route(f"/{name}/", target, action={"retry_policy": RETRY, **action}, stat_prefix=f"my-{name}")
            for name, (_, action, target) in ROUTES.items()
        ),
        {"match": {"prefix": "/moved"}, "stat_prefix": "my-moved", "redirect": {"path_redirect": "/there"}},
        {"match": {"prefix": "/aborted"}, "direct_response": ABORT},
        route("/uncounted", "up"),
    ]
    clusters = [cluster("up", [port]), cluster("nobody", []), cluster("dead", [1])]
    return routes, clusters, []


def more(ports: dict[str, int]) -> str:
    (port,) = ports.values()
    return "---".join([service("up.test", [port]), service("nobody.test", []), service("dead.test", [1])])


async def ours(pair: Pair) -> dict[str, dict[str, int]]:
    """Route -> what ends the names of its counters -> count, as Envoy's ``/stats`` has them."""
    outcome = await RawClient(pair.gatewayd.metrics_port).http(
        b"GET /stats/prometheus HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    )
    found: dict[str, dict[str, int]] = {}
    for family in text_string_to_metric_families(outcome.response.body.decode()):
        for sample in family.samples:
            route_name, mark, ending = sample.name.removeprefix(OURS).partition("_upstream_rq")
            if not mark or not sample.name.startswith(OURS) or ending in ("_time_bucket", "_time_sum"):
                continue
            status = sample.labels.get("response_code") or sample.labels.get("response_code_class")
            name = status or ending.lstrip("_").removesuffix("_total") or "total"
            found.setdefault(route_name, {})[name] = int(sample.value)
    return found


async def test_18_7_routes_are_counted_as_envoy_counts_them(tmp_path: Path) -> None:
    async with Pair(tmp_path, ["up"], RULES, envoy, more) as pair:
        for request in REQUESTS:
            await pair.same(request)
        found = await ours(pair)
        times = {name: counters.pop("time_count") for name, counters in found.items()}
        for name in (*ROUTES, "moved", "aborted"):
            counted = await pair.envoy.statistics(f"{VIRTUAL_HOST}{name}.upstream_rq_")
            assert {key: value for key, value in found.pop(name, {}).items() if value} == {
                key: value for key, value in counted.items() if value
            }, name
        assert found == {}
        # As its histograms say: answers of upstreams.
        assert times == {"plain": 8, "nobody": 0, "dead": 0, "slow": 0, "tries": 0, "aborted": 0}
