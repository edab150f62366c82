"""Which endpoint gets the next request: one small file per policy, all listed in ``BALANCERS``.

``make.py`` turns what a DestinationRule asks for into a balancer. ``base.py`` says what an endpoint must
look like and how retries avoid hosts already tried; ``round_robin.py``, ``least_request.py`` and
``random_choice.py`` are policies, ``deadline_order.py`` is the weighted rotation the first two share,
``warm_order.py`` the same while endpoints warm up (``slow_start.py``). ``hash_balancer.py`` is what
``ring_hash.py`` and ``maglev.py`` share. ``by_load.py`` follows what endpoints say of their load.
``prioritised.py`` balances over priorities (``priority_load.py``) and localities (``locality_order.py``).

A balancer is made for one set of endpoints and thrown away with it: a change of membership, weight or
readiness makes a new one.
"""

from __future__ import annotations

from gatewayd.upstream.balancers.base import BalancedEndpoint, Balancer
from gatewayd.upstream.balancers.by_load import LoadOptions
from gatewayd.upstream.balancers.hash_balancer import HashOptions
from gatewayd.upstream.balancers.make import BALANCERS, BalancerOptions, make_balancer, make_prioritised
from gatewayd.upstream.balancers.prioritised import Locality
from gatewayd.upstream.balancers.slow_start import SlowStart

__all__ = [
    "BALANCERS",
    "BalancedEndpoint",
    "Balancer",
    "BalancerOptions",
    "HashOptions",
    "LoadOptions",
    "Locality",
    "SlowStart",
    "make_balancer",
    "make_prioritised",
]
