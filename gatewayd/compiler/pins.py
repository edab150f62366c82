"""Endpoints given on the command line: ``--endpoint reviews=127.0.0.1:9080`` (product, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatewayd.compiler.options import Address
from gatewayd.upstream.spec import EndpointSpec


class Pins:
    """``host`` or ``host:subset`` -> addresses.

    A host may be written in full, or shortened to ``name.namespace`` or ``name`` (which then means that
    name in every namespace). The longest spelling wins. A subset's own pin comes first; without one, the
    host's pin stands for all of its subsets, as the command line cannot say labels. With pins for
    subsets only, the host as a whole is all of them.
    """

    def __init__(self, pins: Mapping[str, Sequence[Address]], domain: str) -> None:
        self._pins = {key: tuple(addresses) for key, addresses in pins.items()}
        self._suffix = f".svc.{domain}"

    def _spellings(self, host: str) -> list[str]:
        spellings = [host]
        if host.endswith(self._suffix):
            short = host.removesuffix(self._suffix)
            spellings += [f"{short}.svc", short, short.partition(".")[0]]
        return spellings

    def declares(self, host: str, subset: str) -> bool:
        """Whether a pin names exactly this subset, so that no DestinationRule has to."""
        return any(f"{spelling}:{subset}" in self._pins for spelling in self._spellings(host))

    def find(self, host: str, subset: str) -> tuple[EndpointSpec, ...]:
        """The pinned endpoints of ``host`` (in full), or of one of its subsets; empty when there are none."""
        if not self._pins:
            return ()
        spellings = self._spellings(host)
        for key in [f"{spelling}:{subset}" for spelling in spellings if subset] + spellings:
            if key in self._pins:
                return tuple(EndpointSpec(address, port) for address, port in self._pins[key])
        if subset:
            return ()
        parts = [
            address
            for spelling in spellings
            for key, addresses in self._pins.items()
            if key.startswith(f"{spelling}:")
            for address in addresses
        ]
        return tuple(EndpointSpec(address, port) for address, port in dict.fromkeys(parts))
