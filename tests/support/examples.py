"""The number of examples of a hypothesis test that needs another one than the default."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples"]

FULL = 100


def examples(full: int) -> int:
    """Return `full` under the profile "full", and the same share less than it as other tests take under "quick"; see conftest.py."""
    return max(1, full * settings.default.max_examples // FULL)
