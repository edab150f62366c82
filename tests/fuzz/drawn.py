"""What fuzz tests draw: seeds, mutations, cuts.

``GATEWAYD_FUZZ_RUNS`` sets how many inputs a test tries, the same ones each time. With ``GATEWAYD_FUZZ_SECONDS`` it
tries new ones for so long instead (``make fuzz``). A failure names the seed of its input.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence

RUNS = int(os.environ.get("GATEWAYD_FUZZ_RUNS", "600"))
SECONDS = float(os.environ.get("GATEWAYD_FUZZ_SECONDS", "0"))


def runs(times: float = 1) -> Iterator[int]:
    """Seeds: ``times`` as many as usual, or new ones until the time is up."""
    if not SECONDS:
        yield from range(int(RUNS * times))
        return
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        yield random.SystemRandom().getrandbits(48)


def mutate(data: bytes, rng: random.Random, tokens: Sequence[bytes]) -> bytes:
    """A few random edits; ``tokens`` are what may be put in."""
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + rng.choice(tokens) + data[at:]
            case 2:
                data = data[:at] + data[at + rng.randrange(12) :]
            case 3:
                end = at + rng.randrange(40)
                data = data[:end] + data[at:end] + data[end:]
            case 4:
                data = data[:at] + rng.choice(tokens) + data[at + rng.randrange(12) :]
            case _:
                data = data[:at]
    return data


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """``data`` cut somewhere, or everywhere."""
    if rng.random() < 0.3:
        return [data] if data else []
    if len(data) < 400 and rng.random() < 0.2:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 5)))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [part for part in parts if part]
