"""Requests as the generators send them: heads that repeat, that vary as in life, that are all new."""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.macro.site import BENCH_HOST, HOST_RULE_PATHS, TENANT_HEADER, host_name, rule_request

SEED = 20261120
USER_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "okhttp/5.0.0",
)
VARIED_PATHS = 4_000
VARIED_CLIENTS = 2_000
VARIED_REQUESTS = 8_000
SCALE_REQUESTS = 10_000

Headers = list[tuple[str, str]]


def nine_headers(
    host: str = BENCH_HOST, cookie: str = "session=5f0c7e3ad1b94c6f8a27", agent: str = USER_AGENTS[0]
) -> Headers:
    """The nine request headers of a browser's API call; host first."""
    return [
        ("Host", host),
        ("User-Agent", agent),
        ("Accept", "application/json, text/plain, */*"),
        ("Accept-Language", "en-GB,en;q=0.9,de;q=0.7"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Referer", "http://bench.test/app/catalogue"),
        ("Cookie", cookie),
        ("Cache-Control", "no-cache"),
        ("X-Client-Version", "7.14.2"),
    ]


def head(target: str, headers: Headers) -> str:
    """The bytes of one GET request, as text."""
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines) + "\r\n\r\n"


@dataclass(frozen=True)
class Traffic:
    """What a wrk run sends: `requests` in turn, or, when `fresh`, one template filled anew each time."""

    name: str
    requests: tuple[str, ...]
    body_bytes: int
    """Length every response body must have."""
    fresh: bool = False

    def write(self, folder: Path) -> Path:
        """Write the requests for the Lua scripts, separated by NUL; returns the file."""
        path = folder / f"{self.name}.requests"
        path.write_bytes("\0".join(self.requests).encode())
        return path


def repeated(body_bytes: int, target: str = "/api/items?page=2") -> Traffic:
    """The same head every time."""
    return Traffic("repeated", (head(target, nine_headers()),), body_bytes)


def zipf_weights(count: int) -> list[float]:
    """Cumulative weights of Zipf's law: item k is asked for 1/k as often as the first."""
    return list(itertools.accumulate(1 / rank for rank in range(1, count + 1)))


def _paths(rng: random.Random) -> list[str]:
    return [
        f"/api/items/{rng.randrange(10**6)}" + (f"?page={rng.randrange(40)}&sort=price" if i % 2 else "")
        for i in range(VARIED_PATHS)
    ]


def _drawn(rng: random.Random, paths: list[str]) -> list[str]:
    return rng.choices(paths, cum_weights=zipf_weights(VARIED_PATHS), k=VARIED_REQUESTS)


def varied_paths() -> list[str]:
    """Paths in the order they are asked for: 4,000 under Zipf's law, half with a query."""
    rng = random.Random(SEED)
    return _drawn(rng, _paths(rng))


def varied(body_bytes: int) -> Traffic:
    """Heads as in life: 4,000 paths under Zipf's law, half with a query; 2,000 clients, a cookie each."""
    rng = random.Random(SEED)
    paths = _paths(rng)
    clients = [
        nine_headers(cookie=f"session={rng.randbytes(16).hex()}", agent=rng.choice(USER_AGENTS))
        for _ in range(VARIED_CLIENTS)
    ]
    drawn = _drawn(rng, paths)
    return Traffic("varied", tuple(head(path, rng.choice(clients)) for path in drawn), body_bytes)


def fresh(body_bytes: int, *, same_responses: bool = False) -> Traffic:
    """Every head new: path, cookie and a trace header differ in each request (the script fills each `%s`).

    With `same_responses` the upstream's heads repeat, but for the second in their `date`.
    """
    target, name = ("/api/same/%s", "new-requests") if same_responses else ("/api/items/%s", "new")
    headers = [*nine_headers(cookie="session=%s")[:-1], ("Traceparent", "00-%s-00f067aa0ba902b7-01")]
    return Traffic(name, (head(target, headers),), body_bytes, fresh=True)


def closing(body_bytes: int) -> Traffic:
    """The repeated head, asking to close the connection after each response."""
    headers = [*nine_headers()[:-1], ("Connection", "close")]
    return Traffic("closing", (head("/api/items?page=2", headers),), body_bytes)


def medium(body_bytes: int) -> Traffic:
    """Requests for the 64 KiB file."""
    return Traffic("medium", (head("/static/files/64k.bin", nine_headers()),), body_bytes)


def random_hosts(count: int, body_bytes: int, *, cookies: bool) -> Traffic:
    """Hosts and their rules' paths drawn evenly from `count` virtual hosts.

    With `cookies`, each of the `SCALE_REQUESTS` requests has a cookie of its own, so that heads are as new
    to a proxy with one host as to one with thousands, and only the size of the table differs.
    """
    rng = random.Random(SEED)
    paths = HOST_RULE_PATHS
    requests = []
    for index in range(SCALE_REQUESTS):
        cookie = f"session={index:020x}" if cookies else "session=5f0c7e3ad1b94c6f8a27"
        host = host_name(rng.randrange(count))
        requests.append(head(rng.choice(paths), nine_headers(host, cookie)))
    return Traffic(f"hosts-{count}-{'cookies' if cookies else 'plain'}", tuple(requests), body_bytes)


def random_rules(count: int, body_bytes: int) -> Traffic:
    """Requests for rules drawn evenly from `count` mixed ones."""
    rng = random.Random(SEED)
    requests = []
    for _ in range(SCALE_REQUESTS):
        path, tenant = rule_request(rng.randrange(count))
        headers = nine_headers()
        if tenant is not None:
            headers[-1] = (TENANT_HEADER, tenant)
        requests.append(head(path, headers))
    return Traffic(f"rules-{count}", tuple(requests), body_bytes)
