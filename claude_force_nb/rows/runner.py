"""Runs many prompts, in memory or as a stream, by single calls or through message batches."""

from __future__ import annotations

import functools
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, AsyncGenerator, Awaitable, Callable, Dict, Mapping, Optional, Protocol, Sequence, Tuple, Union

from claude_force_nb.cache import ResponseCache
from claude_force_nb.calls.answer import Answerer
from claude_force_nb.calls.call import Call
from claude_force_nb.calls.composer import Composer
from claude_force_nb.calls.controls import Controls
from claude_force_nb.calls.events import RequestInfo
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.calls.settings import Accounts, check_arguments, check_whole_number
from claude_force_nb.costs.budget import Budget
from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.messages.checks import check_batch_fields
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.schemas.answer import schema_of
from claude_force_nb.schemas.repair import checked
from claude_force_nb.vocabulary import ROUTES, did_you_mean, shown_value

from .answer_columns import frame_parts
from .files import FILE_COLUMNS, RowFile
from .look_ahead import FindTogether
from .opening import open_source
from .readers import FILE_KINDS, file_kind
from .results import BatchResult, BatchSummary, Tell
from .retry import retry_notice, retry_rows
from .row_signatures import RowSignatures
from .run import OnResult, ResultCollector, Rows
from .sources import Source
from .workers import RowWorkers

__all__ = ["BatchRoute", "RowRunner", "RunOptions"]

_WRITTEN = (".jsonl", ".parquet")

# Returns the result of a request that was answered by an earlier run; consulted before the cache.
Known = Callable[[ClaudeRequest], Optional[ClaudeResult]]
# Returns the answer if no call is needed, else None; raises if a call would be needed but is not allowed.
Find = Callable[[Call], Optional[ClaudeResult]]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run of many rows, in addition to those of its calls.

    Attributes
    ----------
    template : str, optional
        A ``{{ }}`` template, the prompt of every row.
    on_result : callable, optional
        Called with row number and result as each row ends, in the order in which they end.
    cell : str, optional
        Cell id for the ledger.
    via : str
        Route: ``api`` sends each row in a request of its own, ``batches`` sends them together at half price and waits; see
        `message_batches`.
    max_concurrent : int, optional
        Maximum number of concurrent calls of this run, >= 1; the orchestrator's own limit applies as well.
    into : path, optional
        A .jsonl or .parquet file that receives every row with its answer, in the columns of `BatchResult.to_frame`; see
        `rows.files`. Rows that an earlier run answered there are not sent again.
    agent_column, model_column : str, optional
        Columns that name the agent or model of a row; a row without a value uses that of the run. An unknown name makes its
        row fail.
    trust_file : bool
        True reuses answers in the file `into` that lack this user's signature because somebody else wrote or changed them.

    Raises
    ------
    OptionError
        If an option has an invalid value.
    """

    template: Optional[str] = None
    on_result: Optional[OnResult] = None
    cell: Optional[str] = None
    via: str = "api"
    max_concurrent: Optional[int] = None
    into: Union[str, os.PathLike[str], None] = None
    agent_column: Optional[str] = None
    model_column: Optional[str] = None
    trust_file: bool = False

    def __post_init__(self) -> None:
        check_arguments(vars(self))
        if self.via not in ROUTES:
            near = did_you_mean(self.via, ROUTES) if isinstance(self.via, str) else ""
            raise OptionError(f"via must be one of {', '.join(ROUTES)}, not {shown_value(self.via)}{near}")
        if self.max_concurrent is not None:
            check_whole_number(self.max_concurrent, "max_concurrent", 1)
        if self.into is not None and os.path.splitext(os.fspath(self.into))[1].lower() not in _WRITTEN:
            raise OptionError(
                f"into={shown_value(os.fspath(self.into))} must end in .jsonl or .parquet; nothing was sent"
            )


class BatchRoute(Protocol):
    """Interface of the route through message batches, which `batches.message_batches.MessageBatches` implements."""

    async def run(
        self,
        rows: Rows,
        *,
        cache: Optional[ResponseCache],
        look_up: Callable[[ClaudeRequest], Optional[ClaudeResult]],
        look_up_shared: Optional[Callable[[Sequence[ClaudeRequest]], Awaitable[Sequence[Optional[ClaudeResult]]]]],
        share: Callable[[RequestInfo, ClaudeResult], ClaudeResult],
        check: Callable[[ClaudeResult], ClaudeResult],
        budget: Optional[Budget],
        cell: Optional[str],
    ) -> BatchSummary:
        """Answer all rows, each distinct request once."""


class RowRunner:
    """Answers the rows of whole sources.

    Parameters
    ----------
    composer : Composer
    answerer : Answerer
    accounts : Accounts
    controls : Controls
        Registers running rows, so that they can be counted and stopped from outside.
    check_open : callable
        Raises TransportClosedError after `close`.
    batches : callable
        Returns the route through message batches, when first needed; raises OptionError if it is not available.
    """

    def __init__(
        self,
        composer: Composer,
        answerer: Answerer,
        accounts: Accounts,
        controls: Controls,
        check_open: Callable[[], None],
        batches: Callable[[], BatchRoute],
    ) -> None:
        self._composer = composer
        self._answerer = answerer
        self._accounts = accounts
        self._controls = controls
        self._check_open = check_open
        self._batches = batches

    async def requests(
        self, prompts: Any, template: Optional[str], options: Mapping[str, Any]
    ) -> AsyncGenerator[Tuple[int, Union[ClaudeRequest, ClaudeForceError]], None]:
        """Yield what `run_many` would send for the same arguments; see `AsyncAgentOrchestrator.requests`."""
        call = self._composer.resolve(CallOptions.of(options))
        source = _source(prompts, keep=False)
        source.check(template, call.variables)
        rows = Rows(source.feed(), call, self._composer.maker, template=template, choose=self._own_options())
        async for row, item in rows:
            try:
                yield row, rows.request(row, item)
            except ClaudeForceError as error:
                yield row, error

    async def run_many(self, prompts: Any, run: RunOptions, options: Mapping[str, Any]) -> BatchResult:
        """Answer many prompts and keep the rows; see `AsyncAgentOrchestrator.run_many`."""
        options = _with_schema(options)
        source = _source(prompts, keep=True)

        async def once(
            rows: Source, route: str, options: Mapping[str, Any]
        ) -> Tuple[BatchSummary, Dict[int, ClaudeResult]]:
            collected = ResultCollector(rows, run.on_result)
            summary = await self.run_stream(rows, replace(run, via=route, on_result=collected), options)
            return summary, collected.results

        async def some(route: str, numbers: Sequence[int], budget: Any) -> Mapping[int, ClaudeResult]:
            return (await once(source.only(numbers), route, {**options, "budget": budget}))[1]

        async def again(numbers: Sequence[int], tell: Tell) -> Mapping[int, ClaudeResult]:
            requests = self.requests(source.only(numbers), run.template, options)
            cache = self._accounts.cache if CallOptions.of(options).reads_cache else None
            prices = self._accounts.prices
            line = await retry_notice(requests, results, via=run.via, cache=cache, prices=prices)
            (tell or _write_line)(line)
            return await retry_rows(numbers, results, via=run.via, budget=options.get("budget"), run=some)

        summary, results = await once(source, run.via, options)
        numbers = sorted(results)
        return BatchResult(
            [results[number] for number in numbers],
            numbers=numbers,
            source=source,
            again=again,
            more=frame_parts(options.get("schema")),
            duration_seconds=summary.duration_seconds,
        )

    async def run_stream(self, prompts: Any, run: RunOptions, options: Mapping[str, Any]) -> BatchSummary:
        """Answer many prompts without keeping the rows; see `AsyncAgentOrchestrator.run_stream`."""
        call = CallOptions.of(_with_schema(options))
        self._check_open()
        call = self._composer.resolve(call)
        if run.via == "batches":
            check_batch_fields(call.body)
        budget = self._accounts.run_budget(call)
        source = _source(prompts, keep=False)
        if run.agent_column is not None or run.model_column is not None:
            source.take_options_from(agent_column=run.agent_column, model_column=run.model_column)
        source.check(run.template, call.variables)
        if run.via == "batches" and call.prompt_cache in (None, "auto"):
            # Message batches take longer than the default lifetime of five minutes; a single row has nothing to share.
            call = call.changed(prompt_cache="off" if source.total == 1 else "1h")
        with ExitStack() as stack:
            written: Optional[RowFile] = None
            known: Optional[Known] = None
            tell = run.on_result
            if run.into is not None:
                written = RowFile(
                    run.into,
                    source,
                    frame_parts(call.schema, taken=FILE_COLUMNS),
                    signatures=RowSignatures.made_by(self._accounts.record_keys),
                    # With "refresh" every row is sent again, so unsigned answers in the file do no harm.
                    trusted=run.trust_file or call.cache == "refresh",
                )
                stack.callback(written.close)
                await written.open()
                tell = written if tell is None else _both(written, tell)
                known = None if call.cache == "refresh" else written.known
            rows = Rows(
                source.feed(),
                call,
                self._composer.maker,
                template=run.template,
                on_result=tell,
                total=source.total,
                choose=self._own_options(),
            )
            if isinstance(run.on_result, ResultCollector):
                run.on_result.watch(rows)
            stack.enter_context(self._controls.under_way(rows))
            if written is None and run.via == "api":
                rows.fail_early(source.in_memory())
            # With a frozen answer file nothing is sent, so message batches need not be available.
            frozen = self._accounts.answers is not None and self._accounts.answers.frozen
            answer_all = self._run_batches if run.via == "batches" and not frozen else self._run_calls
            summary = await answer_all(rows, run, known, budget)
            if written is not None:
                await written.finish()
            return summary

    def _own_options(self) -> Callable[[CallOptions, Any, Any], CallOptions]:
        """Return a function for the options of rows with their own agent or model, which looks up each pair once."""
        made: Dict[Tuple[Any, Any], CallOptions] = {}

        def choose(call: CallOptions, agent: Any, model: Any) -> CallOptions:
            key = (agent if isinstance(agent, str) else id(agent), model)
            options = made.get(key)
            if options is None:
                own = {name: value for name, value in (("agent", agent), ("model", model)) if value is not None}
                options = made[key] = self._composer.resolve(replace(call, **own)) if own else call
            return options

        return choose

    async def _run_calls(
        self, rows: Rows, run: RunOptions, known: Optional[Known], budget: Optional[Budget]
    ) -> BatchSummary:
        def call(request: ClaudeRequest, options: CallOptions) -> Call:
            return Call(request, options, budget=budget, cell=run.cell)

        answerer = self._answerer
        find_together = functools.partial(answerer.find_together, cell=run.cell)
        most = self._controls.ceiling
        workers = RowWorkers(
            rows,
            call=call,
            find=_first_of(known, answerer.find if rows.call.schema is None else None),
            find_together=_first_of_several(known, find_together) if rows.call.schema is None else None,
            answer=answerer.fetch if rows.call.schema is None else answerer.answer,
            most=most if run.max_concurrent is None else min(most, run.max_concurrent),
        )
        return await workers.run()

    async def _run_batches(
        self, rows: Rows, run: RunOptions, known: Optional[Known], budget: Optional[Budget]
    ) -> BatchSummary:
        call = rows.call

        find = _first_of(known, self._answerer.find)

        recorded = self._accounts.answers

        def look_up(request: ClaudeRequest) -> Optional[ClaudeResult]:
            found = find(Call(request, call, cell=run.cell))
            if found is None and recorded is not None:
                recorded.expect(request)
            return found

        def share(asked: RequestInfo, result: ClaudeResult) -> ClaudeResult:
            return self._answerer.hit(asked, result, time.perf_counter(), run.cell)

        def check(result: ClaudeResult) -> ClaudeResult:
            if recorded is not None and recorded.keep_expected(result):
                result = result.changed(recorded=True)
            return checked(result, call.schema)

        cache = None if call.cache == "off" else self._accounts.cache
        shared = cache.shared if cache is not None and call.reads_cache else None
        return await self._batches().run(
            rows,
            cache=cache,
            look_up=look_up,
            look_up_shared=None if shared is None else shared.get_many,
            share=share,
            check=check,
            budget=budget,
            cell=run.cell,
        )


def _first_of(known: Optional[Known], find: Optional[Find]) -> Find:
    """Return a function that finds answers without a call: first in the file of the run, then in the cache."""
    if known is None:
        return find or (lambda call: None)
    here = known
    return lambda call: here(call.request) or (None if find is None else find(call))


def _first_of_several(known: Optional[Known], find: FindTogether) -> FindTogether:
    """Like `_first_of`, for several requests at once."""
    if known is None:
        return find
    here = known

    def find_each(asked: Sequence[Tuple[ClaudeRequest, CallOptions]]) -> Sequence[Optional[ClaudeResult]]:
        found = [here(request) for request, _ in asked]
        others = iter(find([each for each, result in zip(asked, found) if result is None]))
        return [next(others) if result is None else result for result in found]

    return find_each


def _write_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _both(first: OnResult, second: OnResult) -> OnResult:
    def tell(row: int, result: ClaudeResult) -> None:
        first(row, result)
        second(row, result)

    return tell


def _with_schema(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options with their schema parsed, once for a run and its retries."""
    return {**options, "schema": schema_of(options["schema"])} if options.get("schema") is not None else options


def _source(prompts: Any, *, keep: bool) -> Source:
    if isinstance(prompts, str):
        if file_kind(Path(prompts)) in FILE_KINDS:
            raise OptionError(
                f"run_many takes a list of prompts; for the rows of a file give pathlib.Path({prompts!r})"
            )
        raise OptionError("run_many takes a list of prompts; for a single one use run")
    return open_source(prompts, name="the list of prompts", keep=keep)
