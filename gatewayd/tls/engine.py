"""HOT: one TLS connection of OpenSSL between two buffers in memory; its functions run for every record.

The OpenSSL is the one that comes with ``cryptography``, by that package's own bindings: newer than the one behind
``ssl`` as a rule, twice as fast at bulk on processors with wide vectors, and not limited to what ``ssl`` passes
on. Only functions are used that pyOpenSSL uses too, so none goes away unnoticed. Measured: docs/decisions/tls_layer.md.

:mod:`gatewayd.tls.layer` calls the functions below on the pointers of a :class:`Connection` itself, since a method
more for each record costs more than what it does. Everything else goes through the methods. Errors are those of
``ssl``: as values on the data path, where waiting is the ordinary case.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding

_binding: Final = Binding()
ffi: Final[Any] = _binding.ffi
lib: Final[Any] = _binding.lib

#: ``feed(connection.incoming, data, size)``: encrypted bytes that arrived
feed: Final = lib.BIO_write
#: ``decrypt(connection.handle, PLAIN, size)``: how many bytes of one record, or what :func:`problem` explains
decrypt: Final = lib.SSL_read
#: ``encrypt(connection.handle, data, size)``: all of it, or what :func:`problem` explains
encrypt: Final = lib.SSL_write
#: ``shake(connection.handle)``: 1 when the handshake is over
shake: Final = lib.SSL_do_handshake
#: ``take(connection.outgoing, CIPHER, CIPHER_BYTES)``: how much shall leave; not more than 0 when nothing
take: Final = lib.BIO_read
#: ``pending(connection.incoming, WHERE)``: how many bytes wait
pending: Final = lib.BIO_get_mem_data
WHERE: Final = ffi.new("char **")
#: ``unpack(PLAIN, size)``: the beginning of a buffer as bytes
unpack: Final[Callable[[Any, int], bytes]] = ffi.unpack
#: bytes-like objects other than bytes for the functions above
view: Final = ffi.from_buffer

#: No record carries more.
RECORD_BYTES: Final = 16_384
#: Up to so much is delivered at once.
PLAIN_BYTES: Final = 65_536
#: Where records are decrypted to: each connection is done with it before the next one begins.
PLAIN: Final = ffi.new("char[]", PLAIN_BYTES)
CIPHER_BYTES: Final = 131_072
#: Where what shall leave is taken to.
CIPHER: Final = ffi.new("char[]", CIPHER_BYTES)

#: ``SSL_version`` -> as Envoy says it
_VERSIONS: Final = {0x301: "TLSv1", 0x302: "TLSv1.1", 0x303: "TLSv1.2", 0x304: "TLSv1.3"}
#: SSL_CIPHER -> its name; there are few, and they live as long as the process
_ciphers: Final[dict[Any, str]] = {}
_CHOSEN: Final = ffi.new("unsigned char **")
_CHOSEN_SIZE: Final = ffi.new("unsigned int *")

#: The answer of :func:`problem`: more must arrive first.
WANTED: Final = ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "more must arrive first")
#: The answer of :func:`problem`: the peer has said close_notify.
ENDED: Final = ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "the peer has ended its stream")

_IN_MEMORY: Final = lib.BIO_s_mem()


def waiting(buffer: Any) -> int:
    """How many bytes are in one of a connection's buffers."""
    size: int = pending(buffer, WHERE)
    return size


def problem(handle: Any, result: int) -> ssl.SSLError:
    """Why an operation on a connection had a ``result`` below 1."""
    number = lib.SSL_get_error(handle, result)
    if number == lib.SSL_ERROR_WANT_READ:
        return WANTED
    if number == lib.SSL_ERROR_ZERO_RETURN:
        return ENDED
    reason = said()
    if not reason:
        return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection broke off")
    if reason == "CERTIFICATE_VERIFY_FAILED":
        return ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, reason)
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, reason)
    error.reason = reason
    return error


def said() -> str:
    """OpenSSL's last reason, as ``ssl.SSLError.reason`` has them, "" = none; its queue is empty after this.

    The queue is the thread's: what is left in it would be taken for the next connection's.
    """
    reason = ""
    while code := lib.ERR_get_error():
        words = lib.ERR_reason_error_string(code)
        reason = ffi.string(words).decode().upper().replace(" ", "_") if words else f"ERROR_{code}"
    return reason


class Connection:
    """A connection of OpenSSL, and its buffers; freed with this object."""

    __slots__ = ("__weakref__", "handle", "incoming", "judge", "outgoing")

    def __init__(self, context: Any, *, accepts: bool) -> None:
        """``context``: a pointer to an SSL_CTX; ``accepts``: the other side speaks first."""
        #: of the other side's certificates (:mod:`gatewayd.tls.callbacks`)
        self.judge: Any = None
        handle = self.handle = lib.SSL_new(context)
        if handle == ffi.NULL:
            raise MemoryError(said())
        self.incoming = lib.BIO_new(_IN_MEMORY)
        self.outgoing = lib.BIO_new(_IN_MEMORY)
        lib.SSL_set_bio(handle, self.incoming, self.outgoing)  # they are its own from now on
        if accepts:
            lib.SSL_set_accept_state(handle)
        else:
            lib.SSL_set_connect_state(handle)

    def __del__(self) -> None:
        lib.SSL_free(self.handle)

    def say(self, server_name: str) -> None:
        """Send this as SNI."""
        lib.SSL_set_tlsext_host_name(self.handle, server_name.encode())

    def prefer_own_ciphers(self) -> None:
        """Choose by our order, as Envoy does below TLS 1.3; in 1.3 the client's counts."""
        lib.SSL_set_options(self.handle, lib.SSL_OP_CIPHER_SERVER_PREFERENCE)

    def feed(self, data: bytes) -> None:
        """Take encrypted bytes."""
        feed(self.incoming, data, len(data))

    def take(self) -> bytes:
        """All that shall leave."""
        parts = []
        while (size := take(self.outgoing, CIPHER, CIPHER_BYTES)) > 0:
            parts.append(unpack(CIPHER, size))
        return b"".join(parts)

    def shake(self) -> ssl.SSLError | None:
        """Go on with the handshake. None: it is over; :data:`WANTED`: not yet; else why it failed."""
        result = shake(self.handle)
        return None if result == 1 else problem(self.handle, result)

    def read(self, size: int = RECORD_BYTES) -> bytes | ssl.SSLError:
        """What one record carries, or why there is none."""
        got = decrypt(self.handle, PLAIN, size)
        return unpack(PLAIN, got) if got > 0 else problem(self.handle, got)

    def write(self, data: bytes) -> ssl.SSLError | None:
        """Encrypt; the reason when that is impossible."""
        result = encrypt(self.handle, data, len(data))
        return None if result > 0 else problem(self.handle, result)

    def end(self) -> None:
        """Say close_notify; what the peer says is not looked at."""
        if lib.SSL_shutdown(self.handle) < 0:
            said()

    @property
    def version(self) -> str:
        """``TLSv1.3``."""
        return _VERSIONS.get(lib.SSL_version(self.handle), "")

    @property
    def cipher(self) -> str:
        """``TLS_AES_128_GCM_SHA256``, "" before there is one."""
        found = lib.SSL_get_current_cipher(self.handle)
        name = _ciphers.get(found)
        if name is None:
            name = ffi.string(lib.SSL_CIPHER_get_name(found)).decode() if found != ffi.NULL else ""
            _ciphers[found] = name
        return name

    @property
    def alpn(self) -> str:
        """What was agreed upon, "" = nothing."""
        lib.SSL_get0_alpn_selected(self.handle, _CHOSEN, _CHOSEN_SIZE)
        size = _CHOSEN_SIZE[0]
        return ffi.buffer(_CHOSEN[0], size)[:].decode("latin-1") if size else ""

    @property
    def resumed(self) -> bool:
        """Whether the session is an earlier connection's."""
        return bool(lib.SSL_session_reused(self.handle))

    def certificate(self) -> bytes:
        """The other side's certificate in DER, b"" without one."""
        found = lib.SSL_get_peer_certificate(self.handle)
        if found == ffi.NULL:
            return b""
        try:
            return der_of(found)
        finally:
            lib.X509_free(found)


class Session:
    """What a client may resume; OpenSSL refuses by itself what it may not."""

    __slots__ = ("_pointer",)

    def __init__(self, connection: Connection) -> None:
        self._pointer = lib.SSL_get1_session(connection.handle)

    def __del__(self) -> None:
        if self._pointer != ffi.NULL:
            lib.SSL_SESSION_free(self._pointer)

    def offer(self, connection: Connection) -> None:
        """Have ``connection``, which has not begun, ask to go on with it."""
        if self._pointer != ffi.NULL and lib.SSL_set_session(connection.handle, self._pointer) != 1:
            said()


def der_of(certificate: Any) -> bytes:
    """An X509 in DER."""
    buffer, where = lib.BIO_new(_IN_MEMORY), ffi.new("char **")
    try:
        lib.i2d_X509_bio(buffer, certificate)
        return bytes(ffi.buffer(where[0], size)) if (size := pending(buffer, where)) > 0 else b""
    finally:
        lib.BIO_free(buffer)
