"""Parse the option ``since=``. Pure."""

from __future__ import annotations

import re

from claude_force_nb.errors import OptionError

from .days import DAY_SECONDS, start_of

__all__ = ["parse_since"]

_SECONDS = {"m": 60, "h": 3600, "d": DAY_SECONDS, "w": 7 * DAY_SECONDS}


def parse_since(text: str, *, now: float) -> float:
    """Return the time that `text` stands for, in Unix seconds.

    Parameters
    ----------
    text : str
        A duration before now (``30m``, ``24h``, ``7d``, ``2w``) or a day (``2026-11-01``, from its start, UTC).
    now : float
        Unix seconds.

    Raises
    ------
    OptionError
        If it is neither.
    """
    given = text.strip().lower()
    span = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*([mhdw])", given, re.ASCII)
    if span:
        return max(0.0, now - float(span.group(1)) * _SECONDS[span.group(2)])
    try:
        start = start_of(given)
    except ValueError:
        shown = repr(text if len(text) <= 40 else text[:39] + "…")
        raise OptionError(f"since must be like 30m, 24h, 7d, 2w or 2026-11-01, not {shown}") from None
    return max(0.0, start)
