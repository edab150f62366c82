"""Answers of the proxy to gRPC requests as the real Envoy gives them (semantics 14.7.5)."""

from __future__ import annotations

from pathlib import Path

from tests.differential.h2_pair import H2Case, H2Pair
from tests.support.h2_client import H2Request

STATUSES = [200, 201, 204, 301, 304, 400, 401, 403, 404, 409, 418, 429, 499, 500, 501, 502, 503, 504, 599]
BODY = "a ~ % \\u00e4\\t\\n\\x7f}"
RULES = "\n".join(
    [
        *(
            f"- match: [{{uri: {{prefix: /d{status}/}}}}]\n  directResponse: {{status: {status}{body}}}"
            for status in STATUSES
            for body in [
                f', body: {{string: "{BODY}"}}' if status % 2 == 0 and status not in (204, 304) else ""
            ]
        ),
        "- match: [{uri: {prefix: /redirect/}}]\n  redirect: {uri: /x}",
        "- match: [{uri: {prefix: /unknown/}}]\n  route: [{destination: {host: new.test, subset: unknown}}]",
        "- match: [{uri: {prefix: /dead/}}]\n  route: [{destination: {host: dead.test}}]",
        "- match: [{uri: {prefix: /new/}}]\n  route: [{destination: {host: new.test}}]",
    ]
)
TYPES = [
    "application/grpc",
    "application/grpc+x",
    "application/grpc;x",
    "application/grpcx",
    "APPLICATION/GRPC",
]
TYPES += ["application/grpc-web", "application/grpc+"]
PATHS = [*(f"/d{status}/" for status in STATUSES), "/redirect/", "/unknown/", "/dead/", "/nowhere/"]


async def test_14_7_5_local_replies_to_grpc(tmp_path: Path) -> None:
    async with H2Pair(tmp_path, RULES) as pair:
        for path in PATHS:
            for method in ("POST", "HEAD", "GET"):
                request = H2Request(f"{path}m", method, headers=[("content-type", TYPES[0])])
                await pair.compare(f"{method} {path}", H2Case(request))
                raw = f"{method} {path}m HTTP/1.1\r\nhost: a.test\r\ncontent-type: {TYPES[0]}\r\n\r\n"
                await pair.compare(f"{method} {path} of HTTP/1.1", H2Case(raw=raw.encode()))
        for path in ("/d400/", "/d404/", "/d503/"):
            await pair.compare(
                f"plain {path}", H2Case(raw=f"GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n".encode())
            )
        for kind in TYPES:
            request = H2Request("/nowhere/m", "POST", headers=[("content-type", kind)], body=b"\0\0\0\0\0")
            await pair.compare(kind, H2Case(request))
        twice = [("content-type", "text/plain"), ("content-type", "application/grpc")]
        await pair.compare("two types", H2Case(H2Request("/nowhere/m", "POST", headers=twice)))
        await pair.same()
