"""What it costs to be looked at: access log, metrics and admin port on, against all of them off."""

from contextlib import ExitStack
from dataclasses import replace

from benchmarks.macro import traffic
from benchmarks.macro.bench import Bench, Subject
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.site import plain_site

#: What of a process is on -> its row.
OFF = "observed: nothing"
NUMBERS = "observed: metrics and admin"
LOG = "observed: access log"
ALL = "observed: access log, metrics and admin"


def what_it_costs(bench: Bench) -> None:
    """Keep-alive, 1 KiB, repeated heads: four processes that differ only in what they write down."""
    site = plain_site(bench.origin_port())
    kinds = {OFF: (False, False), NUMBERS: (False, True), LOG: (True, False), ALL: (True, True)}
    with ExitStack() as stack:
        subjects = []
        for row, (log, numbers) in kinds.items():
            options = replace(bench.options.proxy_options, access_log=log, numbers=numbers)
            for proxy in stack.enter_context(bench.proxies(site, ["gatewayd"], options)):
                subjects.append(Subject(row, proxy, traffic.repeated(SMALL_BYTES)))
        bench.interleave(subjects)
        bench.check_logs([subject.proxy for subject in subjects if kinds[subject.row][0]])
