"""Who may ask: an admin port is not a web site, so a page in somebody's browser must get nothing from it.

- The Host must be an address or a name of this machine: a page whose own name was made to lead here (DNS rebinding)
  says its own name.
- A request that a page of another origin made says so in Origin or Sec-Fetch-Site, and gets nothing.
- What changes anything is POST with the header ``x-gatewayd-admin``, which no form can send and no script may without
  asking first, and nobody answers that question.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from gatewayd.admin.messages import Rejected, Request

#: Must be there, with any value, in a request that changes something.
HEADER: Final = "x-gatewayd-admin"
_OURS: Final = frozenset({"same-origin", "same-site", "none"})


class Guard:
    """``names``: host names beside ``localhost`` and addresses that may stand in Host."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names) | {"localhost"}

    def check(self, request: Request) -> None:
        """Raise :class:`Rejected` unless ``request`` may be answered."""
        authority = request.headers.get("host")
        if authority is None and not request.http10:
            raise Rejected(400, "bad request: there is no host header")
        if authority and not request.local and not self._is_ours(authority):
            raise Rejected(
                403,
                f"host {authority[:100]!r} is not this admin port's: use an address or localhost, "
                "or allow the name with --admin-allow-host",
            )
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{authority}", f"https://{authority}"):
            raise Rejected(403, "requests of other origins are not answered")
        if request.headers.get("sec-fetch-site", "none") not in _OURS:
            raise Rejected(403, "requests of other sites are not answered")

    def check_change(self, request: Request) -> None:
        """The same for a request that changes something."""
        if HEADER not in request.headers:
            raise Rejected(
                403,
                f"this changes something, so the request must say that it is meant: -H '{HEADER}: 1' "
                "(keeps other web sites out)",
            )

    def _is_ours(self, authority: str) -> bool:
        host = authority.rpartition(":")[0] if _has_port(authority) else authority
        host = host.lower().removesuffix(".")
        if host in self._names or host.endswith(".localhost"):
            return True
        try:
            ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def _has_port(authority: str) -> bool:
    return authority.rpartition(":")[2].isdigit() and authority.rfind("]") < authority.rfind(":")
