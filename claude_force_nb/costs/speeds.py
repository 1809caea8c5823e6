"""How quickly calls were answered, from the durations in the ledger."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

from .ledger_rows import Speed, seconds_of

__all__ = ["speeds_of"]

_Select = Callable[[str, Tuple[Any, ...]], List[Tuple[Any, ...]]]

# Percentiles by nearest rank: of n sorted durations, the one at position ceil(n * share).
_PLACES = """
SELECT key, duration_seconds, place = (number + 1) / 2, place = (number * 95 + 99) / 100 FROM (
    SELECT {key} AS key, duration_seconds, ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY duration_seconds) AS place,
        COUNT(*) OVER (PARTITION BY {key}) AS number
    FROM entries WHERE time >= ? AND NOT cached AND duration_seconds IS NOT NULL AND status <> 'failed'
) WHERE place = (number + 1) / 2 OR place = (number * 95 + 99) / 100
"""
_SUMS = """
SELECT {key}, COUNT(*), SUM(status = 'failed'), SUM(CASE WHEN call_seconds > 0 THEN output_tokens ELSE 0 END), SUM(call_seconds)
FROM entries WHERE time >= ? AND NOT cached GROUP BY 1
"""


def speeds_of(select: _Select, key: str, since: float) -> Dict[str, Speed]:
    """Return the speed of calls, grouped by a key.

    Parameters
    ----------
    select : callable
        Runs a query on the ledger.
    key : str
        SQL expression for the key of an entry.
    since : float
        Unix seconds.

    Raises
    ------
    ValueError
        If the file contains something that we did not write.
    """
    medians: Dict[str, Any] = {}
    slow: Dict[str, Any] = {}
    for name, seconds, is_median, is_p95 in select(_PLACES.format(key=key), (since,)):
        if is_median:
            medians[name] = seconds_of(seconds)
        if is_p95:
            slow[name] = seconds_of(seconds)
    speeds = {}
    for name, calls, failures, tokens, seconds in select(_SUMS.format(key=key), (since,)):
        if type(name) is not str or type(calls) is not int or type(failures) is not int or type(tokens) is not int:
            raise ValueError("a number of calls or tokens is not valid")
        took = seconds_of(seconds)
        rate = tokens / took if took else None
        speeds[name] = Speed(calls, failures, medians.get(name), slow.get(name), rate)
    return speeds
