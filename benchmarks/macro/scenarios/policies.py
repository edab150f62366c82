"""What each policy costs beside a plain route: gatewayd's own routes against each other, in the same rounds."""

from dataclasses import replace

from benchmarks.macro import policy_site
from benchmarks.macro.bench import Bench, Subject
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.site import plain_site


def row(name: str) -> str:
    """Row of a route in the table."""
    return f"policies: {policy_site.policy(name).row}"


def policy_routes(bench: Bench) -> None:
    """Keep-alive, 1 KiB, repeated heads, one process: a plain route, then a route for each policy.

    A mirrored request is two requests for the upstream, and both are in its figure.
    """
    port = bench.origin_port()
    site = replace(plain_site(port), istio=policy_site.documents(port))
    with bench.proxies(site, ["gatewayd"]) as running:
        bench.interleave(
            [
                Subject(row(each.name), proxy, policy_site.requests(each, SMALL_BYTES))
                for proxy in running
                for each in policy_site.POLICIES
                if each.name != policy_site.ABORT  # half of its answers are none to be counted as good
            ]
        )
        bench.check_logs(running)
