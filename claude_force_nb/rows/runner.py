"""Many prompts at once, as an orchestrator answers them: in memory, as a stream, one by one or through message batches."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from decimal import Decimal
from typing import (
    Any,
    AsyncGenerator,
    Awaitable,
    Callable,
    ContextManager,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from claude_force_nb.api.transport import Transport
from claude_force_nb.batches.context import Accounts
from claude_force_nb.batches.message_batches import MessageBatches, open_message_batches
from claude_force_nb.cache import ResponseCache
from claude_force_nb.calls.events import EventEmitter, RequestInfo
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.budget import Budget, DailyBudget, parse_budget
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import ClaudeForceError, OptionError, SchemaError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import add_dollars
from claude_force_nb.rows.results import BatchResult, BatchSummary, frame_parts
from claude_force_nb.schemas.answer import schema_of
from claude_force_nb.schemas.repair import checked
from claude_force_nb.vocabulary import ROUTES, did_you_mean

from .files import FILE_COLUMNS, RowFile
from .run import OnResult, ResultCollector, Rows, answer_rows
from .sources import Source, open_source

__all__ = ["RowRunner", "budget_left", "retry_routes", "whole_number"]

# Gives the result of a request that needs no asking, before the cache is looked at.
Known = Callable[[ClaudeRequest], Optional[ClaudeResult]]


class RowRunner:
    """`run_many` and its relatives; `AsyncAgentOrchestrator` inherits them."""

    transport: Transport
    prices: PriceTable
    budget: Budget
    daily_budget: Optional[DailyBudget]
    ledger: Optional[Ledger]
    cache: Optional[ResponseCache]
    max_concurrent: int
    max_retries: int
    notebook: Optional[str]
    _environ: Mapping[str, str]
    _emitter: EventEmitter
    _message_batches: Optional[MessageBatches]
    _compose: Callable[[str, CallOptions], ClaudeRequest]
    _resolve: Callable[[CallOptions], CallOptions]
    _check_open: Callable[[], None]
    _budget_of: Callable[[CallOptions], Optional[Budget]]
    _under_way: Callable[[Rows], ContextManager[None]]
    _look: Callable[[ClaudeRequest, CallOptions, float, Optional[str]], Optional[ClaudeResult]]
    _hit: Callable[[RequestInfo, ClaudeResult, float, Optional[str]], ClaudeResult]
    _answer: Callable[..., Awaitable[ClaudeResult]]

    async def requests(
        self, prompts: Any, *, template: Optional[str] = None, **options: Any
    ) -> AsyncGenerator[Tuple[int, Union[ClaudeRequest, ClaudeForceError]], None]:
        """Give the requests that `run_many` would send for the same arguments, one by one; sends nothing.

        Yields
        ------
        (int, ClaudeRequest or ClaudeForceError)
            Row number, and the request, or why it cannot be made.

        Raises
        ------
        ConfigurationError or PromptError
            Where `run_many` would.
        """
        call = self._resolve(CallOptions.of(options))
        source = _source(prompts, keep=False)
        source.check(template, call.variables)
        rows = Rows(source.feed(), call, self._compose, template=template)
        async for row, item in rows:
            try:
                yield row, rows.request(row, item)
            except ClaudeForceError as error:
                yield row, error

    async def run_many(
        self,
        prompts: Any,
        *,
        template: Optional[str] = None,
        on_result: Optional[OnResult] = None,
        cell: Optional[str] = None,
        via: str = "api",
        max_concurrent: Optional[int] = None,
        **options: Any,
    ) -> BatchResult:
        """Answer many prompts with the same options, at most `max_concurrent` at a time.

        Parameters
        ----------
        prompts : iterable, asynchronous iterable, mapping, data frame or path
            See `sources.open_source`. Taken one by one as workers become free. Texts; with `template` mappings of variables,
            which lie over ``variables``, or plain values, which the template knows as ``item``.
        template : str, optional
            A ``{{ }}`` template, the prompt of every row.
        on_result : callable, optional
            Called with row number and result as each row ends, in the order in which they end.
        cell : str, optional
            Cell id for the ledger.
        via : str
            How rows travel: ``api`` asks for each one by itself, ``batches`` sends them together at half price and waits; see
            `message_batches`.
        max_concurrent : int, optional
            Bound for this run, >= 1, below that of the orchestrator.
        **options
            See `options.CallOptions`; ``budget`` bounds the whole.

        Returns
        -------
        BatchResult
            One result per prompt in input order; a row that failed has ``status`` ``failed`` and its ``error``, also where its
            prompt cannot be made. After a spend limit or a refused key the remaining rows are ``not_sent``.

        Raises
        ------
        ConfigurationError
            On an unknown or unusable option, agent or model, before anything is sent.
        PromptError
            If `template` is none, or has a name that neither rows nor ``variables`` have, before anything is sent.
        TransportClosedError
            After `close`.
        """
        if options.get("schema") is not None:
            options["schema"] = schema_of(options["schema"])
        parts = frame_parts(options.get("schema"))
        source = _source(prompts, keep=True)
        options.update(template=template, cell=cell, via=via, max_concurrent=max_concurrent)

        async def again(numbers: Sequence[int]) -> Mapping[int, ClaudeResult]:
            more = ResultCollector(source, on_result)
            left = dict(options)
            for route, part in retry_routes(via, numbers, collected.results):
                summary = await self.run_stream(source.only(part), on_result=more, **dict(left, via=route))
                left["budget"] = budget_left(left.get("budget"), summary.cost)
            collected.results.update(more.results)
            return more.results

        collected = ResultCollector(source, on_result)
        summary = await self.run_stream(source, on_result=collected, **options)
        return collected.batch(again=again, more=parts, duration_seconds=summary.duration_seconds)

    async def run_stream(
        self,
        prompts: Any,
        *,
        template: Optional[str] = None,
        on_result: Optional[OnResult] = None,
        cell: Optional[str] = None,
        via: str = "api",
        max_concurrent: Optional[int] = None,
        into: Union[str, os.PathLike[str], None] = None,
        **options: Any,
    ) -> BatchSummary:
        """Do what `run_many` does and keep no row, so that a source may have any length: results go to `on_result` and `into`.

        Parameters
        ----------
        into : path, optional
            A .jsonl or .parquet file that receives every row with its answer, as `BatchResult.to_frame` has them; see
            `row_files`. What an earlier run has written there is not asked again.

        Returns
        -------
        BatchSummary
            Counts and sums; what was in the file counts as cached.

        Raises
        ------
        SourceError
            If the file cannot be used.
        """
        if options.get("schema") is not None:
            options["schema"] = schema_of(options["schema"])
        call = CallOptions.of(options)
        if via not in ROUTES:
            near = did_you_mean(via, ROUTES)
            raise OptionError("via must be one of {}, not {!r}{}".format(", ".join(ROUTES), via, near))
        workers = self.max_concurrent if max_concurrent is None else whole_number(max_concurrent, "max_concurrent", 1)
        self._check_open()
        call = self._resolve(call)
        budget = self._budget_of(call)
        source = _source(prompts, keep=False)
        source.check(template, call.variables)
        with ExitStack() as stack:
            written: Optional[RowFile] = None
            known: Optional[Known] = None
            tell = on_result
            if into is not None:
                written = RowFile(into, source, frame_parts(call.schema, taken=FILE_COLUMNS))
                stack.callback(written.close)
                await written.open()
                tell = written if on_result is None else _both(written, on_result)
                known = None if call.cache == "refresh" else written.known
            rows = Rows(source.feed(), call, self._compose, template=template, on_result=tell, total=source.total)
            stack.enter_context(self._under_way(rows))

            async def answer(request: ClaudeRequest, arrived: Callable[[], None]) -> ClaudeResult:
                found = None if known is None else known(request)
                return found or await self._answer(
                    request, call, budget=budget, partial=None, cell=cell, arrived=arrived
                )

            if via == "batches":
                summary = await self._run_batches(rows, call, budget=budget, cell=cell, known=known)
            else:
                summary = await answer_rows(rows, answer, workers=min(workers, self.max_concurrent))
            if written is not None:
                await written.finish()
            return summary

    @property
    def message_batches(self) -> MessageBatches:
        """The batch jobs of all kernels, and what runs them.

        Raises
        ------
        OptionError
            Where the transport is of the user's own and has no batches.
        """
        if self._message_batches is None:
            self._message_batches = open_message_batches(
                self.transport,
                self._environ,
                Accounts(self.prices, self.ledger, self.cache, (self.budget, self.daily_budget)),
                emitter=self._emitter,
                notebook=self.notebook,
                max_retries=self.max_retries,
            )
        return self._message_batches

    @property
    def batches_left(self) -> str:
        """Which batches of the run that was stopped last go on at the API, and how to collect them; "" where none do."""
        return "" if self._message_batches is None else self._message_batches.left_running

    def cancel_run(self, task: asyncio.Task[Any]) -> None:
        """End a task that runs many prompts: its batches at the API, where it has some, else the task itself."""
        if self._message_batches is None or not self._message_batches.cancel_run(task):
            task.cancel()

    async def _run_batches(
        self,
        rows: Rows,
        call: CallOptions,
        *,
        budget: Optional[Budget],
        cell: Optional[str],
        known: Optional[Known],
    ) -> BatchSummary:
        def look(request: ClaudeRequest) -> Optional[ClaudeResult]:
            found = None if known is None else known(request)
            return found or self._look(request, call, time.perf_counter(), cell)

        def share(asked: RequestInfo, result: ClaudeResult) -> ClaudeResult:
            return self._hit(asked, result, time.perf_counter(), cell)

        def check(result: ClaudeResult) -> ClaudeResult:
            return checked(result, call.schema)

        cache = None if call.cache == "off" else self.cache
        return await self.message_batches.run(
            rows, cache=cache, look_up=look, share=share, check=check, budget=budget, cell=cell
        )


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


def _both(first: OnResult, second: OnResult) -> OnResult:
    def tell(row: int, result: ClaudeResult) -> None:
        first(row, result)
        second(row, result)

    return tell


def _source(prompts: Any, *, keep: bool) -> Source:
    if isinstance(prompts, str):
        raise OptionError("run_many takes a list of prompts; for a single one use run")
    return open_source(prompts, name="the list of prompts", keep=keep)


def whole_number(value: Any, name: str, least: int) -> int:
    """Return `value`; raises OptionError where it is no whole number from `least`."""
    if type(value) is not int or value < least:
        raise OptionError(f"{name} must be a whole number from {least}, not {value!r}")
    return value
