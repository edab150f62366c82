"""What gRPC statuses and HTTP's come to in each other's words (semantics 9.11, 14.7.5)."""

from __future__ import annotations

import pytest

from gatewayd.grpc_status import encoded_message, http_status_of, is_grpc, number_of


@pytest.mark.parametrize(
    ("field", "number"),
    [(b"0", 0), (b"014", 14), (b"99", 99), (b"", -1), (b"x", -1), (b"-1", -1), (b"9" * 5000, -1)],
)
def test_a_status_is_a_number(field: bytes, number: int) -> None:
    assert number_of(field) == number


@pytest.mark.parametrize(
    ("field", "status"),
    [(b"0", 200), (b"1", 499), (b"14", 503), (b"17", 500), (b"x", 500), (b"9" * 5000, 500)],
)
def test_9_11_what_outlier_detection_takes_it_for(field: bytes, status: int) -> None:
    assert http_status_of(field) == status


def test_14_7_5_a_message_is_plain_text_and_the_rest_escaped() -> None:
    assert encoded_message(b"a }~%\r\n\x00\xe4") == b"a }%7E%25%0D%0A%00%E4"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *((b"application/grpc", True), (b"application/grpc+proto", True), (b"application/grpc;x", False)),
        *((b"application/grpc-web", False), (b"application/grpcx", False), (None, False)),
    ],
)
def test_which_requests_are_grpc(kind: bytes | None, expected: bool) -> None:
    assert is_grpc(kind) is expected
