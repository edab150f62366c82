"""Typed resources in, one immutable :class:`~gatewayd.snapshot.Snapshot` out: Istio's control plane, pure.

``names.py``, ``visibility.py``, ``ordering.py`` are the small laws; ``gateways.py`` says which ports;
``prepare.py`` with ``delegates.py``, ``matches.py``, ``headers.py`` reads each VirtualService on its own;
``virtual_services.py`` and ``virtual_hosts.py`` bind them to servers; ``destinations.py`` with
``services.py``, ``endpoints.py``, ``destination_rules.py``, ``policy.py`` and ``pins.py`` finds what they
send to; ``ingress.py`` makes the same of Ingresses; ``shadows.py`` and ``review.py`` look for what was
hardly meant. No sockets, no files, no globals; the same resources give the same snapshot.
"""

from gatewayd.compiler.compile import compile_snapshot
from gatewayd.compiler.memory import CompileMemory
from gatewayd.compiler.options import REJECT, RESOLVE, CompileOptions

__all__ = ["REJECT", "RESOLVE", "CompileMemory", "CompileOptions", "compile_snapshot"]
