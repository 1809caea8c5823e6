"""The rows of one run: numbers them, turns them into requests and counts their results, without keeping them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, AsyncIterator, Callable, Dict, Iterable, List, Optional, Protocol, Set, Tuple

from claude_force_nb.calls.compose import RequestMaker
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.calls.prompt_cache import SettingsWatch
from claude_force_nb.calls.status import CallStatus
from claude_force_nb.errors import (
    ApiError,
    ClaudeForceError,
    MissingValueError,
    SpendLimitError,
    StoppedError,
    TransportClosedError,
)
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.prompts.plain import is_absent
from claude_force_nb.prompts.template import check_given
from claude_force_nb.prompts.variables import LayeredVariables

from .feed import BrokenRow, Feed, OwnOptions, Prompts
from .results import BatchResult, BatchSummary, unanswered
from .sources import Source
from .tally import RowTally

__all__ = ["InterruptedRows", "OnResult", "ResultCollector", "Rows"]

OnResult = Callable[[int, ClaudeResult], None]


class Rows:
    """The rows of one run, taken from their source one by one; every row ends exactly once, in `end`.

    Parameters
    ----------
    items : iterable or asynchronous iterable
        Prompts or ready-made requests; with `template`, mappings of variables, or plain values, which the template knows as
        ``item``.
    call : CallOptions
        Options of all rows. A row's variables take precedence over ``variables``.
    maker : callable
        Returns the `RequestMaker` for calls with the same options.
    template : str, optional
        Prompt of every row.
    on_result : callable, optional
        Called with row number and result as each row ends.
    total : int, optional
        Number of items, if known.
    choose : callable, optional
        Returns the options of a row with its own agent or model.
    """

    def __init__(
        self,
        items: Prompts,
        call: CallOptions,
        maker: Callable[[CallOptions], RequestMaker],
        *,
        template: Optional[str] = None,
        on_result: Optional[OnResult] = None,
        total: Optional[int] = None,
        choose: Optional[Callable[[CallOptions, Any, Any], CallOptions]] = None,
    ) -> None:
        # A missing value must not become the text "nan" in a row's prompt, so such rows are skipped by default.
        self.call = call if call.missing is not None else replace(call, missing="skip")
        self._total = total
        self._feed = Feed(items)
        self._maker = maker
        self._makers: Dict[int, Tuple[CallOptions, RequestMaker]] = {}
        self._choose = choose
        self._settings = SettingsWatch()
        self._ended_early: Set[int] = set()
        self._template = template
        self._on_result = on_result
        self._started = time.perf_counter()
        self._tally = RowTally()
        self._fatal: Optional[BaseException] = None
        # Rows taken from the source that had not ended when the run was cancelled or failed; the request is None if it had
        # not been made.
        self.interrupted: Dict[int, Tuple[Optional[ClaudeRequest], CallStatus]] = {}

    def __aiter__(self) -> AsyncIterator[Tuple[int, Any]]:
        """Iterate over row numbers and items; several workers may do so at once, and each row goes to one of them."""
        return self._feed

    def more(self, most: int) -> List[Tuple[int, Any]]:
        """Return up to `most` further rows; fewer or none if the source is slow or asynchronous."""
        return self._feed.more(most)

    def options(self, item: Any) -> CallOptions:
        """Return the options of a row: those of the run, with the row's own agent or model if it has one.

        Raises
        ------
        ConfigurationError
            If that agent or model does not exist.
        """
        if type(item) is dict or type(item) is str:
            return self.call
        item = _as_own(item) if self._template is None else item
        if not isinstance(item, OwnOptions) or self._choose is None:
            return self.call
        return self._choose(self.call, item.agent, item.model)

    def request(self, row: int, item: Any) -> ClaudeRequest:
        """Return the request of a row.

        Raises
        ------
        ClaudeForceError
            If it cannot be made; its message begins with the row's number.
        """
        try:
            if isinstance(item, BrokenRow):
                raise item.error
            if isinstance(item, ClaudeRequest):
                return self._watched(item)
            call = self.options(item)
            if self._template is None:
                item = _as_own(item)
            if isinstance(item, OwnOptions):
                item = item.item
            if self._template is None:
                check_given(item, "the prompt", call.missing)
                return self._watched(self._maker_for(call).request(item, call.variables, varying=()))
            variables = item if type(item) is dict or isinstance(item, Mapping) else {"item": item}
            if call.missing != "keep":
                variables = _without_blanks(variables)
            varying = variables.keys()
            if call.variables:
                variables = LayeredVariables(variables, call.variables)
            return self._watched(self._maker_for(call).request(self._template, variables, varying=varying))
        except ClaudeForceError as error:
            raise type(error)(f"row {row}: {error}") from error.__cause__

    def _watched(self, request: ClaudeRequest) -> ClaudeRequest:
        """Return the request, after checking whether its settings defeat the prompt cache."""
        if request.cache_mark is not None:
            self._settings.look(request)
        return request

    def _maker_for(self, call: CallOptions) -> RequestMaker:
        # By identity, since options are not hashable. A run has few of them, and this dict keeps them alive.
        known = self._makers.get(id(call))
        if known is None:
            known = self._makers[id(call)] = call, self._maker(call)
        return known[1]

    def fail_early(self, items: Iterable[Tuple[int, Any]]) -> None:
        """End the rows whose own agent or model is unknown, before anything is sent."""
        for row, item in items:
            try:
                self.options(item)
            except ClaudeForceError as error:
                self._ended_early.add(row)
                self.fail(row, None, type(error)(f"row {row}: {error}"))

    def has_ended(self, row: int) -> bool:
        """Return whether a row was ended by `fail_early`."""
        return row in self._ended_early

    @property
    def total(self) -> Optional[int]:
        """Number of rows; None if the source does not know it."""
        return self._total

    @property
    def left(self) -> int:
        """Rows not yet started; 0 if the source does not know its length."""
        return 0 if self._total is None else max(0, self._total - self._feed.taken)

    @property
    def in_flight_elsewhere(self) -> int:
        """Number of calls that other processes have in flight for these rows: none."""
        return 0

    def stop(self, error: ClaudeForceError) -> None:
        """Send no further row; may be called from any thread.

        The remaining rows are skipped if their number is known; otherwise no more are taken from the source.
        """
        self._fatal = self._fatal or error
        if self._total is None:
            self._feed.end()

    @property
    def fatal(self) -> Optional[BaseException]:
        """The error that would make every further row fail, once there is one."""
        return self._fatal

    def fail(
        self,
        row: int,
        request: Optional[ClaudeRequest],
        error: ClaudeForceError,
        status: Optional[CallStatus] = None,
    ) -> None:
        """End a row with its error: ``failed`` if its prompt cannot be made or its call failed, else ``stopped`` or ``not_sent``.

        A row that lacks a value for the template is ``not_sent``: that is no failure.
        """
        if isinstance(error, (SpendLimitError, TransportClosedError)) or getattr(error, "status", None) == 401:
            self._fatal = self._fatal or error
        broken = request is None and not isinstance(error, MissingValueError)
        if isinstance(error, StoppedError):
            kind = _stopped_kind(status)
        else:
            kind = "failed" if broken or isinstance(error, ApiError) else "not_sent"
        self.end(row, unanswered(request, error, kind, status))

    def skip(self, row: int, request: ClaudeRequest) -> None:
        """End a row that is not sent because of `fatal`."""
        assert self._fatal is not None
        self.end(row, unanswered(request, self._fatal, "not_sent"))

    def end(self, row: int, result: ClaudeResult) -> None:
        """Count a row's result and report it."""
        self._tally.add(result)
        if self._on_result is not None:
            self._on_result(row, result)

    def summary(self) -> BatchSummary:
        """Return the counts and sums of the rows that have ended."""
        return BatchSummary.of(self._tally, duration_seconds=time.perf_counter() - self._started)


def _stopped_kind(status: Optional[CallStatus]) -> str:
    """Return the status of a row whose run was stopped: ``stopped`` if its call had been sent, else ``not_sent``."""
    return "stopped" if status is not None and status.attempts else "not_sent"


def _as_own(item: Any) -> Any:
    """Return a pair of agent and prompt as a row with its own agent, and anything else unchanged."""
    return OwnOptions(item[1], item[0], None) if type(item) is tuple and len(item) == 2 else item


def _without_blanks(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with None in place of missing values, also in ``row``, the mapping of the whole row."""
    if "row" not in row and not any(map(is_absent, row.values())):
        return row
    cells = {name: None if is_absent(cell) else cell for name, cell in row.items()}
    whole = cells.get("row")
    if isinstance(whole, Mapping):
        cells["row"] = {name: None if is_absent(cell) else cell for name, cell in whole.items()}
    return cells


class InterruptedRows(Protocol):
    """The rows that had not ended when their run was cancelled or failed; implemented by `Rows`, among others."""

    @property
    def interrupted(self) -> Mapping[int, Tuple[Optional[ClaudeRequest], CallStatus]]:
        """Request, None if it had not been made, and call status by row number."""


class ResultCollector:
    """Collects the results of a run by row number; `batch` may be called at any time.

    Parameters
    ----------
    source : Source
        The rows, which the `BatchResult` keeps for its frame.
    on_result : callable, optional
        Called with row number and result as each row ends.
    keep : bool
        False for a run whose rows go to a file: no results are kept then, only the record of interrupted rows.
    """

    def __init__(self, source: Source, on_result: Optional[OnResult] = None, *, keep: bool = True) -> None:
        self.results: Dict[int, ClaudeResult] = {}
        self._keep = keep
        self._source = source
        self._on_result = on_result
        self._rows: Optional[InterruptedRows] = None

    def watch(self, rows: InterruptedRows) -> None:
        """Set the run to ask about rows that were interrupted."""
        self._rows = rows

    @property
    def may_be_billed(self) -> int:
        """Number of rows whose calls were cancelled after they were sent; it is unknown whether they are billed."""
        return 0 if self._rows is None else sum(status.attempts > 0 for _, status in self._rows.interrupted.values())

    def __call__(self, row: int, result: ClaudeResult) -> None:
        if self._keep:
            self.results[row] = result
        if self._on_result is not None:
            self._on_result(row, result)

    def batch(self, *, stopped: Optional[BaseException] = None, **more: Any) -> BatchResult:
        """Return the results so far as a `BatchResult`; `more` are its further arguments.

        Parameters
        ----------
        stopped : Exception, optional
            Why the run ended early: the error of the rows that had not ended. Rows whose calls had been sent are
            ``stopped``, with cost None, since they may have been answered and billed; those known not to have been sent
            are ``not_sent``.
        """
        rows: Dict[int, ClaudeResult] = dict(self.results)
        if stopped is not None:
            interrupted: Mapping[int, Any] = {} if self._rows is None else self._rows.interrupted
            for row in range(max(self._source.total or 0, self._source.taken)):
                if row in interrupted and row not in rows:
                    request, status = interrupted[row]
                    rows[row] = unanswered(request, stopped, _stopped_kind(status), status)
                elif row < self._source.taken:
                    rows.setdefault(row, ClaudeResult(status="stopped", error=stopped, cost=None))
                else:
                    rows.setdefault(row, ClaudeResult(status="not_sent", error=stopped))
            if self._keep:
                self.results.update(rows)  # so that a retry includes them
        numbers = sorted(rows)
        return BatchResult([rows[row] for row in numbers], numbers=numbers, source=self._source, **more)
