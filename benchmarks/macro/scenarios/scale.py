"""What a large routing table costs: per request, at start and in memory."""

import contextlib

from benchmarks.macro import traffic
from benchmarks.macro.bench import Bench, Subject
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.proxies import Running
from benchmarks.macro.site import many_hosts_site, many_rules_site, one_rule_site

LOAD_UNIT = "s from start to first answer"
LOAD_CPU_UNIT = "CPU s from start to first answer"
RSS_UNIT = "MiB RSS"
ONE_RULE = "one host, 1 rule"


def hosts_row(count: int) -> str:
    """Row of `count` hosts where host and path alone differ from request to request."""
    return f"{count:,} {'host' if count == 1 else 'hosts'} x 5 rules"


def hosts_new_row(count: int) -> str:
    """Row of `count` hosts where 10,000 different cookies make heads equally varied for every table."""
    return f"{hosts_row(count)}, 10,000 cookies"


def rules_row(count: int) -> str:
    """Row of one host with `count` rules."""
    return f"one host, {count:,} mixed rules"


def many_hosts(bench: Bench) -> None:
    """Random hosts among 1, 100, 1,000, 10,000 with five rules each, all tables in the same rounds.

    With one host only five different heads exist, with 10,000 nearly all differ; the rows with cookies,
    for the smallest and the largest table, tell the cost of the table from that of the variety.
    """
    counts = bench.options.host_counts
    port = bench.origin_port()
    subjects = []
    with contextlib.ExitStack() as stack:
        for count in counts:
            bench.say(f"  starting with {count:,} hosts")
            running = stack.enter_context(bench.proxies(many_hosts_site(count, port)))
            kinds = {hosts_row(count): traffic.random_hosts(count, SMALL_BYTES, cookies=False)}
            if count in (min(counts), max(counts)):
                kinds[hosts_new_row(count)] = traffic.random_hosts(count, SMALL_BYTES, cookies=True)
            subjects += [Subject(row, proxy, kind) for row, kind in kinds.items() for proxy in running]
            for proxy in running:
                add_start(bench, hosts_row(count), proxy)
        bench.interleave(subjects)


def many_rules(bench: Bench) -> None:
    """One host with 10,000 exact, prefix, regex and header rules against one rule, the same requests to both.

    nginx is left out: it has no natural form for rules with headers.
    """
    count = bench.options.rule_count
    port = bench.origin_port()
    kind = traffic.random_rules(count, SMALL_BYTES)
    names = ("gatewayd", "envoy")
    with (
        bench.proxies(one_rule_site(port), names) as one,
        bench.proxies(many_rules_site(count, port), names) as many,
    ):
        for proxy in many:
            add_start(bench, rules_row(count), proxy)
        bench.interleave(
            [
                Subject(row, proxy, kind)
                for row, running in ((ONE_RULE, one), (rules_row(count), many))
                for proxy in running
            ]
        )


def add_start(bench: Bench, row: str, proxy: Running) -> None:
    """Keep what it took to be ready, and what is held then; CPU time tells more on a busy machine."""
    bench.add(f"{row}: load", LOAD_UNIT, proxy.name, proxy.load_s)
    bench.add(f"{row}: load, CPU time", LOAD_CPU_UNIT, proxy.name, proxy.load_cpu_s)
    add_memory(bench, f"{row}: memory", proxy.name, proxy.memory().rss_kib)


def add_memory(bench: Bench, row: str, proxy: str, rss_kib: int) -> None:
    """Keep a figure of memory, in MiB."""
    bench.add(row, RSS_UNIT, proxy, rss_kib / 1024)
