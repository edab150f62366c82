"""The TLS modes of a Gateway server, as one table (semantics 3.1, 3.2).

A row says what a mode does with a connection; :func:`kind_of` says which blocks of a VirtualService
route it. Nothing here touches a socket or a certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Which part of a VirtualService routes a server's traffic: ``http``, ``tcp`` or ``tls`` blocks.
HTTP: Final = "http"
TCP: Final = "tcp"
TLS: Final = "tls"


@dataclass(frozen=True, slots=True)
class TlsMode:
    """What a server of this mode does.

    ``client_certificate`` is ``none``, ``optional`` (absent is fine, a presented one must verify) or
    ``required``. ``mesh_identity``: the workload's own certificates, not ones the Gateway names.
    """

    name: str
    terminates: bool
    client_certificate: str = "none"
    mesh_identity: bool = False
    #: routes by the SNI itself, ``outbound_.<port>_.<subset>_.<fqdn>``, without any VirtualService
    routes_by_itself: bool = False


MODES: Final[dict[str, TlsMode]] = {
    "PASSTHROUGH": TlsMode("PASSTHROUGH", terminates=False),
    "SIMPLE": TlsMode("SIMPLE", terminates=True),
    "MUTUAL": TlsMode("MUTUAL", terminates=True, client_certificate="required"),
    "OPTIONAL_MUTUAL": TlsMode("OPTIONAL_MUTUAL", terminates=True, client_certificate="optional"),
    "ISTIO_MUTUAL": TlsMode(
        "ISTIO_MUTUAL", terminates=True, client_certificate="required", mesh_identity=True
    ),
    "AUTO_PASSTHROUGH": TlsMode("AUTO_PASSTHROUGH", terminates=False, routes_by_itself=True),
}

#: The mode of a ``tls`` block that names none: the proto's value 0 (semantics 3.1).
DEFAULT_MODE: Final = "PASSTHROUGH"


def kind_of(protocol: str, mode: str) -> str:
    """``http``, ``tcp`` or ``tls``: the blocks that route a TLS server's connections (3.2).

    ``protocol`` is ``HTTPS`` or ``TLS``; an unknown ``mode`` raises KeyError.
    """
    if not MODES[mode or DEFAULT_MODE].terminates:
        return TLS
    return HTTP if protocol.upper() == "HTTPS" else TCP
