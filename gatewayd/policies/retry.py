"""When an exchange may be tried again (semantics 6.7, 15). Pure; the exchange holds the state.

Nothing here asks for the method: no retriable condition does (semantics 15.6). What may have been executed
is tried again only where ``retryOn`` says so (hardening promise 9.5).
"""

from __future__ import annotations

from collections.abc import Callable
from random import random as random_float
from typing import Final, Protocol

from gatewayd import errors
from gatewayd.errors import Failure


class Policy(Protocol):
    """The fields of ``RetryPolicy`` (routing stands above policies, so it is named by its shape)."""

    @property
    def attempts(self) -> int:
        """Retries in addition to the first try."""

    @property
    def retry_on(self) -> frozenset[str]:
        """Condition words."""

    @property
    def status_codes(self) -> frozenset[int]:
        """What ``retriable-status-codes`` means."""

    @property
    def base_interval_s(self) -> float:
        """Back-off base."""


_CONNECT_FAILURES: Final = frozenset({errors.CONNECT_REFUSED, errors.CONNECT_LOCAL, errors.CONNECT_TIMEOUT})
_GATEWAY_STATUS: Final = frozenset({502, 503, 504})
#: gRPC conditions look at grpc-status in response headers (semantics 15.4).
_GRPC: Final = {
    b"1": "cancelled",
    b"4": "deadline-exceeded",
    b"8": "resource-exhausted",
    b"13": "internal",
    b"14": "unavailable",
}


def retries_failure(policy: Policy, failure: Failure, *, head_sent: bool) -> bool:
    """Whether ``failure``, an attempt that ended without a response, may be tried again (15.1, 15.2).

    ``head_sent``: the request's head had been written to the upstream.
    """
    if failure is errors.OVERFLOW:
        return False  # semantics 15.5
    wanted = policy.retry_on
    if "5xx" in wanted or "gateway-error" in wanted:
        return True
    if failure in _CONNECT_FAILURES:
        return "connect-failure" in wanted or "reset-before-request" in wanted or "reset" in wanted
    if failure is errors.UPSTREAM_REFUSED:
        return "refused-stream" in wanted or "reset" in wanted
    if failure is errors.PER_TRY_TIMEOUT:
        return "reset" in wanted
    return "reset" in wanted or ("reset-before-request" in wanted and not head_sent)


def retries_response(policy: Policy, status: int, grpc_status: bytes, *, ratelimited: bool = False) -> bool:
    """Whether a response with ``status`` may be thrown away and tried again (15.1, 15.3, 15.4)."""
    wanted = policy.retry_on
    if ratelimited:
        return "envoy-ratelimited" in wanted
    if status >= 500 and "5xx" in wanted:
        return True
    if status in _GATEWAY_STATUS and "gateway-error" in wanted:
        return True
    if status == 409 and "retriable-4xx" in wanted:
        return True
    if status in policy.status_codes and "retriable-status-codes" in wanted:
        return True
    return bool(grpc_status) and _GRPC.get(grpc_status, "") in wanted


def backoff_s(policy: Policy, retry: int, random: Callable[[], float] = random_float) -> float:
    """Seconds to wait before retry ``retry`` (1 is the first): uniform in [0, (2^N - 1) x base), capped
    at 10 x base (semantics 6.7.5).
    """
    base = policy.base_interval_s
    return random() * min(float(2**retry - 1), 10.0) * base
