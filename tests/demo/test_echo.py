"""The httpbin-like backend answers what was asked for, and refuses what makes no sense."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from gatewayd.demo.echo import echo, httpbin
from gatewayd.demo.web import Request


def request(method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> Request:
    return Request(method, target, "HTTP/1.1", [("host", "httpbin.example"), *headers], body, "192.0.2.7")


async def ask(method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> tuple[int, Any]:
    response = await httpbin(request(method, target, *headers, body=body))
    return response.status, json.loads(response.body) if response.body[
        :1
    ] in b"{[" and response.body else None


async def test_headers_shows_names_in_capitals_and_joins_repeats() -> None:
    status, found = await ask("GET", "/headers", ("x-a", "1"), ("X-A", "2"), ("user-agent", "curl"))
    assert status == 200
    assert found == {"headers": {"Host": "httpbin.example", "User-Agent": "curl", "X-A": "1,2"}}


async def test_ip_is_the_forwarded_client_or_the_peer() -> None:
    assert (await ask("GET", "/ip"))[1] == {"origin": "192.0.2.7"}
    assert (await ask("GET", "/ip", ("x-forwarded-for", "203.0.113.9")))[1] == {"origin": "203.0.113.9"}


async def test_get_shows_args_and_url() -> None:
    status, found = await ask("GET", "/get?a=1&b=x%20y", ("x-forwarded-proto", "https"))
    assert status == 200
    assert found["args"] == {"a": "1", "b": "x y"}
    assert found["url"] == "https://httpbin.example/get?a=1&b=x%20y"


async def test_post_shows_the_body_and_its_json() -> None:
    _, found = await ask("POST", "/post", body=b'{"a": [1]}')
    assert found["data"] == '{"a": [1]}'
    assert found["json"] == {"a": [1]}
    _, found = await ask("POST", "/post", body=b"plain \xff")
    assert found["json"] is None


async def test_anything_takes_any_method_and_path() -> None:
    status, found = await ask("PURGE", "/anything/at/all?x=", body=b"b")
    assert (status, found["method"], found["data"]) == (200, "PURGE", "b")
    assert found["url"].endswith("/anything/at/all?x=")


@pytest.mark.parametrize(("method", "target"), [("POST", "/get"), ("GET", "/post"), ("PUT", "/delete")])
async def test_a_path_named_after_a_method_takes_only_that(method: str, target: str) -> None:
    response = await httpbin(request(method, target))
    assert response.status == 405
    assert dict(response.headers)["allow"]


@pytest.mark.parametrize("code", [200, 204, 301, 304, 404, 418, 503, 599])
async def test_status_answers_that_status(code: int) -> None:
    response = await httpbin(request("GET", f"/status/{code}"))
    assert response.status == code
    assert dict(response.headers)["access-control-allow-origin"] == "*"
    assert ("location" in dict(response.headers)) == (code == 301)


async def test_status_by_weight() -> None:
    seen = Counter([(await httpbin(request("GET", "/status/200:3,503:1"))).status for _ in range(2000)])
    assert set(seen) == {200, 503}
    assert 1400 < seen[200] < 1600  # 1500 expected, sigma 19


@pytest.mark.parametrize(
    "target", ["/status/", "/status/abc", "/status/100", "/status/200:x", "/status/200:0", "/status/2000"]
)
async def test_a_status_that_is_none_is_refused(target: str) -> None:
    assert (await httpbin(request("GET", target))).status == 400


@pytest.mark.parametrize("target", ["/delay/", "/delay/-1", "/delay/soon", "/bytes/x", "/bytes/-3"])
async def test_other_nonsense_is_refused(target: str) -> None:
    assert (await httpbin(request("GET", target))).status == 400


async def test_delay_waits_as_long_as_asked_and_no_longer_than_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []

    async def no_sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("gatewayd.demo.echo.asyncio.sleep", no_sleep)
    assert (await ask("GET", "/delay/0.5"))[0] == 200
    assert (await ask("GET", "/delay/9999"))[0] == 200
    assert waited == [0.5, 10.0]


async def test_bytes_sends_that_many_up_to_a_cap() -> None:
    assert len((await httpbin(request("GET", "/bytes/1234"))).body) == 1234
    assert len((await httpbin(request("GET", "/bytes/9999999"))).body) == 1024 * 1024


async def test_an_unknown_page_is_404() -> None:
    assert (await ask("GET", "/nowhere"))[0] == 404


async def test_the_echo_backend_names_itself_and_what_it_got() -> None:
    response = await echo("reviews-qa")(request("PUT", "/newcatalog?x=1", ("x-a", "1")))
    found = json.loads(response.body)
    assert (found["service"], found["method"], found["path"]) == ("reviews-qa", "PUT", "/newcatalog?x=1")
    assert found["host"] == "httpbin.example"
    assert found["headers"]["X-A"] == "1"
