"""The request that is to be explained, as a client would send it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

_URL: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:[^/?#@]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#:\[\]\s]+)(?::(?P<port>[0-9]{1,5}))?(?P<target>[/?][^#]*)?(?:#.*)?"
)
_PORTS: Final = {"http": 80, "https": 443, "tcp": 0, "tls": 443}
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    scheme: str  # http, https, tcp or tls
    host: str  # as in the URL, without port and brackets
    port: int
    target: str
    #: as sent, ``host`` not among them
    headers: tuple[tuple[str, str], ...]
    #: of the Host header
    authority: str
    #: lower case; "" for none
    sni: str

    @property
    def head(self) -> bytes:
        """The bytes of its head."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"host: {self.authority}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


def asked(
    url: str, method: str = "GET", headers: Iterable[Sequence[str]] = (), sni: str | None = None
) -> Asked:
    """What a client would send for ``url``. Raises ValueError, in words for the user.

    A ``host`` header takes the place of the URL's own, as with curl; SNI is the URL's host unless said otherwise.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f"{url!r} is not a URL: expected one such as https://shop.example/api?x=1")
    scheme = (found["scheme"] or "http").lower()
    if scheme not in _PORTS:
        raise ValueError(f"{scheme}:// cannot be explained: expected http, https, tcp or tls")
    port = int(found["port"]) if found["port"] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise ValueError(f"{url!r}: expected a port from 1 to 65535")
    if not re.fullmatch(r"[A-Za-z]{1,40}", method):
        raise ValueError(f"{method!r} is not a method")
    target = found["target"] or "/"
    if target.startswith("?"):
        target = "/" + target
    if not _TARGET.fullmatch(target):
        raise ValueError(f"{target!r} holds characters that must be written as %XX in a URL")
    authority = found["host"] if port == _PORTS[scheme] else f"{found['host']}:{port}"
    kept = []
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a header name")
        if any(ord(each) < 32 and each != "\t" for each in value):
            raise ValueError(f"the value of header {name} holds a control character")
        if name.lower() == "host":
            authority = value
        else:
            kept.append((name, value))
    host = found["host"].strip("[]")
    return Asked(
        method=method.upper(),
        scheme=scheme,
        host=host,
        port=port,
        target=target,
        headers=tuple(kept),
        authority=authority,
        sni=(_name_of(host) if sni is None else sni).lower().removesuffix("."),
    )


def _name_of(host: str) -> str:
    """What a client says as SNI: nothing for an address."""
    try:
        ip_address(host)
    except ValueError:
        return host
    return ""
