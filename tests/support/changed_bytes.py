"""Files in which bytes are changed: one at a time, or at random."""

from __future__ import annotations

import random
from typing import List

import pytest

__all__ = ["SWEEPS", "offsets", "with_random_edits"]

# After so many zeros a byte belongs to room that nothing uses; SQLite keeps its numbers in fewer.
_USED_ZEROS = 8

# Parameters ``every, unused``: which of the bytes are changed. The quick one looks into each region of each page.
SWEEPS = [
    pytest.param(61, 64, id="sample"),
    pytest.param(1, 64, id="every byte in use", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    pytest.param(1, 1, id="every byte", marks=[pytest.mark.exhaustive, pytest.mark.timeout(3600)]),
]


def offsets(content: bytes, every: int, unused: int) -> List[int]:
    """Return where bytes are to be changed.

    Parameters
    ----------
    content : bytes
    every : int
        1 for all of those that follow, 2 for every second one, and so on.
    unused : int
        Of room that nothing uses only each byte of so many counts.
    """
    chosen = []
    zeros = 0
    for offset, byte in enumerate(content):
        zeros = 0 if byte else zeros + 1
        if zeros <= _USED_ZEROS or zeros % unused == 0:
            chosen.append(offset)
    return chosen[::every]


def with_random_edits(content: bytes, chance: random.Random) -> bytes:
    """Return the content with 1 to 30 runs of 1 to 60 bytes changed, more often in its first 200 bytes than elsewhere."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 30))):
        at = chance.randrange(len(content)) if chance.random() < 0.7 else chance.randrange(200)
        for offset in range(at, min(len(content), at + chance.choice((1, 1, 4, 60)))):
            changed[offset] = chance.randrange(256)
    return bytes(changed)
