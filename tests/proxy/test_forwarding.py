"""Semantics 14.1 to 14.3: what is written about the client."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from typing import Any

import pytest

from gatewayd.http.options import HttpOptions
from gatewayd.proxy.forwarding import (
    CLIENT_ASKED,
    NOT_SAMPLED,
    SAMPLED,
    Client,
    client_pairs,
    marked,
    new_request_id,
    request_ids,
    trusted_address,
)


def client(peer: Any = ("10.0.0.9", 5000), local: Any = ("10.0.0.1", 80), **options: Any) -> Client:
    return Client(peer, local, HttpOptions(**options))


@pytest.mark.parametrize(
    ("peer", "local", "appended", "external"),
    [
        (("10.0.0.9", 5000), ("10.0.0.1", 80), b"10.0.0.9", b"10.0.0.9"),
        (("127.0.0.1", 5000), ("127.0.0.1", 80), b"127.0.0.1", b"127.0.0.1"),
        (
            ("127.0.0.5", 5000),
            ("127.0.0.1", 80),
            b"127.0.0.1",
            b"127.0.0.5",
        ),  # a loopback peer: our own address
        (("::1", 5000, 0, 0), ("::1", 80, 0, 0), b"::1", b"::1"),
        (("2001:db8::9", 5000, 0, 0), ("2001:db8::1", 80, 0, 0), b"2001:db8::9", b"2001:db8::9"),
        (("::ffff:10.0.0.9", 5000, 0, 0), ("::ffff:10.0.0.1", 80, 0, 0), b"10.0.0.9", b"10.0.0.9"),
    ],
)
def test_the_address_appended_and_the_trusted_one(
    peer: Any, local: Any, appended: bytes, external: bytes
) -> None:
    """14.1.1, 14.1.2."""
    facts = client(peer, local)
    assert facts.lines == (
        b"x-forwarded-for: %b\r\nx-forwarded-proto: http\r\nx-envoy-external-address: %b\r\nx-request-id: "
        % (appended, external)
    )


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (("10.0.0.9", 5000), "10.0.0.9:5000"),
        (("2001:db8::9", 1, 0, 0), "[2001:db8::9]:1"),
        (None, "-"),
        ("", "-"),
    ],
)
def test_addresses_as_the_log_prints_them(peer: Any, text: str) -> None:
    """17.3; a client that is gone before it was looked at has none."""
    assert client(peer).remote_address == text


def test_an_incoming_x_forwarded_for_is_appended_to_with_a_bare_comma() -> None:
    """14.1.1."""
    sent, trusted, pairs = client_pairs(client(), b"1.1.1.1, 2.2.2.2", b"http", 0)
    assert (sent, trusted) == (b"1.1.1.1, 2.2.2.2,10.0.0.9", b"10.0.0.9")
    assert pairs == [
        (b"x-forwarded-for", sent),
        (b"x-forwarded-proto", b"http"),
        (b"x-envoy-external-address", b"10.0.0.9"),
    ]


@pytest.mark.parametrize(
    ("hops", "trusted"),
    [(1, b"3.3.3.3"), (2, b"2.2.2.2"), (3, b"1.1.1.1"), (4, b"10.0.0.9"), (0, b"10.0.0.9")],
)
def test_trusted_hops_count_from_the_right(hops: int, trusted: bytes) -> None:
    """14.1.1: falling back to the peer."""
    assert client_pairs(client(), b"1.1.1.1,2.2.2.2 , 3.3.3.3", b"http", hops)[1] == trusted


@pytest.mark.parametrize("value", [b"unknown", b"1.1.1", b"1.1.1.1:80", b"", b"a,b", b"\xff"])
def test_what_is_no_address_is_not_trusted(value: bytes) -> None:
    assert trusted_address(value, 1) is None
    assert client_pairs(client(), value, b"http", 1)[1] == b"10.0.0.9"


def test_request_ids_are_fresh_version_4_uuids() -> None:
    """14.3.3."""
    ids = {new_request_id() for _ in range(500)}
    assert len(ids) == 500
    form = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(form.fullmatch(each) for each in ids)


def test_of_the_request_ids_a_share_is_marked_as_sampled() -> None:
    """14.3.3; the share is one of chance, with bounds that chance leaves once in a billion runs."""
    random.seed(7)
    new_id = request_ids(sampling=100)
    ids = [new_id() for _ in range(100_000)]
    marks = Counter(each[14:15] for each in ids)
    assert marks.keys() == {NOT_SAMPLED, SAMPLED}
    assert 800 < marks[SAMPLED] < 1200
    assert len(set(ids)) == len(ids)
    gaps = [b - a for a, b in itertools.pairwise(at for at, each in enumerate(ids) if each[14:15] == SAMPLED)]
    assert min(gaps) == 1, "also two in a row"
    assert 80 < sum(gaps) / len(gaps) < 125


@pytest.mark.parametrize(("sampling", "mark"), [(0, NOT_SAMPLED), (10_000, SAMPLED)])
def test_all_or_none_may_be_sampled(sampling: int, mark: bytes) -> None:
    new_id = request_ids(sampling)
    assert {new_id()[14:15] for _ in range(10_000)} == {mark}


def test_a_mark_changes_nothing_else() -> None:
    assert (
        marked(b"01cfc0b5-a51e-415c-b93e-d745968f13be", CLIENT_ASKED)
        == b"01cfc0b5-a51e-b15c-b93e-d745968f13be"
    )


class _Tls:
    """What a client's connection knows of its handshake; ``certificate_der`` is empty without a certificate."""

    server_name = "a.test"
    forwarded = b"Hash=1"

    def __init__(self, certificate_der: bytes = b"der") -> None:
        self.certificate_der = certificate_der


CERTIFIED = _Tls()
BARE = _Tls(b"")


@pytest.mark.parametrize(
    ("handling", "tls", "received", "sent"),
    [
        ("SANITIZE_SET", CERTIFIED, b"By=x", b"Hash=1"),
        ("SANITIZE_SET", CERTIFIED, None, b"Hash=1"),
        ("SANITIZE_SET", BARE, b"By=x", None),
        ("SANITIZE", CERTIFIED, b"By=x", None),
        ("FORWARD_ONLY", CERTIFIED, b"By=x", b"By=x"),
        ("FORWARD_ONLY", CERTIFIED, None, None),
        ("FORWARD_ONLY", BARE, b"By=x", None),
        ("FORWARD_ONLY", None, b"By=x", None),
        ("APPEND_FORWARD", CERTIFIED, b"By=x", b"By=x,Hash=1"),
        ("APPEND_FORWARD", CERTIFIED, None, b"Hash=1"),
        ("APPEND_FORWARD", CERTIFIED, b"", b"Hash=1"),
        ("APPEND_FORWARD", BARE, b"By=x", None),
        ("ALWAYS_FORWARD_ONLY", None, b"By=x", b"By=x"),
        ("ALWAYS_FORWARD_ONLY", CERTIFIED, None, None),
    ],
)
def test_what_becomes_of_x_forwarded_client_cert(
    handling: str, tls: Any, received: bytes | None, sent: bytes | None
) -> None:
    """Semantics 3.18; golden xfcc-append-forward."""
    made = Client(("10.0.0.9", 1), ("127.0.0.1", 2), HttpOptions(client_certificate=handling), tls)
    _, _, pairs = client_pairs(made, None, b"https", 0, received)
    assert dict(pairs).get(b"x-forwarded-client-cert") == sent
    if received is None:  # what every request of the connection has in common says the same
        line = b"x-forwarded-client-cert: %b\r\n" % sent if sent is not None else b""
        assert made.lines.startswith(line + b"x-forwarded-for: ")


def test_the_sni_is_known_of_a_tls_connection() -> None:
    assert Client(("10.0.0.9", 1), ("127.0.0.1", 2), HttpOptions(), BARE).requested_server_name == "a.test"
