"""Upstream ports of a golden case: recorded numbers -> free ports, and back in what came."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.ports import PortReservation


class PortPlan:
    """One free port for each recorded upstream port, held until its recorder takes it.

    Listener ports are not rewritten: the process maps them itself by ``--port-map``.
    """

    def __init__(self, upstreams: Sequence[Mapping[str, Any]]) -> None:
        hosts: dict[int, list[str]] = {}
        for upstream in upstreams:
            hosts.setdefault(int(upstream["port"]), []).append(str(upstream.get("host", "127.0.0.1")))
        self.reservations = {port: PortReservation(names) for port, names in hosts.items()}
        self._there = {str(port): str(held.port) for port, held in self.reservations.items()}
        self._back = {real: recorded for recorded, real in self._there.items()}

    def in_config(self, text: str) -> str:
        """``text`` with every recorded port that stands as a whole number replaced by the free one."""
        return _replace(text, self._there)

    def in_result(self, text: str, more: Mapping[str, str] | None = None) -> str:
        """``text`` with free ports (and those of ``more``) replaced by the recorded ones."""
        return _replace(text, {**self._back, **(more or {})})

    def release(self) -> None:
        """Give back what no recorder took."""
        for held in self.reservations.values():
            held.release()


def _replace(text: str, numbers: Mapping[str, str]) -> str:
    if not numbers or not text:
        return text
    return re.sub(rf"(?<![\w.])(?:{'|'.join(numbers)})(?!\w)", lambda match: numbers[match[0]], text)
