"""The figures the project has set itself, as one table, and whether a run holds them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.macro import policy_site
from benchmarks.macro.results import Results
from benchmarks.macro.scenarios import (
    bulk,
    http2,
    https,
    idle,
    observed,
    policies,
    reload,
    requests,
    scale,
    scrape,
    tcp,
    workers,
)

OURS = "gatewayd"
MOST_HOSTS = 10_000
MOST_RULES = 10_000


@dataclass(frozen=True)
class Goal:
    """An upper bound for a figure of ours; `figure` takes it from the results, None if not measured."""

    row: str
    what: str
    figure: Callable[[Results], float | None]
    reach: float
    aim: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One goal against one run."""

    goal: Goal
    value: float
    valid: bool
    """Whether all rounds behind the figure may be used."""

    @property
    def held(self) -> bool:
        """Whether the figure to reach was reached."""
        return self.valid and self.value <= self.goal.reach


def own(row: str) -> Callable[[Results], float | None]:
    """Our median in a row."""

    def figure(results: Results) -> float | None:
        cell = results.cell(row, OURS)
        return cell.median if cell else None

    return figure


def against_peer(row: str, peer: str) -> Callable[[Results], float | None]:
    """Our median divided by a peer's."""

    def figure(results: Results) -> float | None:
        return next((each.ratio(OURS, peer) for each in results.rows() if each.name == row), None)

    return figure


def against_row(row: str, base: str) -> Callable[[Results], float | None]:
    """Our median in one row divided by ours in another."""

    def figure(results: Results) -> float | None:
        ours, other = own(row)(results), own(base)(results)
        return ours / other if ours is not None and other else None

    return figure


def above_row(row: str, base: str) -> Callable[[Results], float | None]:
    """How much our median in one row is above ours in another."""

    def figure(results: Results) -> float | None:
        ours, other = own(row)(results), own(base)(results)
        return max(0.0, ours - other) if ours is not None and other is not None else None

    return figure


_MOST = scale.hosts_row(MOST_HOSTS)
_RULES = scale.rules_row(MOST_RULES)
_CERTIFICATES = https.certificates_row(https.MOST_CERTIFICATES)
_FEW_CERTIFICATES = https.certificates_row(https.FEW_CERTIFICATES)
_PLAIN = policies.row(policy_site.PLAIN)
_RELOADS = [case.row(MOST_HOSTS) for case in reload.CASES]

GOALS = (
    Goal(requests.REPEATED, "x nginx", against_peer(requests.REPEATED, "nginx"), 1.25, 1.0),
    Goal(requests.REPEATED, "x Envoy", against_peer(requests.REPEATED, "envoy"), 0.5),
    Goal(requests.VARIED, "x nginx", against_peer(requests.VARIED, "nginx"), 1.5, 1.1),
    Goal(requests.NEW, "x nginx", against_peer(requests.NEW, "nginx"), 1.8, 1.3),
    Goal(observed.ALL, "x nothing on", against_row(observed.ALL, observed.OFF), 1.10),
    Goal(
        scrape.slowest_row(asked=True),
        "ms above the slowest while nobody asks",
        above_row(scrape.slowest_row(asked=True), scrape.slowest_row(asked=False)),
        5.0,
    ),
    Goal(
        workers.row(workers.TWO),
        "x 1 worker",
        against_row(workers.row(workers.TWO), workers.row(workers.ONE)),
        1.05,
    ),
    Goal(
        workers.busiest_row(workers.TWO),
        "x 1 worker",
        against_row(workers.busiest_row(workers.TWO), workers.busiest_row(workers.ONE)),
        1 / 1.8,
    ),
    Goal(workers.PRIVATE, "MiB", own(workers.PRIVATE), 25.0),
    Goal(_MOST, "x 1 host", against_row(_MOST, scale.hosts_row(1)), 1.3, 1.1),
    Goal(f"{_MOST}: load", "s", own(f"{_MOST}: load"), 6.0, 3.0),
    Goal(f"{_MOST}: memory", "MiB", own(f"{_MOST}: memory"), 350.0, 200.0),
    *(Goal(f"{row}: load", "s", own(f"{row}: load"), 6.0, 3.0) for row in _RELOADS),
    *(Goal(reload.in_force_row(row), "ms", own(reload.in_force_row(row)), 300.0) for row in _RELOADS),
    *(
        Goal(
            reload.slowest_row(row, changing=True),
            "ms above the slowest while nothing changes",
            above_row(reload.slowest_row(row, changing=True), reload.slowest_row(row, changing=False)),
            20.0,
        )
        for row in _RELOADS
    ),
    Goal(_RULES, "x 1 rule", against_row(_RULES, scale.ONE_RULE), 2.0, 1.3),
    Goal(requests.NEW_CONNECTION, "x nginx", against_peer(requests.NEW_CONNECTION, "nginx"), 1.8, 1.3),
    Goal(requests.NEW_CONNECTION, "x Envoy", against_peer(requests.NEW_CONNECTION, "envoy"), 0.8),
    Goal(bulk.DOWNLOAD, "x Envoy", against_peer(bulk.DOWNLOAD, "envoy"), 1.0),
    Goal(idle.IDLE, "MiB", own(idle.IDLE), 60.0, 45.0),
    Goal(idle.IDLE_CONNECTION, "KiB", own(idle.IDLE_CONNECTION), 6.0, 3.0),
    Goal(bulk.SLOW_UPLOAD, "MiB", own(bulk.SLOW_UPLOAD), 8.0),
    Goal(tcp.PING_PONG, "x nginx", against_peer(tcp.PING_PONG, "nginx"), 1.2),
    Goal(tcp.SNI_PING_PONG, "x nginx", against_peer(tcp.SNI_PING_PONG, "nginx"), 1.2),
    Goal(tcp.TCP_BULK, "x haproxy", against_peer(tcp.TCP_BULK, "haproxy"), 1.0),
    Goal(tcp.TCP_BULK, "x Envoy", against_peer(tcp.TCP_BULK, "envoy"), 1.0),
    Goal(https.KEEP_ALIVE, "x nginx", against_peer(https.KEEP_ALIVE, "nginx"), 1.25),
    Goal(https.KEEP_ALIVE, "x Envoy", against_peer(https.KEEP_ALIVE, "envoy"), 0.6),
    Goal(https.HANDSHAKE, "x nginx", against_peer(https.HANDSHAKE, "nginx"), 1.3),
    Goal(https.DOWNLOAD, "x Envoy", against_peer(https.DOWNLOAD, "envoy"), 1.1),
    Goal(_CERTIFICATES, "x 10", against_row(_CERTIFICATES, _FEW_CERTIFICATES), 1.05),
    Goal(f"{_CERTIFICATES}: load", "s", own(f"{_CERTIFICATES}: load"), 10.0),
    Goal(f"{_CERTIFICATES}: memory, all used", "MiB", own(f"{_CERTIFICATES}: memory, all used"), 600.0),
    Goal(http2.REPEATED, "x Envoy", against_peer(http2.REPEATED, "envoy"), 0.8, 0.5),
    Goal(http2.GRPC, "x Envoy", against_peer(http2.GRPC, "envoy"), 1.0, 0.6),
    Goal(http2.DOWNLOAD, "x Envoy", against_peer(http2.DOWNLOAD, "envoy"), 1.5),
    Goal(http2.RESETS_CUT, "streams", own(http2.RESETS_CUT), 1000.0),
    Goal(http2.RESETS, "CPU ms", own(http2.RESETS), 30.0),
    *(
        Goal(policies.row(name), "x plain", against_row(policies.row(name), _PLAIN), 1.5)
        for name in (policy_site.RETRIES, policy_site.FAULT, policy_site.MIRROR, policy_site.HASH)
    ),
)


def verdicts(results: Results) -> Iterator[Verdict]:
    """A verdict for each goal that this run has measured."""
    rows = {row.name: row for row in results.rows()}
    for goal in GOALS:
        value = goal.figure(results)
        if value is not None:
            yield Verdict(goal, value, all(cell.valid for cell in rows[goal.row].cells.values()))
