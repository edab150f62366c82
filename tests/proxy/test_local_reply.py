"""Semantics 6.4, 6.5, 14.7.5, 16: the answers of our own."""

from __future__ import annotations

import pytest

from gatewayd import errors
from gatewayd.errors import FAILURES, Failure
from gatewayd.http.message import Fields, RequestHead
from gatewayd.proxy.local_reply import direct_reply, failure_reply, grpc_reply, redirect_reply
from gatewayd.routing.route import (
    DIRECT_RESPONSE,
    REDIRECT,
    DirectResponseAction,
    RedirectAction,
    Route,
)

HEAD = RequestHead(b"GET", b"/a?b", b"a.test:80", b"http", Fields([]))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
@pytest.mark.parametrize("retried", [False, True])
def test_a_reply_declares_exactly_its_body(failure: Failure, retried: bool) -> None:
    status, fields, body = failure_reply(failure, retried=retried)
    assert status == failure.status
    found = dict(fields)
    if body:
        assert found[b"content-length"] == b"%d" % len(body)
        assert found[b"content-type"] == b"text/plain"
    else:
        assert b"content-type" not in found
    if retried and failure.reset_reason:
        assert b"retried and the latest reset reason" in body


@pytest.mark.parametrize(("http", "grpc"), [(404, b"12"), (503, b"14"), (403, b"7"), (418, b"2")])
def test_a_grpc_client_is_told_in_fields(http: int, grpc: bytes) -> None:
    """6.8.3, and Envoy's mapping."""
    status, fields, body = grpc_reply((http, [(b"content-length", b"3"), (b"x-own", b"1")], b"a%b\n"))
    assert (status, body) == (200, b"")
    assert fields == [
        (b"x-own", b"1"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", grpc),
        (b"grpc-message", b"a%25b%0A"),
    ]


def test_an_overflow_says_so() -> None:
    """14.7.4."""
    assert (b"x-envoy-overloaded", b"true") in failure_reply(errors.OVERFLOW, retried=False)[1]


@pytest.mark.parametrize(
    ("status", "located"),
    [(200, False), (201, True), (301, True), (304, True), (307, True), (404, False), (503, False)],
)
def test_a_direct_response_gets_a_location_for_some_statuses(status: int, located: bool) -> None:
    """6.5.3."""
    route = Route("r", DIRECT_RESPONSE, direct=DirectResponseAction(status, b"x"))
    fields = dict(direct_reply(route, HEAD)[1])
    assert fields.get(b"location") == (b"http://a.test:80/a?b" if located else None)


@pytest.mark.parametrize("status", [204, 304])
def test_a_direct_response_that_can_have_no_body_has_none(status: int) -> None:
    """Hardening 1: it would be read as the next answer."""
    route = Route("r", DIRECT_RESPONSE, direct=DirectResponseAction(status, b"body"))
    _, fields, body = direct_reply(route, HEAD)
    assert body == b""
    assert b"content-length" not in dict(fields)


def test_a_redirect_names_its_target() -> None:
    """6.4."""
    route = Route("r", REDIRECT, redirect=RedirectAction(302, authority=b"b.test", uri=b"/c"))
    status, fields, body = redirect_reply(route, HEAD)
    assert (status, body) == (302, b"")
    assert fields == [(b"location", b"http://b.test/c?b")]
