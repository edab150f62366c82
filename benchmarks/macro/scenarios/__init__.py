"""What is measured, one file per kind; `SCENARIOS` names them in the order of a full run."""

from collections.abc import Callable

from benchmarks.macro.bench import Bench
from benchmarks.macro.scenarios import http2
from benchmarks.macro.scenarios.bulk import download, slow_upload, upload
from benchmarks.macro.scenarios.https import (
    keepalive_and_handshakes,
    many_certificates,
    tls_download,
    tls_upload,
)
from benchmarks.macro.scenarios.idle import idle_memory
from benchmarks.macro.scenarios.observed import what_it_costs
from benchmarks.macro.scenarios.policies import policy_routes
from benchmarks.macro.scenarios.rate import fixed_rate
from benchmarks.macro.scenarios.reload import one_changed
from benchmarks.macro.scenarios.requests import keepalive, medium_responses, new_connections
from benchmarks.macro.scenarios.scale import many_hosts, many_rules
from benchmarks.macro.scenarios.scrape import asked_under_load
from benchmarks.macro.scenarios.tcp import ping_pong, tcp_bulk
from benchmarks.macro.scenarios.workers import two_workers

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "keepalive": keepalive,
    "64k": medium_responses,
    "newconn": new_connections,
    "download": download,
    "upload": upload,
    "slow-upload": slow_upload,
    "hosts": many_hosts,
    "rules": many_rules,
    "idle": idle_memory,
    "rate": fixed_rate,
    "reload": one_changed,
    "workers": two_workers,
    "policies": policy_routes,
    "observed": what_it_costs,
    "scrape": asked_under_load,
    "tcp": ping_pong,
    "tcp-bulk": tcp_bulk,
    "https": keepalive_and_handshakes,
    "https-download": tls_download,
    "https-upload": tls_upload,
    "certificates": many_certificates,
    "http2": http2.requests,
    "grpc": http2.grpc_unary,
    "http2-download": http2.download,
    "http2-resets": http2.rapid_resets,
}
