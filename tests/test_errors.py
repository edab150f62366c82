"""The table of failures (semantics 16): statuses, flags, details and bodies as Envoy has them."""

from __future__ import annotations

import pytest

from gatewayd import errors
from gatewayd.errors import FAILURES, Failure, body_after_retry

_WORDS = "DC LH UH UT LR UR UF UC UO URX NR DI FI RL UAEX RLSE SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO -"
FLAGS = set(_WORDS.split(" "))
PREFIX = b"upstream connect error or disconnect/reset before headers. "


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_every_row_is_one_envoy_could_log(failure: Failure) -> None:
    assert failure.flag in FLAGS  # 16.1
    assert 400 <= failure.status <= 504 or failure.status == 0  # 0: no answer but the end of the stream
    assert failure.details
    assert " " not in failure.details  # 16.3


def test_names_are_unique() -> None:
    assert len({failure.name for failure in FAILURES}) == len(FAILURES) > 20


@pytest.mark.parametrize(
    ("failure", "status", "flag", "body"),
    [
        (errors.NO_ROUTE, 404, "NR", b""),
        (errors.NO_CLUSTER, 503, "NC", b""),
        (errors.NO_HEALTHY_UPSTREAM, 503, "UH", b"no healthy upstream"),
        (errors.DNS_FAILURE, 503, "DF", b"DNS resolution failure"),
        (errors.DNS_OVERFLOW, 503, "-", b"DNS cache overflow"),
        (errors.CONNECT_REFUSED, 503, "UF", PREFIX + b"reset reason: remote connection failure"),
        (errors.CONNECT_LOCAL, 503, "UF", PREFIX + b"reset reason: local connection failure"),
        (errors.CONNECT_TIMEOUT, 503, "UF", PREFIX + b"reset reason: connection timeout"),
        (errors.UPSTREAM_CLOSED, 503, "UC", PREFIX + b"reset reason: connection termination"),
        (errors.UPSTREAM_RESET, 503, "UR", PREFIX + b"reset reason: remote reset"),
        (errors.UPSTREAM_REFUSED, 503, "UR", PREFIX + b"reset reason: remote refused stream reset"),
        (errors.OVERFLOW, 503, "UO", PREFIX + b"reset reason: overflow"),
        (errors.ROUTE_TIMEOUT, 504, "UT", b"upstream request timeout"),
        (errors.UPSTREAM_PROTOCOL, 502, "UPE", PREFIX + b"reset reason: protocol error"),
        (errors.BAD_REQUEST, 400, "DPE", b"Bad Request"),
        (errors.UNKNOWN_TRANSFER_CODING, 501, "DPE", b"Not Implemented"),
        (errors.HEAD_TOO_LARGE, 431, "DPE", b"Request Header Fields Too Large"),
        (errors.LOW_VERSION, 426, "DPE", b"Upgrade Required"),
        (errors.MISSING_HOST, 400, "-", b""),
        (errors.BAD_PATH, 400, "-", b""),
        (errors.UPGRADE_FAILED, 403, "-", b""),
    ],
)
def test_the_table_of_semantics_16(failure: Failure, status: int, flag: str, body: bytes) -> None:
    assert (failure.status, failure.flag, failure.body) == (status, flag, body)


def test_the_body_after_a_retry_says_so() -> None:
    """Semantics 16, row "after a retry"; replies that are no reset keep their body."""
    assert body_after_retry(errors.CONNECT_REFUSED) == (
        PREFIX + b"retried and the latest reset reason: remote connection failure"
    )
    assert body_after_retry(errors.ROUTE_TIMEOUT) == b"upstream request timeout"


def test_details_of_upstream_failures_name_the_reason() -> None:
    """Semantics 16.3."""
    for failure in FAILURES:
        if failure.reset_reason:
            words = failure.reset_reason.decode().replace(" ", "_")
            assert failure.details == f"upstream_reset_before_response_started{{{words}}}"


def test_a_request_whose_framing_is_in_doubt_ends_its_connection() -> None:
    """Hardening 2; an upstream's failure does not."""
    assert all(failure.close for failure in FAILURES if failure.flag == "DPE")
    assert not any(
        failure.close for failure in FAILURES if failure.flag in ("UF", "UC", "UPE", "UT", "UH", "NC")
    )
