"""gRPC statuses in the access log (semantics 17; Envoy's operators)."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.http.message import Trailers
from gatewayd.observe.operators import OPERATORS
from tests.observe.infos import exchange

GRPC = [(b"content-type", b"application/grpc")]


def logged(name: str, argument: str = "", **facts: Any) -> bytes | None:
    return OPERATORS[name](argument)(exchange(**{"headers": GRPC, **facts}))


def trailers(*pairs: tuple[bytes, bytes]) -> Trailers:
    return Trailers(pairs)


def test_the_status_is_that_of_the_trailers_else_of_the_head_else_of_http() -> None:
    both = {"grpc_status": b"5", "response_trailers": trailers((b"x", b"1"), (b"grpc-status", b"14"))}
    assert logged("GRPC_STATUS", **both) == b"Unavailable"
    assert logged("GRPC_STATUS", grpc_status=b"5", response_trailers=trailers()) == b"NotFound"
    assert logged("GRPC_STATUS", status=403) == b"PermissionDenied"
    assert logged("GRPC_STATUS", status=0) is None


@pytest.mark.parametrize(
    ("status", "camel", "snake", "number"),
    [
        (b"0", b"OK", b"OK", b"0"),
        (b"1", b"Canceled", b"CANCELLED", b"1"),
        (b"16", b"Unauthenticated", b"UNAUTHENTICATED", b"16"),
        (b"99", b"99", b"99", b"99"),
        (b"made up", b"-1", b"-1", b"-1"),
    ],
)
def test_the_status_in_each_form(status: bytes, camel: bytes, snake: bytes, number: bytes) -> None:
    assert logged("GRPC_STATUS", grpc_status=status) == camel
    assert logged("GRPC_STATUS", "CAMEL_STRING", grpc_status=status) == camel
    assert logged("GRPC_STATUS", "SNAKE_STRING", grpc_status=status) == snake
    assert logged("GRPC_STATUS", "NUMBER", grpc_status=status) == number
    assert logged("GRPC_STATUS_NUMBER", grpc_status=status) == number


def test_other_requests_have_none() -> None:
    assert logged("GRPC_STATUS", headers=[], grpc_status=b"5") is None
    assert logged("GRPC_STATUS_NUMBER", headers=[(b"content-type", b"application/grpc-web")]) is None


def test_trailers_by_name() -> None:
    facts = {"response_trailers": trailers((b"x-t", b"1"))}
    assert logged("TRAILER", "x-t", **facts) == b"1"
    assert logged("TRAILER", "x-u?X-T", **facts) == b"1"
    assert logged("TRAILER", "x-u", **facts) is None
    assert logged("TRAILER", "x-t") is None


@pytest.mark.parametrize(("name", "argument"), [("GRPC_STATUS", "SHORT"), ("GRPC_STATUS_NUMBER", "x")])
def test_other_arguments_are_refused(name: str, argument: str) -> None:
    with pytest.raises(ValueError, match="takes"):
        OPERATORS[name](argument)
