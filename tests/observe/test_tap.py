"""Requests as they end, for who watches: what is chosen, what is not shown, and what it costs nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatewayd.observe.batches import Batches
from gatewayd.observe.events import KEPT, Events
from gatewayd.observe.redaction import REDACTED, is_secret, shown_fields, shown_target
from gatewayd.observe.tap import Filter, Tap, row_of
from tests.observe.infos import exchange, unparsed

SECRET = b"c2VjcmV0LXZhbHVl"


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "x-auth-token"),
        *("x-amz-security-token", "X-CSRF-Token", "x-session-id", "x-client-secret", "X-Goog-Signature"),
    ],
)
def test_headers_that_carry_secrets_are_known(name: str) -> None:
    assert is_secret(name)
    assert shown_fields([(name.lower().encode(), SECRET)]) == [[name.lower(), REDACTED]]


@pytest.mark.parametrize("name", ["accept", "user-agent", "x-request-id", "content-type", "host", "x-canary"])
def test_other_headers_are_shown(name: str) -> None:
    assert shown_fields([(name.encode(), b"value")]) == [[name, "value"]]


def test_secrets_in_a_query_are_not_shown() -> None:
    shown = shown_target(b"/login?user=ann&password=hunter2&access_token=abc&next=/&sig=1&code=9")
    assert shown == (
        f"/login?user=ann&password={REDACTED}&access_token={REDACTED}&next=/&sig={REDACTED}&code={REDACTED}"
    )
    assert shown_target(b"/plain?") == "/plain?"


def test_a_row_never_holds_a_secret() -> None:
    info = exchange(
        headers=[(b"authorization", b"Bearer " + SECRET), (b"cookie", b"sid=" + SECRET), (b"accept", b"*/*")],
        path=b"/x?token=" + SECRET,
    )
    row = row_of(info, headers=True)
    assert SECRET.decode() not in repr(row)
    assert ["accept", "*/*"] in row["headers"]
    assert "headers" not in row_of(info)


def test_a_row_says_what_befell_the_request() -> None:
    row = row_of(exchange(status=503, flags="UF", details="why"))
    assert (row["status"], row["flags"], row["details"], row["method"]) == (503, "UF", "why", "GET")
    assert row["duration_ms"] == pytest.approx(3.5)
    assert row["authority"] == "shop.test"


def test_what_could_not_be_parsed_has_a_row_too() -> None:
    assert row_of(unparsed())["authority"] == ""


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({}, True),
        ({"method": "get"}, True),
        ({"method": "POST"}, False),
        ({"host": "SHOP.test"}, True),
        ({"host": "other.test"}, False),
        ({"path": "/items"}, True),
        ({"path": "/other"}, False),
        ({"status": "200"}, True),
        ({"status": "2xx,404"}, True),
        ({"status": "5xx"}, False),
        ({"cluster": "shop.local"}, True),
        ({"cluster": "cart"}, False),
        ({"min_ms": "3"}, True),
        ({"min_ms": "4"}, False),
    ],
)
def test_what_is_asked_for_is_taken(wanted: dict[str, str], taken: bool) -> None:
    assert Filter(wanted).takes(exchange(authority=b"shop.test:8080")) is taken


@pytest.mark.parametrize(
    "wanted",
    [{"status": "abc"}, {"status": "20"[:1] + "x"}, {"min_ms": "-1"}, {"min_ms": "soon"}, {"limit": "1e9"}],
)
def test_what_cannot_be_asked_is_told(wanted: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Filter(wanted)


async def test_nobody_who_watches_costs_nothing_and_leaves_nothing() -> None:
    finished = Batches(asyncio.get_running_loop())
    tap = Tap(finished)
    assert finished.takers == []
    rows: list[Any] = []
    leave = tap.listen({}, rows.append)
    assert len(finished.takers) == 1
    leave()
    leave()
    assert finished.takers == []
    finished.append(exchange())
    finished.close()
    assert rows == []


async def test_what_is_too_much_is_counted_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("gatewayd.observe.tap.monotonic", lambda: now)
    finished = Batches(asyncio.get_running_loop())
    rows: list[Any] = []
    Tap(finished).listen({"limit": "5"}, rows.append)
    for _ in range(12):
        finished.append(exchange())
    finished.flush()
    assert len(rows) == 5
    now = 101.0
    finished.append(exchange())
    finished.close()
    assert [row.get("dropped") for row in rows[5:]] == [7, None]


def test_events_have_ids_and_who_comes_later_hears_the_last_of_them() -> None:
    events = Events(now=lambda: 5.0)
    heard: list[Any] = []
    leave = events.listen(heard.append)
    for number in range(KEPT + 4):
        events.publish("reload", f"reload {number}", number=number)
    assert [event["id"] for event in heard] == list(range(1, KEPT + 5))
    assert heard[0] == {"id": 1, "at": 5.0, "kind": "reload", "text": "reload 0", "number": 0}
    leave()
    events.publish("drain", "draining")
    assert len(heard) == KEPT + 4
    late: list[Any] = []
    events.listen(late.append, after=KEPT + 2)
    assert [event["id"] for event in late] == [KEPT + 3, KEPT + 4, KEPT + 5]
    everything: list[Any] = []
    events.listen(everything.append, after=0)
    assert len(everything) == KEPT
