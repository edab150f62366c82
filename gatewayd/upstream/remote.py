"""The endpoint of a retry that shall leave localities behind (``retryRemoteLocalities``, semantics 6.7.7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import choice as random_choice
from typing import Any, Final

from gatewayd.upstream.balancers import Balancer

#: Priorities are given up after every second attempt.
_EVERY: Final = 2


def pick_remote(
    balancer: Balancer[Any],
    tried: Sequence[Any],
    choose: Callable[[Sequence[Any]], Any] = random_choice,
) -> Any:
    """An endpoint of the first priority that was not given up; None when nobody is ready.

    ``tried``: endpoints in the order of the attempts. With every priority given up, all count again.
    """
    settled = tried[: len(tried) - len(tried) % _EVERY]
    given_up = {endpoint.priority for endpoint in settled}
    others = [endpoint for endpoint in balancer.ready if endpoint.priority not in given_up]
    if not given_up or not others:
        return balancer.pick_other(tried)
    first = min(endpoint.priority for endpoint in others)
    level = [endpoint for endpoint in others if endpoint.priority == first]
    return choose([endpoint for endpoint in level if endpoint not in tried] or level)
