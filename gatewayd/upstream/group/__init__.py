"""Clusters of a process that is one of several: what has to hold for all of them is counted in shared cells.

A worker that is alone has none of this. Where there are several, the registry makes a ``GroupCluster`` for a cluster
that has something to share, and everything it is made of counts twice: for the worker itself, as always, and in its
cell of a row that the others read. ``endpoint.py`` is what least request reads,
``budget.py`` the limits, ``outlier.py`` passive health, ``identity.py`` under which names the rows are found.
"""

from __future__ import annotations

from gatewayd.upstream.group.cluster import make_group_cluster

__all__ = ["make_group_cluster"]
