"""What came of one call, before it is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.raw_client import Outcome
from tests.support.recorder import Seen


@dataclass
class Observed:
    """outcomes: one per repetition. seen: per upstream, in arrival order. log: decoded lines.

    listener_ports: free port -> Gateway port, as text.
    """

    outcomes: Sequence[Outcome]
    seen: Mapping[str, Sequence[Seen]]
    log: Sequence[Mapping[str, Any]] = ()
    listener_ports: Mapping[str, str] = field(default_factory=dict)
