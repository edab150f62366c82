"""What the demo prints once it serves: lines to try, each with what it shows."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: (what it shows, the line). ``{url}`` is the gateway's, ``{https}`` the same with TLS, ``{ca}`` the file to trust.
#: Each line does what it says: tests run them.
TOUR: Final = (
    ("the page; its reviews come from v1, v2 or v3", "curl {url}/productpage"),
    (
        "reviews by weight: v1 50 %, v2 30 %, v3 20 %",
        "curl -H 'Host: reviews.bookinfo.example' {url}/reviews/0",
    ),
    (
        "a header decides: user jason gets v2, with black stars",
        "curl -H 'Host: reviews.bookinfo.example' -H 'end-user: jason' {url}/reviews/0",
    ),
    ("an API behind the same host", "curl {url}/api/v1/products/0"),
    ("a rewrite: /books/0 reaches details as /details/0", "curl {url}/books/0"),
    ("a redirect to another path", "curl -i {url}/"),
    ("a response without any backend", "curl -i {url}/about"),
    ("no route: 404", "curl -i {url}/nowhere"),
    ("what a backend sees", "curl -H 'Host: httpbin.example' {url}/headers"),
    ("any status", "curl -i -H 'Host: httpbin.example' {url}/status/418"),
    ("a slow answer", "curl -H 'Host: httpbin.example' {url}/delay/2"),
    ("a body sent", "curl -H 'Host: httpbin.example' -d 'hello' {url}/anything/at/all"),
    ("the client's address", "curl -H 'Host: httpbin.example' {url}/ip"),
    ("a route timeout of 1 s: 504", "curl -i -H 'Host: hasty.example' {url}/delay/3"),
    ("the page over HTTPS", "curl --cacert {ca} {https}/productpage"),
    ("the same routes; the backend is told", "curl --cacert {ca} -H 'Host: httpbin.example' {https}/headers"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the gateway serves: ``url`` and ``https`` without a path, ``ca`` the authority's certificate."""

    url: str
    https: str
    ca: Path


def tour_lines(place: Place) -> list[tuple[str, str]]:
    """(what it shows, curl line) for a gateway at ``place``."""
    words = {"url": place.url, "https": place.https, "ca": shlex.quote(str(place.ca))}
    return [(shows, line.format(**words)) for shows, line in TOUR]


def tour_text(place: Place, folder: Path) -> str:
    """The table, ready to print."""
    table = "\n".join(f"  {shows}\n      {line}" for shows, line in tour_lines(place))
    return (
        f"\nThe bookinfo gateway serves {place.url} and {place.https} (page: {place.url}/productpage)\n"
        f"from the configuration in {folder}\n"
        f"The authority of its certificate, made for this run: {place.ca}\n\n"
        f"Try:\n{table}\n\nCtrl-C ends it. The access log follows.\n"
    )
