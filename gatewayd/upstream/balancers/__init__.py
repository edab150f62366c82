"""Which endpoint gets the next request: one small file per policy, all listed in ``BALANCERS``.

``base.py`` says what an endpoint must look like and how retries avoid hosts already tried;
``round_robin.py``, ``least_request.py`` and ``random_choice.py`` are the policies;
``deadline_order.py`` is the weighted rotation the first two share. A balancer is made for one set of
endpoints and thrown away with it: a change of membership, weight or readiness makes a new one.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayd.upstream.balancers.base import BalancedEndpoint, Balancer
from gatewayd.upstream.balancers.least_request import LeastRequest
from gatewayd.upstream.balancers.random_choice import RandomChoice
from gatewayd.upstream.balancers.round_robin import RoundRobin

#: ``ClusterSpec.balancer`` to its policy (semantics 9.1).
BALANCERS: Final[dict[str, type[Balancer[Any]]]] = {
    "LEAST_REQUEST": LeastRequest,
    "RANDOM": RandomChoice,
    "ROUND_ROBIN": RoundRobin,
}

__all__ = ["BALANCERS", "BalancedEndpoint", "Balancer"]
