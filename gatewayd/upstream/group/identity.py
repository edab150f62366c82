"""What is shared, and under which name: the same in every worker, whenever it reads the configuration."""

from __future__ import annotations

from dataclasses import fields
from hashlib import blake2b
from typing import Final

from gatewayd.upstream.spec import NO_LIMITS, STATIC, ClusterSpec

#: Rows of a block (:mod:`gatewayd.cells`). Of an endpoint: requests in progress, and failures in a row.
BUSY: Final = 0
ERRORS: Final = 1
GATEWAY_ERRORS: Final = 2
LOCAL_FAILURES: Final = 3
#: Rows of a cluster's block.
CONNECTIONS: Final = 0
PENDING: Final = 1
REQUESTS: Final = 2
RETRIES: Final = 3
ACTIVE: Final = 4
#: requests and retries that ever began there
BEGUN: Final = 5

#: Words of an endpoint: when it was ejected (ns, 0 = it is not), by what its time is multiplied, how often ever,
#: and when an interval was last counted for it (ns).
EJECTED_AT: Final = 0
TIMES: Final = 1
EJECTIONS: Final = 2
LOOKED_AT: Final = 3
#: Words of a cluster: counts decisions about its endpoints.
DECISIONS: Final = 0

#: What does not tell clusters apart, or is an object of this process that ``tls_spec`` stands for.
_LEFT_OUT: Final = frozenset({"metadata", "tls"})


def needs_group(spec: ClusterSpec) -> bool:
    """Whether anything about the cluster depends on what other workers do with it."""
    return bool(spec.limits != NO_LIMITS or spec.outlier is not None or balances_by_load(spec))


def balances_by_load(spec: ClusterSpec) -> bool:
    """Whether requests in progress decide who gets the next: least request, with a choice to make."""
    alone = spec.discovery == STATIC and len(spec.endpoints) < 2
    return spec.balancer.policy == "LEAST_REQUEST" and not alone


def cluster_key(spec: ClusterSpec) -> str:
    """Equal for equal specs, whichever process asks; a changed cluster counts anew, as its object is a new one."""
    said = repr([getattr(spec, field.name) for field in fields(spec) if field.name not in _LEFT_OUT])
    return f"{spec.name} {blake2b(said.encode(), digest_size=16).hexdigest()}"


def endpoint_key(cluster: str, address: str, port: int) -> str:
    """That of an endpoint of the cluster with the key ``cluster``."""
    return f"{cluster} {address} {port}"
