"""Days in UTC, as prices, budgets and the ledger use them."""

from __future__ import annotations

import datetime
import time

__all__ = ["DAY_SECONDS", "day_before", "day_of", "start_of", "today"]

DAY_SECONDS = 86400


_EPOCH_ORDINAL = datetime.date(1970, 1, 1).toordinal()


def today() -> datetime.date:
    """Return today's date, UTC."""
    return datetime.date.fromordinal(_EPOCH_ORDINAL + int(time.time() // DAY_SECONDS))


def day_before(seconds: float) -> datetime.date:
    """Return the date `seconds` ago, UTC; today's for 0."""
    if seconds == 0:
        return today()
    return datetime.datetime.fromtimestamp(max(0.0, time.time() - seconds), datetime.timezone.utc).date()


def day_of(unix_seconds: float) -> str:
    """Return the UTC day of a time, such as ``2026-11-01``; 1970-01-01 for earlier times."""
    return time.strftime("%Y-%m-%d", time.gmtime(max(0.0, unix_seconds)))


def start_of(day: str) -> float:
    """Return the start of a day such as ``2026-11-01`` in Unix seconds; raises ValueError if `day` is not a valid day."""
    return datetime.datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=datetime.timezone.utc).timestamp()
