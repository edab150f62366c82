"""Semantics 6.7 and 15: which failures and responses may be tried again, and how long to wait."""

from __future__ import annotations

import pytest

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.policies.retry import backoff_s, retries_failure, retries_response
from gatewayd.routing.route import DEFAULT_RETRY, RetryPolicy

CONNECT = (errors.CONNECT_REFUSED, errors.CONNECT_LOCAL, errors.CONNECT_TIMEOUT)
RESET = (errors.UPSTREAM_CLOSED, errors.UPSTREAM_RESET, errors.UPSTREAM_PROTOCOL)


def policy(*words: str, codes: tuple[int, ...] = ()) -> RetryPolicy:
    return RetryPolicy(retry_on=frozenset(words), status_codes=frozenset(codes))


@pytest.mark.parametrize("failure", CONNECT)
def test_the_default_policy_retries_a_connection_that_could_not_be_made(failure: Failure) -> None:
    """6.7.1, 15.2."""
    assert retries_failure(DEFAULT_RETRY, failure, head_sent=False)


@pytest.mark.parametrize("failure", [*RESET, errors.PER_TRY_TIMEOUT, errors.OVERFLOW])
@pytest.mark.parametrize("head_sent", [True, False])
def test_the_default_policy_retries_nothing_that_may_have_run(failure: Failure, head_sent: bool) -> None:
    """6.7.1, hardening 9.5."""
    assert not retries_failure(DEFAULT_RETRY, failure, head_sent=head_sent)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_the_default_policy_retries_no_plain_response(status: int) -> None:
    """6.7.1: retriable-status-codes with an empty list."""
    assert not retries_response(DEFAULT_RETRY, status, b"")


@pytest.mark.parametrize(
    ("grpc_status", "retried"),
    [(b"1", True), (b"14", True), (b"4", False), (b"8", False), (b"0", False), (b"x", False)],
)
def test_the_default_policy_retries_two_grpc_statuses(grpc_status: bytes, retried: bool) -> None:
    """6.7.1, 15.4."""
    assert retries_response(DEFAULT_RETRY, 200, grpc_status) is retried


@pytest.mark.parametrize("word", ["5xx", "gateway-error"])
@pytest.mark.parametrize("failure", [*CONNECT, *RESET, errors.PER_TRY_TIMEOUT])
def test_no_response_at_all_counts_as_5xx_and_as_gateway_error(word: str, failure: Failure) -> None:
    """15.1."""
    assert retries_failure(policy(word), failure, head_sent=True)


@pytest.mark.parametrize(
    ("word", "failure", "head_sent", "retried"),
    [
        ("reset", errors.UPSTREAM_CLOSED, True, True),
        ("reset", errors.PER_TRY_TIMEOUT, True, True),
        ("reset", errors.CONNECT_REFUSED, False, True),
        ("reset-before-request", errors.UPSTREAM_CLOSED, True, False),
        ("reset-before-request", errors.UPSTREAM_CLOSED, False, True),
        ("connect-failure", errors.UPSTREAM_CLOSED, False, False),
        ("retriable-4xx", errors.CONNECT_REFUSED, False, False),
    ],
)
def test_words_for_resets(word: str, failure: Failure, head_sent: bool, retried: bool) -> None:
    """15.2."""
    assert retries_failure(policy(word), failure, head_sent=head_sent) is retried


@pytest.mark.parametrize("word", ["5xx", "gateway-error", "reset", "connect-failure"])
def test_an_overflow_is_never_retried(word: str) -> None:
    """15.5."""
    assert not retries_failure(policy(word), errors.OVERFLOW, head_sent=False)


@pytest.mark.parametrize(
    ("word", "yes", "no"),
    [
        ("5xx", (500, 501, 503, 599), (200, 404, 499)),
        ("gateway-error", (502, 503, 504), (500, 501, 505)),
        ("retriable-4xx", (409,), (400, 404, 429)),
    ],
)
def test_words_for_responses(word: str, yes: tuple[int, ...], no: tuple[int, ...]) -> None:
    """15.1, 15.3."""
    assert all(retries_response(policy(word), status, b"") for status in yes)
    assert not any(retries_response(policy(word), status, b"") for status in no)


def test_status_codes_need_their_word_and_the_word_needs_codes() -> None:
    """6.7.3, 15.3."""
    assert retries_response(policy("retriable-status-codes", codes=(418,)), 418, b"")
    assert not retries_response(policy("retriable-status-codes", codes=(418,)), 503, b"")
    assert not retries_response(policy("retriable-status-codes"), 503, b"")
    assert not retries_response(policy("reset", codes=(418,)), 418, b"")


def test_a_ratelimited_response_is_retried_by_its_own_word_only() -> None:
    """15.3."""
    assert retries_response(policy("envoy-ratelimited"), 429, b"", ratelimited=True)
    assert not retries_response(
        policy("5xx", "retriable-status-codes", codes=(429,)), 429, b"", ratelimited=True
    )
    assert not retries_response(policy("envoy-ratelimited"), 429, b"")


@pytest.mark.parametrize(
    "grpc", ["cancelled", "deadline-exceeded", "resource-exhausted", "internal", "unavailable"]
)
def test_each_grpc_word_means_one_status(grpc: str) -> None:
    """15.4."""
    codes = {
        "cancelled": 1,
        "deadline-exceeded": 4,
        "resource-exhausted": 8,
        "internal": 13,
        "unavailable": 14,
    }
    retried = [code for code in range(17) if retries_response(policy(grpc), 200, b"%d" % code)]
    assert retried == [codes[grpc]]


@pytest.mark.parametrize(("retry", "bound"), [(1, 0.025), (2, 0.075), (3, 0.175), (4, 0.25), (50, 0.25)])
def test_the_backoff_is_uniform_below_a_growing_bound(retry: int, bound: float) -> None:
    """6.7.5: [0, (2^N - 1) x base), capped at ten times the base."""
    assert backoff_s(DEFAULT_RETRY, retry, lambda: 0.0) == 0.0
    assert backoff_s(DEFAULT_RETRY, retry, lambda: 0.5) == pytest.approx(bound / 2)
    assert 0 <= backoff_s(DEFAULT_RETRY, retry) < bound


def test_the_backoff_follows_the_base() -> None:
    assert backoff_s(RetryPolicy(base_interval_s=1.0), 2, lambda: 1.0) == pytest.approx(3.0)
