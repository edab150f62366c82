"""Typed resources in, one immutable :class:`~gatewayd.snapshot.Snapshot` out: Istio's control plane.

``compile.py`` is the list of steps. Each keeps what it made and does only what changed: ``delta.py`` says what that is.

``names.py``, ``visibility.py``, ``ordering.py`` are the small laws; ``gateways.py`` and ``servers.py`` say which ports;
``prepare.py`` with ``delegates.py``, ``matches.py``, ``headers.py`` reads each VirtualService on its own,
``ingress.py`` each Ingress; ``meetings.py`` says who meets which server, ``virtual_services.py`` and
``virtual_hosts.py`` bind them, ``l4.py`` the rules for connections; ``destinations.py`` with ``services.py``,
``endpoints.py``, ``destination_rules.py``, ``policy.py`` and ``pins.py`` finds what they send to, and ``clusters.py``
remembers who asked; ``listeners.py`` puts it together; ``shadows.py`` and ``review.py`` look for what was hardly
meant, and ``reviewer.py`` knows when to look again; ``findings.py`` is what all of them say. No sockets, no files, no
globals; the same resources give the same snapshot, whatever was compiled before.
"""

from gatewayd.compiler.compile import Compiler, compile_snapshot
from gatewayd.compiler.options import REJECT, RESOLVE, CompileOptions

__all__ = ["REJECT", "RESOLVE", "CompileOptions", "Compiler", "compile_snapshot"]
