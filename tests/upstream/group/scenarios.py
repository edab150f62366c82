"""What workers do with one cluster; each function is played by a process of its own (``test_processes.py``)."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import Any

from gatewayd.cells import Cells, columns_for
from gatewayd.upstream.outlier import OutlierPolicy
from gatewayd.upstream.registry import Registry
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec, Limits
from tests.support.forked import Channel, Child

_ENDPOINTS = tuple(EndpointSpec(f"10.0.0.{number}", 80) for number in (1, 2, 3))


def _cluster(cells: Cells, **fields: Any) -> Any:
    cluster = Registry(asyncio.new_event_loop(), cells=cells).adopt(
        ClusterSpec("c", "a.test", 80, endpoints=_ENDPOINTS, **fields)
    )
    cluster.start()
    return cluster


def a_limit_holds_while_all_take_and_give_back() -> None:
    """Looking and taking are two steps: each other worker may be between them once."""
    limit, workers, turns = 5, 3, 4000
    cells = Cells(columns_for(workers))

    def take(channel: Channel, column: int | None) -> None:
        cells.attach(column)
        budget = _cluster(cells, limits=Limits(max_requests=limit)).budget
        channel.say()
        channel.hear()
        most = refused = 0
        for _ in range(turns):
            if budget.room_to_send():
                budget.requests += 1
                most = max(most, sum(budget._rows[2]))
            else:
                refused += 1
                budget.requests = max(0, budget.requests - 1)
        budget.requests = 0
        channel.say([most, refused])
        channel.hear()

    with ExitStack() as stack:
        children = [stack.enter_context(Child(take, cells.reserve())) for _ in range(workers)]
        for child in children:
            child.hear()
        for child in children:
            child.say()
        told = [child.hear() for child in children]
        assert limit <= max(most for most, _ in told) <= limit + workers - 1, told
        assert any(refused for _, refused in told), told


def an_ejection_is_seen_by_all() -> None:
    cells = Cells(columns_for(2))
    policy = OutlierPolicy(consecutive_5xx=4, max_ejection_percent=50, base_ejection_s=0.01, interval_s=0.01)

    def serve(channel: Channel, column: int | None) -> None:
        cells.attach(column)
        cluster = _cluster(cells, outlier=policy)
        while True:
            order, endpoint = channel.hear()
            if order == "fail":
                cluster.detector.response(cluster.endpoints[endpoint].health, 503, time.monotonic())
            elif order == "sweep":
                cluster.sweep(time.monotonic())
            picked = {cluster.pick().address for _ in range(100)}
            channel.say(sorted(int(address[-1]) - 1 for address in picked))

    with Child(serve, cells.reserve()) as one, Child(serve, cells.reserve()) as two:

        def ask(child: Child, order: str, endpoint: int = 0) -> Any:
            child.say([order, endpoint])
            return child.hear()

        for child in (one, two):
            assert ask(child, "pick") == [0, 1, 2]  # both are there: one that joins begins a row anew
        for child in (one, two, one):
            assert ask(child, "fail") == [0, 1, 2]
        assert ask(two, "fail") == [1, 2], "it was the fourth in a row"
        assert ask(one, "pick") == [1, 2]
        for _ in range(4):
            ask(one, "fail", 1)
        assert ask(two, "pick") == [1, 2], "half of three is one"
        while ask(two, "sweep") != [0, 1, 2]:
            pass
        assert ask(one, "pick") == [0, 1, 2], "and its end is seen as well"
