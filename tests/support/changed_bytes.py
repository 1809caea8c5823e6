"""Files of which one byte after the other is changed."""

from __future__ import annotations

from typing import List

import pytest

__all__ = ["SWEEPS", "offsets"]

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
