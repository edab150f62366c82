"""What a ClientHello says before anybody answers it: server name, ALPN protocols, whether TLS 1.3 (semantics 3.3, 7).

Nothing is altered and nothing is decrypted: the bytes are read where they lie and stay as they came, so that they
can be replayed to whoever takes the connection. What OpenSSL and BoringSSL would refuse for its form is not TLS
here either.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple

#: The largest handshake message that is waited for, in bytes.
MAX_HELLO_BYTES: Final = 65_536
#: A hello may come in tiny records, and is read again as it grows, hence the bound.
MAX_RECORDS: Final = 2_048
#: What a record may carry (RFC 8446 5.1).
_MAX_RECORD_BYTES: Final = 16_384

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_VERSIONS: Final = 43
_TLS_1_3: Final = b"\x03\x04"
_HOST_NAME: Final = 0
_MAX_NAME_BYTES: Final = 255
_number: Final = struct.Struct(">H").unpack_from
_two_numbers: Final = struct.Struct(">HH").unpack_from
_name_header: Final = struct.Struct(">HBH").unpack_from


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
    #: not TLS 1.3
    older: bool = False


def read_client_hello(data: bytes) -> ClientHello | Verdict:
    """The hello that ``data``, everything a client sent so far, begins with; :data:`MORE` or :data:`NOT_TLS`."""
    message = _whole(data) or _message(data)
    if isinstance(message, int):
        return MORE
    if isinstance(message, Verdict):
        return message
    try:
        return _wanted(_extensions(message))
    except (struct.error, IndexError, _MalformedError):
        return NOT_TLS


def least_missing(data: bytes) -> int:
    """At least so many bytes have to follow ``data``, of which :func:`read_client_hello` says :data:`MORE`.

    Who waits for them does not read all again for each byte that comes.
    """
    message = _message(data)
    return message if isinstance(message, int) else 0


class _MalformedError(Exception):
    """A length that lies, or what nobody may say."""


def _whole(data: bytes) -> bytes:
    """The body of a message in one record that is here, as nearly all are; b"" for any other."""
    if len(data) > 9 and data[0] == _HANDSHAKE and data[1] == 3 and data[5] == _CLIENT_HELLO:
        size = int.from_bytes(data[6:9], "big")
        if size + 4 == _number(data, 3)[0] <= min(_MAX_RECORD_BYTES, len(data) - 5):
            return data[9 : 9 + size]
    return b""


def _message(data: bytes) -> bytes | int | Verdict:
    """The body of the handshake message, put together from its records; a number: so many bytes of it are missing."""
    size = len(data)
    at = records = got = 0
    need = 4
    parts: list[bytes] = []
    while got < need:
        header = data[at : at + 5]
        if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
            return NOT_TLS
        if len(header) < 5:
            return need - got
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
            return need - got
    return b"".join(parts)[4:need]


def _extensions(message: bytes) -> bytes:
    """The extensions of a hello."""
    if message[34] > 32:
        raise _MalformedError
    at = 35 + message[34]  # version, random, session id
    (suites,) = _number(message, at)
    if suites < 2 or suites % 2:
        raise _MalformedError
    at += 2 + suites
    if not message[at]:
        raise _MalformedError
    at += 1 + message[at]  # compression methods
    if at == len(message):
        return b""
    if _number(message, at)[0] != len(message) - at - 2:
        raise _MalformedError
    return message[at + 2 :]


def _wanted(extensions: bytes) -> ClientHello:
    """Server name and ALPN out of all extensions; GREASE and unknown ones are passed over."""
    kinds: list[int] = []
    name = ""
    protocols: tuple[str, ...] = ()
    older = True
    at, size = 0, len(extensions)
    while at < size:
        kind, length = _two_numbers(extensions, at)
        kinds.append(kind)
        at += 4 + length
        if kind == _SERVER_NAME:
            name = _name(extensions[at - length : at])
        elif kind == _ALPN:
            protocols = _protocols(extensions[at - length : at])
        elif kind == _VERSIONS:
            older = _TLS_1_3 not in extensions[at - length : at]
    if at != size or len(set(kinds)) != len(kinds):
        raise _MalformedError
    return ClientHello(name, protocols, older)


def _name(extension: bytes) -> str:
    """The one host name of a server_name extension; several are refused, as the libraries do."""
    listed, kind, size = _name_header(extension)
    name = extension[5:]
    if listed != len(extension) - 2 or kind != _HOST_NAME or size != len(name):
        raise _MalformedError
    if not 0 < size <= _MAX_NAME_BYTES or b"\0" in name:
        raise _MalformedError
    return name.lower().decode("latin-1")


def _protocols(extension: bytes) -> tuple[str, ...]:
    """The list of an ALPN extension: at least one protocol, none of them empty."""
    at, size = 2, len(extension)
    if size < 4 or _number(extension)[0] != size - 2:
        raise _MalformedError
    found = []
    while at < size:
        end = at + 1 + extension[at]
        if end == at + 1 or end > size:
            raise _MalformedError
        found.append(extension[at + 1 : end].decode("latin-1"))
        at = end
    return tuple(found)
