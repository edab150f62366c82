"""What OpenSSL asks within a handshake: which protocol, for a staple, and whether a certificate will do.

The three functions are made once, when this module is imported, and by ``ctypes``: cffi would need memory that is
written and executed at once, which a hardened service does not get (``MemoryDenyWriteExecute=`` of systemd, SELinux).
Where that is forbidden what ``ctypes`` makes lies in pages that forks share; so whoever forks has imported this before,
and no more are made later.
"""

from __future__ import annotations

from ctypes import CFUNCTYPE, c_int, c_uint, c_void_p, cast
from functools import lru_cache
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from gatewayd.tls.engine import Connection, ffi, lib

_ANY: Final = ffi.typeof("void *")
_BYTES: Final = ffi.typeof("unsigned char *")
_CHAIN: Final = ffi.typeof("X509_STORE_CTX *")
_HANDLE: Final = ffi.typeof("SSL *")
_OUT: Final = ffi.typeof("unsigned char **")


class Judge(Protocol):
    """Who is asked about the other side's certificates."""

    def verify(self, good: bool, chain: Any) -> bool:
        """Whether the certificate that ``chain``, an X509_STORE_CTX, is at will do; ``good``: OpenSSL thinks so."""


def choose_protocol(context: Any, offered: tuple[str, ...]) -> None:
    """Have ``context``, a pointer to an SSL_CTX, take the first of ``offered`` that the client has too."""
    lib.SSL_CTX_set_alpn_select_cb(context, _CHOOSE, _offer(offered))


@lru_cache(maxsize=64)
def _offer(offered: tuple[str, ...]) -> Any:
    """What :func:`_choose` is told; lives as long as the process."""
    handle = ffi.new_handle([(name.encode(), ffi.new("unsigned char[]", name.encode())) for name in offered])
    _offers.append(handle)
    return handle


_offers: Final[list[Any]] = []


def staple(context: Any, der: bytes) -> Any:
    """Have ``context`` give ``der``, an OCSP response, to clients that ask; it lives as long as what is returned."""
    handle = ffi.new_handle(der)
    lib.SSL_CTX_set_tlsext_status_cb(context, _GIVE)
    lib.SSL_CTX_set_tlsext_status_arg(context, handle)
    return handle


def judge_certificates(context: Any, flags: int) -> None:
    """Have connections of ``context`` ask who is named by :func:`judged_by`, for each of them, about certificates."""
    lib.SSL_CTX_set_verify(context, flags, _VERIFY)


def judged_by(connection: Connection, judge: Judge) -> None:
    """Let ``judge`` judge what the other side of ``connection`` presents."""
    connection.judge = judge
    _judged[connection.handle] = connection


#: SSL -> its connection, of those that have a judge
_judged: Final = WeakValueDictionary[Any, Connection]()


def _choose(_handle: int, out: int, out_size: int, theirs: int, size: int, offered: int) -> int:
    try:
        listed = ffi.buffer(ffi.cast(_BYTES, theirs), size)[:]
        names, at = set(), 0
        while at < size:
            end = at + 1 + listed[at]
            names.add(listed[at + 1 : end])
            at = end
        for name, kept in ffi.from_handle(ffi.cast(_ANY, offered)):
            if name in names:
                ffi.cast(_OUT, out)[0] = kept
                ffi.cast(_BYTES, out_size)[0] = len(name)
                return lib.SSL_TLSEXT_ERR_OK  # type: ignore[no-any-return]
    except MemoryError:
        pass  # an exception that left here would be taken for a choice
    return lib.SSL_TLSEXT_ERR_NOACK  # type: ignore[no-any-return]


def _give(handle: int, der: int) -> int:
    response: bytes = ffi.from_handle(ffi.cast(_ANY, der))
    # OpenSSL frees what it is given.
    copy = lib.OPENSSL_malloc(len(response))
    ffi.buffer(copy, len(response))[:] = response
    lib.SSL_set_tlsext_status_ocsp_resp(ffi.cast(_HANDLE, handle), copy, len(response))
    return lib.SSL_TLSEXT_ERR_OK  # type: ignore[no-any-return]


def _verify(good: int, address: int) -> int:
    chain = ffi.cast(_CHAIN, address)
    handle = lib.X509_STORE_CTX_get_ex_data(chain, lib.SSL_get_ex_data_X509_STORE_CTX_idx())
    judge = _judged[handle].judge  # an exception is a refusal
    return judge is not None and judge.verify(bool(good), chain)


_made: Final = (
    CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_uint, c_void_p)(_choose),
    CFUNCTYPE(c_int, c_void_p, c_void_p)(_give),
    CFUNCTYPE(c_int, c_int, c_void_p)(_verify),
)
_CHOOSE, _GIVE, _VERIFY = (
    ffi.cast(signature, cast(function, c_void_p).value)
    for signature, function in zip(
        (
            "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)",
            "int (*)(SSL *, void *)",
            "int (*)(int, X509_STORE_CTX *)",
        ),
        _made,
        strict=True,
    )
)
