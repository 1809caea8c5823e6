"""Running rows again, each in the way that can help it, within the rest of the budget."""

from __future__ import annotations

from decimal import Decimal
from typing import (
    Any,
    AsyncIterable,
    Awaitable,
    Callable,
    Dict,
    List,
    Mapping,
    MutableMapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.bounds import price_bound
from claude_force_nb.costs.budget import parse_budget
from claude_force_nb.costs.days import today
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.costs.report import dollars
from claude_force_nb.errors import ClaudeForceError, SchemaError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import add_dollars, sum_dollars

from .yielding import LoopYielder

__all__ = ["budget_left", "retry_notice", "retry_routes", "retry_rows"]


async def retry_rows(
    numbers: Sequence[int],
    results: MutableMapping[int, ClaudeResult],
    *,
    via: str,
    budget: Any,
    run: Callable[[str, Sequence[int], Any], Awaitable[Mapping[int, ClaudeResult]]],
) -> Dict[int, ClaudeResult]:
    """Run rows again, put their results into `results`, and return them by row number.

    Parameters
    ----------
    numbers : sequence of int
        Which rows.
    results : mutable mapping of int to ClaudeResult
        What all rows had so far.
    via : str
        How they were sent.
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


async def retry_notice(
    requests: AsyncIterable[Tuple[int, Union[ClaudeRequest, ClaudeForceError]]],
    results: Mapping[int, ClaudeResult],
    *,
    via: str,
    cache: Optional[ResponseCache],
    prices: PriceTable,
) -> str:
    """Return the line that says what running rows again may cost, before any of them is sent.

    Parameters
    ----------
    requests : asynchronous iterable
        Row number and request of the rows that would be run again, or the error of one that cannot be made.
    results : mapping of int to ClaudeResult
        What all rows had so far; what the answered ones cost is taken for usual.
    via : str
        How they are sent.
    cache : ResponseCache or None
        Where their answers may be by now; None to look nowhere.
    prices : PriceTable
    """
    by_batch = dict(retry_routes(via, list(results), results)).get("batches", ())
    seen: Set[str] = set()
    bounds: List[Optional[Decimal]] = []
    rows = cached = 0
    yielder = LoopYielder()
    async for row, request in requests:
        if yielder.is_due:
            await yielder.turn()
        if isinstance(request, ClaudeForceError):
            continue
        if cache is not None and cache.get(request, counted=False) is not None:
            cached += 1
            continue
        rows += 1
        if request.fingerprint not in seen:
            seen.add(request.fingerprint)
            bounds.append(price_bound(request, prices, on=today(), batch=row in by_batch))
    free = f"; {cached:,} in the cache by now" if cached else ""
    if not rows:
        return f"retry: nothing is sent{free}"
    return f"retry: sends {rows:,} of {len(results):,} rows, {_price(bounds, results)}{free}"


def _price(bounds: Sequence[Optional[Decimal]], results: Mapping[int, ClaudeResult]) -> str:
    most = sum_dollars(bounds)
    if most is None:
        return "price unknown"
    paid = [result.cost for result in results.values() if result.status == "ok" and result.cost]
    spent = sum_dollars(paid)
    if not paid or spent is None:
        return f"at most {dollars(most)}"
    return f"about {dollars(min(most, spent / len(paid) * len(bounds)))}, at most {dollars(most)}"


def budget_left(budget: Any, spent: Optional[Decimal]) -> Optional[Decimal]:
    """Return the rest, in US dollars, of a budget given as an option; None without one."""
    limit = parse_budget(budget)
    return limit if limit is None or spent is None else max(add_dollars(limit, spent.copy_negate()), Decimal(0))
