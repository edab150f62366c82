"""What stands in a snapshot for TLS material while nobody loads it: the wish itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Held:
    """A spec without a context, shaped like the holders of :mod:`gatewayd.tls.store`.

    With a ``problem`` it is a server that can never have a certificate: its connections are closed (3.13).
    """

    spec: Any
    problem: str = ""
    context: None = None


def hold(spec: Any) -> Held:
    """What the compiler does with TLS specs when it is not told better: it keeps them as they are."""
    return Held(spec)
