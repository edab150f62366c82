"""Cipher suites and curves Istio knows by name (semantics 3.7)."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

#: OpenSSL names; they govern TLS 1.2 and below.
CIPHER_SUITES: frozenset[str] = frozenset(
    {
        *(f"ECDHE-{key}-{rest}" for key in ("ECDSA", "RSA") for rest in ("AES128-SHA", "AES256-SHA")),
        *(f"ECDHE-{key}-AES128-GCM-SHA256" for key in ("ECDSA", "RSA")),
        *(f"ECDHE-{key}-AES256-GCM-SHA384" for key in ("ECDSA", "RSA")),
        *(f"ECDHE-{key}-CHACHA20-POLY1305" for key in ("ECDSA", "RSA")),
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
    }
)

ECDH_CURVES: frozenset[str] = frozenset(
    {"P-224", "P-256", "P-384", "P-521", "X25519", "X25519Kyber768Draft00", "X25519MLKEM768"}
)


def is_cipher_suite(name: str) -> bool:
    """Return whether `name` is a suite or `ALL`, perhaps taken away (`-`, `!`) or put last (`+`)."""
    bare = name[1:] if name[:1] in ("-", "+", "!") else name
    return bare in CIPHER_SUITES or bare == "ALL"


def is_curve(name: str) -> bool:
    """Return whether `name` is a curve."""
    return name in ECDH_CURVES


class Sorted(NamedTuple):
    """A list of names, sorted out: what counts, in its order, and what is ignored."""

    valid: tuple[str, ...]
    unknown: tuple[str, ...]
    doubles: tuple[str, ...]


def sort_out(names: Iterable[str], known: Callable[[str], bool]) -> Sorted:
    """Tell the first of each known name from unknown ones and repetitions, which Istio ignores."""
    valid: dict[str, None] = {}
    unknown: dict[str, None] = {}
    doubles: dict[str, None] = {}
    for name in names:
        into = unknown if not known(name) else doubles if name in valid else valid
        into[name] = None
    return Sorted(tuple(valid), tuple(unknown), tuple(doubles))
