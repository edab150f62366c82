"""What OpenSSL asks of a server while it shakes hands: which protocol, and for a staple."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from gatewayd.tls.engine import ffi, lib

_CHOOSE: Final = (
    "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"
)
_STAPLE: Final = "int (*)(SSL *, void *)"


@lru_cache(maxsize=64)
def alpn_chooser(offered: tuple[str, ...]) -> Any:
    """Takes the first of ``offered`` that the client has too; lives as long as the process."""
    ours = [(name.encode(), ffi.new("unsigned char[]", name.encode())) for name in offered]

    def choose(_handle: Any, out: Any, out_size: Any, theirs: Any, size: int, _: Any) -> int:
        listed = ffi.buffer(theirs, size)[:]
        names, at = set(), 0
        while at < size:
            end = at + 1 + listed[at]
            names.add(listed[at + 1 : end])
            at = end
        for name, kept in ours:
            if name in names:
                out[0], out_size[0] = kept, len(name)
                return lib.SSL_TLSEXT_ERR_OK  # type: ignore[no-any-return]
        return lib.SSL_TLSEXT_ERR_NOACK  # type: ignore[no-any-return]

    return ffi.callback(_CHOOSE, choose, error=lib.SSL_TLSEXT_ERR_NOACK)


def staple_giver(der: bytes) -> Any:
    """Gives ``der``, an OCSP response, to clients that ask for one."""

    def give(handle: Any, _: Any) -> int:
        # OpenSSL frees what it is given.
        copy = lib.OPENSSL_malloc(len(der))
        ffi.buffer(copy, len(der))[:] = der
        lib.SSL_set_tlsext_status_ocsp_resp(handle, copy, len(der))
        return lib.SSL_TLSEXT_ERR_OK  # type: ignore[no-any-return]

    return ffi.callback(_STAPLE, give, error=lib.SSL_TLSEXT_ERR_NOACK)
