"""Running rows again: each the way that can help it, within what is left of the budget."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Awaitable, Callable, Dict, List, Mapping, MutableMapping, Optional, Sequence, Tuple

from claude_force_nb.costs.budget import parse_budget
from claude_force_nb.errors import SchemaError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import add_dollars, sum_dollars

__all__ = ["budget_left", "retry_routes", "retry_rows"]


async def retry_rows(
    numbers: Sequence[int],
    results: MutableMapping[int, ClaudeResult],
    *,
    via: str,
    budget: Any,
    run: Callable[[str, Sequence[int], Any], Awaitable[Mapping[int, ClaudeResult]]],
) -> Dict[int, ClaudeResult]:
    """Run rows again, put what came of it into `results`, and return it by row number.

    Parameters
    ----------
    numbers : sequence of int
        Which rows.
    results : mutable mapping of int to ClaudeResult
        What all rows had so far.
    via : str
        How they travelled.
    budget : Decimal, number, str or None
        US dollars for all of them.
    run : callable
        Runs some rows: takes the route, their numbers and the budget, and gives their results.
    """
    again: Dict[int, ClaudeResult] = {}
    for route, part in retry_routes(via, numbers, results):
        found = await run(route, part, budget)
        again.update(found)
        budget = budget_left(budget, sum_dollars(result.cost for result in found.values()))
    results.update(again)
    return again


def retry_routes(via: str, numbers: Sequence[int], results: Mapping[int, ClaudeResult]) -> List[Tuple[str, List[int]]]:
    """Return which way rows go that are run again.

    An answer of a message batch is only checked against its schema. The repair of one that does not fit is a call of its own.
    """
    errors = {number: results[number].error for number in numbers if number in results and via != "api"}
    misfits = [number for number, error in errors.items() if isinstance(error, SchemaError)]
    others = sorted(set(numbers) - set(misfits))
    return [(route, part) for route, part in ((via, others), ("api", misfits)) if part]


def budget_left(budget: Any, spent: Optional[Decimal]) -> Optional[Decimal]:
    """Return what is left in US dollars of a budget as options name it; None where there is none."""
    limit = parse_budget(budget)
    return limit if limit is None or spent is None else max(add_dollars(limit, spent.copy_negate()), Decimal(0))
