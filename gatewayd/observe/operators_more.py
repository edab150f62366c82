"""MORE_OPERATORS: variables that are made of the facts the first table reads, and those about TLS clients.

Rows are as in ``operators.py``, which takes them into its table. What Envoy knows and this proxy has no
fact for (durations of single phases, sizes on the wire, metadata of filters) is not here: such a variable is
an error with its name in it, never an empty value.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import time
import uuid
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from gatewayd.observe.flags import FLAGS
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.observe.trace import trace_of

Reader = Callable[[StreamInfo], bytes | None]
Row = Callable[[str], Reader]


def _plain(read: Callable[[StreamInfo], str]) -> Row:
    def build(argument: str) -> Reader:
        if argument:
            raise ValueError("takes no argument")
        return lambda info: read(info).encode() or None

    return build


def _path(argument: str) -> Reader:
    """``PATH``: with query (WQ, the default) or without (NQ), of the request as the client made it."""
    with_query, _, which = argument.partition(":")
    if with_query not in ("", "WQ", "NQ") or which not in ("", "ORIG", "PATH", "ORIG_OR_PATH"):
        raise ValueError("takes WQ or NQ, then perhaps :ORIG, :PATH or :ORIG_OR_PATH")
    whole = with_query != "NQ"

    def read(info: StreamInfo) -> bytes | None:
        found: bytes | None = info.path
        if which != "ORIG_OR_PATH" and which:
            sent = dict(getattr(info, "request_pairs", None) or ())
            original = sent.get(b"x-envoy-original-path")
            found = original if which == "ORIG" else info.path
        if not found:
            return None
        return found if whole else found.partition(b"?")[0]

    return read


def _query(info: StreamInfo) -> bytes:
    return info.path.partition(b"?")[2]


def _query_parameter(argument: str) -> Reader:
    """``QUERY_PARAM(name)``: the first of that name; escapes are read on both sides."""
    wanted = argument.encode()
    if not wanted:
        raise ValueError("needs the name of a query parameter")

    def read(info: StreamInfo) -> bytes | None:
        for parameter in _query(info).split(b"&"):
            name, _, value = parameter.partition(b"=")
            if unquote_to_bytes(name) == wanted:
                return unquote_to_bytes(value)
        return None

    return read


def _query_string(argument: str) -> Reader:
    if argument not in ("", "RAW"):
        raise ValueError("takes no argument")
    return lambda info: _query(info) or None


def _long_flags(info: StreamInfo) -> str:
    names = (FLAGS[flag].name if flag in FLAGS else flag for flag in info.flags.split(","))
    return ",".join(names) if info.flags else "-"


def _environment(argument: str) -> Reader:
    if not argument:
        raise ValueError("needs the name of an environment variable")
    value = os.environ.get(argument, "-").encode()
    return lambda info: value


def _upstream_protocol(info: StreamInfo) -> str:
    """Once there was a connection."""
    return getattr(info, "upstream_protocol", "HTTP/1.1") if info.upstream_local_address else ""


def _host_of(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


#: What is known of a route as metadata, as ``/config_dump`` has it too: (namespace, key) -> text of its source.
_OF_ROUTE: Final[dict[str, Callable[[Any], str]]] = {
    "ROUTE:istio:config": lambda source: str(source.config),
    "ROUTE:gatewayd:file": lambda source: str(source.file),
    "ROUTE:gatewayd:line": lambda source: str(source.line),
    "ROUTE:gatewayd:rule": lambda source: f"{source.block}[{source.rule}]",
}


def _metadata(argument: str) -> Reader:
    """``METADATA(ROUTE:namespace:key)``: where the rule that was taken is written."""
    found = _OF_ROUTE.get(argument)
    if found is None:
        raise ValueError(f"expected one of {', '.join(f'({known})' for known in _OF_ROUTE)}")
    tell = found

    def read(info: StreamInfo) -> bytes | None:
        source = getattr(info.route, "source", None)
        return tell(source).encode() if source is not None else None

    return read


class _Certificate:
    """A client's certificate in the words of the variables."""

    def __init__(self, der: bytes) -> None:
        from cryptography import x509  # only now: see gatewayd/tls/__init__.py

        certificate = x509.load_der_x509_certificate(der)
        self.pem = quote(ssl.DER_cert_to_PEM_cert(der), safe="")
        self.sha256 = hashlib.sha256(der).hexdigest()
        self.sha1 = hashlib.sha1(der, usedforsecurity=False).hexdigest()
        self.serial = f"{certificate.serial_number:x}"
        self.serial = self.serial.zfill(len(self.serial) + len(self.serial) % 2)
        self.issuer = certificate.issuer.rfc4514_string()
        self.subject = certificate.subject.rfc4514_string()
        self.begins = certificate.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.ends = certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = x509.SubjectAlternativeName([])
        self.dns = ",".join(names.get_values_for_type(x509.DNSName))
        self.uri = ",".join(names.get_values_for_type(x509.UniformResourceIdentifier))
        self.email = ",".join(names.get_values_for_type(x509.RFC822Name))
        self.ip = ",".join(map(str, names.get_values_for_type(x509.IPAddress)))


_certificate = lru_cache(maxsize=1024)(_Certificate)


def _of_certificate(attribute: str) -> Row:
    def read(info: StreamInfo) -> str:
        tls = getattr(info.connection, "tls", None)
        if tls is None or not tls.certificate_der:
            return ""
        return str(getattr(_certificate(tls.certificate_der), attribute))

    return _plain(read)


def _of_handshake(attribute: str) -> Row:
    return _plain(lambda info: str(getattr(getattr(info.connection, "tls", None), attribute, "")))


def _of_trace(attribute: str) -> Row:
    """The exchange's own trace and span: also of one that is not sampled."""

    def read(info: StreamInfo) -> str:
        trace = trace_of(info)
        found: bytes = getattr(trace, attribute, b"")
        return found.decode()

    return _plain(read)


#: Name -> argument -> reader.
MORE_OPERATORS: Final[dict[str, Row]] = {
    "DOWNSTREAM_PEER_CERT": _of_certificate("pem"),
    "DOWNSTREAM_PEER_CERT_V_END": _of_certificate("ends"),
    "DOWNSTREAM_PEER_CERT_V_START": _of_certificate("begins"),
    "DOWNSTREAM_PEER_DNS_SAN": _of_certificate("dns"),
    "DOWNSTREAM_PEER_EMAIL_SAN": _of_certificate("email"),
    "DOWNSTREAM_PEER_FINGERPRINT_1": _of_certificate("sha1"),
    "DOWNSTREAM_PEER_FINGERPRINT_256": _of_certificate("sha256"),
    "DOWNSTREAM_PEER_IP_SAN": _of_certificate("ip"),
    "DOWNSTREAM_PEER_ISSUER": _of_certificate("issuer"),
    "DOWNSTREAM_PEER_SERIAL": _of_certificate("serial"),
    "DOWNSTREAM_PEER_SUBJECT": _of_certificate("subject"),
    "DOWNSTREAM_PEER_URI_SAN": _of_certificate("uri"),
    "DOWNSTREAM_TLS_CIPHER": _of_handshake("cipher"),
    "DOWNSTREAM_TLS_VERSION": _of_handshake("version"),
    "ENVIRONMENT": _environment,
    "METADATA": _metadata,
    "PATH": _path,
    "QUERY_PARAM": _query_parameter,
    "QUERY_PARAMS": _query_string,
    "RESPONSE_FLAGS_LONG": _plain(_long_flags),
    "SPAN_ID": _of_trace("span_id"),
    "TRACE_ID": _of_trace("trace_id"),
    "UNIQUE_ID": _plain(lambda info: str(uuid.uuid4())),
    "UPSTREAM_CLUSTER_RAW": _plain(lambda info: info.upstream_cluster),
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _plain(lambda info: _host_of(info.upstream_local_address)),
    "UPSTREAM_LOCAL_PORT": _plain(lambda info: info.upstream_local_address.rpartition(":")[2]),
    "UPSTREAM_PROTOCOL": _plain(_upstream_protocol),
    "EMIT_TIME": _plain(
        lambda info: (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now := time.time()))
            + f".{int(now % 1 * 1000):03d}Z"
        )
    ),
}
