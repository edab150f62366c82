"""The fields every HPACK table begins with (RFC 7541 Appendix A)."""

from __future__ import annotations

from typing import Final

from gatewayd.http.message import Pair

_TEXT: Final = b"""
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""


def _pair(line: bytes) -> Pair:
    name, _, value = line.partition(b" ")
    return name, value


#: By index; nothing has index 0.
STATIC: Final[tuple[Pair, ...]] = ((b"", b""), *map(_pair, _TEXT.strip().split(b"\n")))
#: Entries of the dynamic table begin here.
FIRST_DYNAMIC: Final = len(STATIC)
