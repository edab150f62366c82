"""The bookshop's four services: a page, its details, its reviews in three versions, and its ratings.

The page asks for reviews through the gateway, under the host of ``REVIEWS_HOST``: so the rules and
weights of the configuration decide which version it shows, as they would in a mesh.
"""

from __future__ import annotations

import asyncio
import json
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs

from gatewayd.demo.web import (
    BadMessage,
    Handler,
    Pairs,
    Request,
    Response,
    fetch,
    json_response,
    text_response,
)

#: The host under which the example's VirtualService routes reviews.
REVIEWS_HOST: Final = "reviews.bookinfo.example"
#: Passed on from request to request, so that one trace and one user can be followed.
_PASSED_ON: Final = ("x-request-id", "end-user", "user-agent", "traceparent")
_STARS: Final = {"v2": "black", "v3": "red"}
_COOKIE: Final = "bookinfo-user"

_BOOK: Final = {"id": 0, "title": "The Patient Gatekeeper", "author": "A. Proxy"}
_DETAILS: Final = {
    **_BOOK,
    "year": 2026,
    "type": "paperback",
    "pages": 200,
    "publisher": "Loopback Press",
    "language": "English",
}
_REVIEWS: Final = (
    ("reader-1", "Every door opens at the right moment. I lost no packet reading it."),
    ("reader-2", "A quiet book about a busy place; the chapter on retries stays with you."),
)
_RATINGS: Final = {"reader-1": 5, "reader-2": 4}


async def details(request: Request) -> Response:
    """``/details/ID`` and ``/health``."""
    if request.path == "/health":
        return json_response({"status": "details is healthy"})
    return _of_a_book("/details/", request, lambda book: {**_DETAILS, "id": book})


async def ratings(request: Request) -> Response:
    """``/ratings/ID`` and ``/health``."""
    if request.path == "/health":
        return json_response({"status": "ratings is healthy"})
    return _of_a_book("/ratings/", request, lambda book: {"id": book, "ratings": _RATINGS})


def reviews(version: str, ratings_address: str) -> Handler:
    """``/reviews/ID``: v1 without stars, v2 with black and v3 with red ones, asked of the ratings service."""

    async def answer(request: Request) -> Response:
        if request.path == "/health":
            return json_response({"status": f"reviews {version} is healthy"})
        rows: list[dict[str, Any]] = [{"reviewer": who, "text": text} for who, text in _REVIEWS]
        if version in _STARS:
            found = await _fetch_json(ratings_address, "/ratings/0", "ratings", request)
            for row in rows:
                row["rating"] = (
                    {"stars": found["ratings"][row["reviewer"]], "color": _STARS[version]}
                    if "ratings" in found
                    else {"error": "Ratings service is currently unavailable"}
                )
        response = _of_a_book(
            "/reviews/", request, lambda book: {"id": book, "version": version, "reviews": rows}
        )
        return Response(response.status, [*response.headers, ("x-reviews-version", version)], response.body)

    return answer


def productpage(details_address: str, reviews_address: str) -> Handler:
    """``/productpage``, ``/login``, ``/logout``, ``/static/style.css`` and ``/api/v1/products...``.

    ``details_address`` is asked directly; ``reviews_address`` is the gateway's, asked as ``REVIEWS_HOST``.
    """

    async def of_details(request: Request) -> dict[str, Any]:
        return await _fetch_json(details_address, "/details/0", "details", request)

    async def of_reviews(request: Request) -> dict[str, Any]:
        return await _fetch_json(reviews_address, "/reviews/0", REVIEWS_HOST, request)

    async def answer(request: Request) -> Response:
        match request.path:
            case "/productpage":
                found = await asyncio.gather(of_details(request), of_reviews(request))
                return _page(_user(request), *found)
            case "/api/v1/products":
                return json_response([_BOOK])
            case "/api/v1/products/0":
                return _or_503(await of_details(request))
            case "/api/v1/products/0/reviews":
                return _or_503(await of_reviews(request))
            case "/api/v1/products/0/ratings":
                return json_response({"id": 0, "ratings": _RATINGS})
            case "/login" if request.method == "POST":
                return _login(request)
            case "/login":
                return Response(405, [("allow", "POST")])
            case "/logout":
                return _to_the_page(f"{_COOKIE}=; Path=/; Max-Age=0")
            case "/static/style.css":
                return Response(200, [("content-type", "text/css")], _STYLE)
            case "/health":
                return json_response({"status": "productpage is healthy"})
        return text_response("no such page\n", 404)

    return answer


def _of_a_book(prefix: str, request: Request, content: Any) -> Response:
    book = request.path.removeprefix(prefix)
    if not request.path.startswith(prefix):
        return text_response("no such page\n", 404)
    if not book.isdigit():
        return json_response({"error": "please provide a numeric product id"}, 400)
    return json_response(content(int(book)))


async def _fetch_json(address: str, target: str, host: str, request: Request) -> dict[str, Any]:
    """The JSON object found there, or one with an ``error``."""
    headers: Pairs = [("host", host)]
    headers += [(name, value) for name in _PASSED_ON if (value := request.header(name))]
    user = _user(request)
    if user and not request.header("end-user"):
        headers.append(("end-user", user))
    try:
        status, body = await fetch(address, target, headers)
        found = json.loads(body) if status == 200 else None
    except (OSError, EOFError, TimeoutError, ValueError, BadMessage):
        status, found = 503, None
    return found if isinstance(found, dict) else {"error": f"{host} answered {status}"}


def _or_503(found: dict[str, Any]) -> Response:
    return json_response(found, 503 if "error" in found else 200)


def _user(request: Request) -> str:
    """Who is signed in; a name that could not stand in a header is nobody."""
    for cookie in request.header("cookie").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == _COOKIE and value.isalnum() and value.isascii():
            return value
    return ""


def _login(request: Request) -> Response:
    name = parse_qs(request.body.decode("utf-8", "replace")).get("username", [""])[0]
    if not (name.isalnum() and name.isascii() and len(name) <= 32):
        return text_response("a user name has 1 to 32 letters and digits\n", 400)
    return _to_the_page(f"{_COOKIE}={name}; Path=/; HttpOnly")


def _to_the_page(cookie: str) -> Response:
    return Response(302, [("location", "/productpage"), ("set-cookie", cookie)])


def _page(user: str, details: dict[str, Any], reviews: dict[str, Any]) -> Response:
    who = (
        f'signed in as <b>{escape(user)}</b> <a href="/logout">sign out</a>'
        if user
        else '<form method="post" action="/login"><input name="username" placeholder="user name" '
        'aria-label="user name"> <button>sign in</button></form>'
    )
    body = _PAGE.format(
        title=escape(str(_BOOK["title"])),
        who=who,
        details=_details_html(details),
        version=escape(str(reviews.get("version", "none"))),
        reviews=_reviews_html(reviews),
    )
    return Response(200, [("content-type", "text/html; charset=utf-8")], body.encode())


def _details_html(found: dict[str, Any]) -> str:
    if "error" in found:
        return f'<p class="error">Details are unavailable: {escape(str(found["error"]))}</p>'
    rows = (f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in found.items())
    return "<dl>" + "".join(rows) + "</dl>"


def _reviews_html(found: dict[str, Any]) -> str:
    if "error" in found:
        return f'<p class="error">Reviews are unavailable: {escape(str(found["error"]))}</p>'
    return "".join(
        f"<blockquote><p>{escape(row['text'])}</p>"
        f"<footer>{escape(row['reviewer'])} {_stars_html(row)}</footer></blockquote>"
        for row in found["reviews"]
    )


def _stars_html(row: dict[str, Any]) -> str:
    rating = row.get("rating")
    if rating is None:
        return ""
    if "error" in rating:
        return f'<span class="error">{escape(rating["error"])}</span>'
    stars = "★" * rating["stars"] + "☆" * (5 - rating["stars"])
    return f'<span class="{escape(rating["color"])}" title="{rating["stars"]} of 5">{stars}</span>'


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Bookinfo: {title}</title>
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<header><span>Bookinfo</span><div>{who}</div></header>
<main>
<h1>{title}</h1>
<section><h2>Details</h2>
{details}
</section>
<section><h2>Reviews <small>served by reviews {version}</small></h2>
{reviews}
</section>
</main>
</body>
</html>
"""

_STYLE: Final = b"""body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1c2430; }
body { background: #f6f7f9; }
header { display: flex; justify-content: space-between; padding: .8rem 2rem; }
header { background: #1c2430; color: #fff; }
header a { color: #9ecbff; }
main { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
section { background: #fff; border-radius: 8px; padding: .5rem 1.5rem 1rem; margin-bottom: 1rem; }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: .2rem 1rem; }
dt { color: #5b6675; }
dd { margin: 0; }
blockquote { margin: 1rem 0; border-left: 3px solid #d5dae1; padding-left: 1rem; }
footer, small { color: #5b6675; font-weight: normal; }
.red { color: #c22f2f; }
.black { color: #111; }
.error { color: #a33; }
"""
