"""Runs rows again, each by the route that can give it an answer, within what is left of the budget."""

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
from claude_force_nb.vocabulary import counted

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
        The rows to run.
    results : mutable mapping of int to ClaudeResult
        Results of all rows so far.
    via : str
        Route by which they were sent first: ``api`` or ``batches``.
    budget : Decimal, number, str or None
        US dollars for all of them.
    run : callable
        Runs some rows: takes the route, their numbers and the budget, and returns their results.
    """
    again: Dict[int, ClaudeResult] = {}
    for route, part in retry_routes(via, numbers, results):
        found = await run(route, part, budget)
        again.update(found)
        budget = budget_left(budget, sum_dollars(result.cost for result in found.values()))
    results.update(again)
    return again


def retry_routes(via: str, numbers: Sequence[int], results: Mapping[int, ClaudeResult]) -> List[Tuple[str, List[int]]]:
    """Return the rows to run again, by route.

    A message batch's answer is only checked against its schema, not repaired. One that does not fit is therefore run again by
    a direct call, which can repair it.
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
    """Return a line that says what running rows again may cost; nothing is sent.

    Parameters
    ----------
    requests : asynchronous iterable
        Row number, and the request or the error of making it, of each row that would be run again.
    results : mapping of int to ClaudeResult
        Results of all rows so far. The estimate is the mean cost of the answered ones.
    via : str
        Route by which they were sent: ``api`` or ``batches``.
    cache : ResponseCache or None
        Cache that may have their answers by now; None to look nowhere.
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
    return f"retry: sends {rows:,} of {counted(len(results), 'row')}, {_price(bounds, results)}{free}"


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
    """Return what is left, in US dollars, of a budget given as an option; None without a budget."""
    limit = parse_budget(budget)
    return limit if limit is None or spent is None else max(add_dollars(limit, spent.copy_negate()), Decimal(0))
