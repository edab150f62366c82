"""What a ClientHello says before anybody answers it: the server name and the ALPN protocols (semantics 3.3, 7).

Nothing is altered and nothing is decrypted: the bytes are read where they lie and stay as they came, so that they
can be replayed to whoever takes the connection. What OpenSSL and BoringSSL would refuse for its form is not TLS
here either.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

#: The largest handshake message that is waited for, in bytes.
MAX_HELLO_BYTES: Final = 65_536
#: A hello may come in tiny records; every segment reads them all again, hence the bound.
MAX_RECORDS: Final = 2_048
#: What a record may carry (RFC 8446 5.1).
_MAX_RECORD_BYTES: Final = 16_384

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_HOST_NAME: Final = 0
_MAX_NAME_BYTES: Final = 255


class Verdict(enum.Enum):
    """Why there is no hello."""

    MORE = "more"
    NOT_TLS = "not TLS"


#: The bytes so far are the beginning of a hello.
MORE: Final = Verdict.MORE
#: They are not, or the hello is malformed or larger than :data:`MAX_HELLO_BYTES`.
NOT_TLS: Final = Verdict.NOT_TLS


class ClientHello(NamedTuple):
    """What chooses a filter chain."""

    #: lower case; "" when the client sent none
    server_name: str
    #: in the client's order
    alpn: tuple[str, ...]


def read_client_hello(data: bytes) -> ClientHello | Verdict:
    """The hello that ``data``, everything a client sent so far, begins with; :data:`MORE` or :data:`NOT_TLS`."""
    message = _message(data)
    if isinstance(message, Verdict):
        return message
    extensions = _extensions(message)
    if extensions is None:
        return NOT_TLS
    return _wanted(extensions)


def _message(data: bytes) -> bytes | Verdict:
    """The body of the handshake message, put together from its records."""
    size = len(data)
    at = records = got = 0
    need = 4
    parts: list[bytes] = []
    while got < need:
        header = data[at : at + 5]
        if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
            return NOT_TLS
        if len(header) < 5:
            return MORE
        length = header[3] << 8 | header[4]
        records += 1
        if not 0 < length <= _MAX_RECORD_BYTES or records > MAX_RECORDS:
            return NOT_TLS
        part = data[at + 5 : at + 5 + length]
        parts.append(part)
        got += len(part)
        if need == 4:
            start = b"".join(parts) if records > 1 else part
            if start and start[0] != _CLIENT_HELLO:
                return NOT_TLS
            if len(start) >= 4:
                need += int.from_bytes(start[1:4], "big")
                if need > MAX_HELLO_BYTES:
                    return NOT_TLS
        at += 5 + length
        if got < need and at > size:
            return MORE
    return b"".join(parts)[4:need]


def _extensions(message: bytes) -> bytes | None:
    """The extensions of a hello, None when it is malformed before them."""
    at = 34  # version, random
    if len(message) < 35 or message[34] > 32:
        return None
    at += 1 + message[at]  # session id
    suites = int.from_bytes(message[at : at + 2], "big")
    if suites < 2 or suites % 2:
        return None
    at += 2 + suites
    if at >= len(message) or not message[at]:
        return None
    at += 1 + message[at]  # compression methods
    if at == len(message):
        return b""
    extensions = message[at + 2 :]
    if len(message) < at + 2 or int.from_bytes(message[at : at + 2], "big") != len(extensions):
        return None
    return extensions


def _wanted(extensions: bytes) -> ClientHello | Verdict:
    """Server name and ALPN out of all extensions; GREASE and unknown ones are passed over."""
    seen: dict[int, bytes] = {}
    at, size = 0, len(extensions)
    while at < size:
        start = at + 4
        if start > size:
            return NOT_TLS
        kind = extensions[at] << 8 | extensions[at + 1]
        end = start + (extensions[at + 2] << 8 | extensions[at + 3])
        if end > size or kind in seen:
            return NOT_TLS
        seen[kind] = extensions[start:end]
        at = end
    name = _name(seen[_SERVER_NAME]) if _SERVER_NAME in seen else ""
    protocols = _protocols(seen[_ALPN]) if _ALPN in seen else ()
    if name is None or protocols is None:
        return NOT_TLS
    return ClientHello(name, protocols)


def _name(extension: bytes) -> str | None:
    """The one host name of a server_name extension; several are refused, as the libraries do."""
    if len(extension) < 5 or int.from_bytes(extension[:2], "big") != len(extension) - 2:
        return None
    name = extension[5:]
    if extension[2] != _HOST_NAME or int.from_bytes(extension[3:5], "big") != len(name):
        return None
    if not 0 < len(name) <= _MAX_NAME_BYTES or b"\0" in name:
        return None
    return name.lower().decode("latin-1")


def _protocols(extension: bytes) -> tuple[str, ...] | None:
    """The list of an ALPN extension: at least one protocol, none of them empty."""
    at, size = 2, len(extension)
    if size < 4 or int.from_bytes(extension[:2], "big") != size - 2:
        return None
    found = []
    while at < size:
        end = at + 1 + extension[at]
        if end == at + 1 or end > size:
            return None
        found.append(extension[at + 1 : end].decode("latin-1"))
        at = end
    return tuple(found)
