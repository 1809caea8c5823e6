"""What ``since=`` means. Pure."""

from __future__ import annotations

import datetime
import re

from claude_force_nb.errors import OptionError

__all__ = ["parse_since"]

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_since(text: str, *, now: float) -> float:
    """Return the moment that `text` means, in Unix seconds.

    Parameters
    ----------
    text : str
        A span before now (``30m``, ``24h``, ``7d``, ``2w``) or a day (``2026-11-01``, from its start, UTC).
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
        day = datetime.datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        shown = repr(text if len(text) <= 40 else text[:39] + "…")
        raise OptionError(f"since must be like 30m, 24h, 7d, 2w or 2026-11-01, not {shown}") from None
    return max(0.0, day.timestamp())
