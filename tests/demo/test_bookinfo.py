"""The bookshop: the page really asks details and reviews, v2 and v3 really ask ratings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gatewayd.demo.backends import BOOKINFO, KINDS, Service, start
from gatewayd.demo.bookinfo import REVIEWS_HOST, productpage, reviews
from gatewayd.demo.web import Handler, Request, Response, json_response, serve

#: Nothing listens there.
NOBODY = "127.0.0.1:1"


def request(target: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b"") -> Request:
    return Request(method, target, "HTTP/1.1", [("host", "shop"), *headers], body, "127.0.0.1")


async def found(handler: Handler, target: str, *headers: tuple[str, str]) -> tuple[int, Any]:
    response = await handler(request(target, *headers))
    return response.status, json.loads(response.body)


class Seen:
    """A backend in place of the gateway: what the page asked of it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return json_response(
            {
                "version": "v3",
                "reviews": [{"reviewer": "r<1>", "text": "a & b", "rating": {"stars": 4, "color": "red"}}],
            }
        )


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Seen, Handler]]:
    seen = Seen()
    gateway = await serve(seen)
    address = f"127.0.0.1:{gateway.sockets[0].getsockname()[1]}"
    servers, addresses = await start(
        [Service("ratings", "ratings", 0), Service("details", "details", 0)], address
    )
    yield seen, productpage(addresses["details"], address)
    for server in (gateway, *servers):
        server.close()


async def test_the_page_shows_what_details_and_reviews_answered(shop: tuple[Seen, Handler]) -> None:
    seen, page = shop
    response = await page(request("/productpage", ("x-request-id", "id-1")))
    html = response.body.decode()
    assert response.status == 200
    assert "Loopback Press" in html
    assert "served by reviews v3" in html
    assert 'class="red" title="4 of 5">★★★★☆' in html
    assert "r&lt;1&gt;" in html
    assert "a &amp; b" in html
    asked = seen.requests[0]
    assert (asked.header("host"), asked.target) == (REVIEWS_HOST, "/reviews/0")
    assert asked.header("x-request-id") == "id-1"
    assert asked.header("end-user") == ""


async def test_signing_in_sets_the_user_the_reviews_are_asked_for(shop: tuple[Seen, Handler]) -> None:
    seen, page = shop
    answer = await page(request("/login", method="POST", body=b"username=jason"))
    assert answer.status == 302
    cookie = dict(answer.headers)["set-cookie"].partition(";")[0]
    html = (await page(request("/productpage", ("cookie", f"other=1; {cookie}")))).body.decode()
    assert "signed in as <b>jason</b>" in html
    assert seen.requests[-1].header("end-user") == "jason"
    out = await page(request("/logout"))
    assert "Max-Age=0" in dict(out.headers)["set-cookie"]


@pytest.mark.parametrize("name", [b"", b"username=", b"username=a%0d%0ax", b"username=" + b"a" * 33])
async def test_a_user_name_that_could_not_stand_in_a_header_is_refused(
    shop: tuple[Seen, Handler], name: bytes
) -> None:
    assert (await shop[1](request("/login", method="POST", body=name))).status == 400


async def test_without_backends_the_page_says_so_and_stays_200() -> None:
    response = await productpage(NOBODY, NOBODY)(request("/productpage"))
    html = response.body.decode()
    assert response.status == 200
    assert "Details are unavailable" in html
    assert "Reviews are unavailable" in html


async def test_the_api_answers_json_and_503_without_its_backend(shop: tuple[Seen, Handler]) -> None:
    _, page = shop
    assert (await found(page, "/api/v1/products"))[1][0]["id"] == 0
    assert (await found(page, "/api/v1/products/0"))[1]["publisher"] == "Loopback Press"
    assert (await found(page, "/api/v1/products/0/reviews"))[1]["version"] == "v3"
    assert (await found(page, "/api/v1/products/0/ratings"))[1]["ratings"]
    assert (await found(productpage(NOBODY, NOBODY), "/api/v1/products/0"))[0] == 503
    assert (await page(request("/api/v1/products/7"))).status == 404


async def test_reviews_differ_by_version() -> None:
    servers, addresses = await start([Service("ratings", "ratings", 0)], NOBODY)
    colors = {}
    for version in ("v1", "v2", "v3"):
        status, answer = await found(reviews(version, addresses["ratings"]), "/reviews/0")
        assert status == 200
        assert answer["version"] == version
        colors[version] = answer["reviews"][0].get("rating", {}).get("color")
    assert colors == {"v1": None, "v2": "black", "v3": "red"}
    for server in servers:
        server.close()


async def test_reviews_without_ratings_say_so() -> None:
    _, answer = await found(reviews("v2", NOBODY), "/reviews/0")
    assert "unavailable" in answer["reviews"][0]["rating"]["error"]


@pytest.mark.parametrize("name", ["details", "ratings"])
async def test_a_product_id_is_a_number(name: str) -> None:
    handler = KINDS[name](name, NOBODY, {})
    assert (await found(handler, f"/{name}/0"))[0] == 200
    assert (await found(handler, f"/{name}/abc"))[0] == 400
    assert (await handler(request("/elsewhere"))).status == 404


@pytest.mark.parametrize("name", [name for name in BOOKINFO if name != "httpbin"])
async def test_every_service_answers_its_health_check(name: str) -> None:
    assert (await found(KINDS[name](name, NOBODY, {}), "/health"))[0] == 200
