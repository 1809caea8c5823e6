"""The results of many rows: a sequence of them with totals, and their columns in a table."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import (
    Any,
    Awaitable,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Union,
    overload,
)

from claude_force_nb.calls.events import RequestInfo
from claude_force_nb.calls.status import CallStatus
from claude_force_nb.errors import OptionError, SchemaError
from claude_force_nb.messages.result import ClaudeResult, StatusCounts
from claude_force_nb.messages.shown import ShownInNotebooks
from claude_force_nb.messages.usage import Usage, sum_dollars
from claude_force_nb.prompts.plain import free_name
from claude_force_nb.vocabulary import counted

from .answer_columns import answer_columns
from .frames import assemble
from .tally import RowTally

__all__ = [
    "Again",
    "BatchResult",
    "BatchSummary",
    "Tell",
    "unanswered",
]

# Shows a line to the user; None for the default place.
Tell = Optional[Callable[[str], None]]
# Runs the rows with the given numbers again, and returns their results by number.
Again = Callable[[Sequence[int], Tell], Awaitable[Mapping[int, ClaudeResult]]]


@dataclass(frozen=True)
class BatchSummary(ShownInNotebooks):
    """Counts and totals of a run, without its rows.

    Attributes
    ----------
    counts : mapping of str to int
        Rows by status: ``ok``, ``cached``, ``failed``, ``not_sent``, and ``cut_off``, ``refused``, ``stopped`` if there are
        any.
    cost, saved : Decimal or None
        US dollars paid, and not paid because the cache answered; None if one price is unknown.
    input_tokens, output_tokens : int
        Totals over all answers, cached ones included.
    prompt_cache_saved : Decimal
        US dollars by which the API's prompt cache made the calls cheaper.
    duration_seconds : float
        Wall time of the whole run.
    recorded : int
        Rows whose answer is in an answer file.
    """

    counts: Mapping[str, int]
    cost: Optional[Decimal] = Decimal(0)
    saved: Optional[Decimal] = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_cache_saved: Decimal = Decimal(0)
    duration_seconds: float = 0.0
    recorded: int = 0

    @classmethod
    def of(cls, tally: RowTally, *, duration_seconds: float) -> BatchSummary:
        """Return the summary of the results counted so far."""
        return cls(
            counts=tally.counts.copy(),
            cost=tally.cost,
            saved=tally.saved,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            prompt_cache_saved=tally.prompt_cache_saved,
            duration_seconds=duration_seconds,
            recorded=tally.recorded,
        )

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __repr__(self) -> str:
        return f"BatchSummary({_counts_line(len(self), self.counts)})"


def _counts_line(rows: int, counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    return f"{counted(rows, 'row')}: {parts or 'empty'}"


class _Rows(Protocol):
    """The part of `sources.Source` that a `BatchResult` needs."""

    def inputs(self, numbers: Iterable[int]) -> Mapping[int, Mapping[Any, Any]]:
        """Return the values of the rows with these numbers, by number."""

    def frame(self, numbers: Tuple[int, ...], added: Mapping[str, List[Any]]) -> Any:
        """Return the rows with these numbers as a data frame with further columns."""

    @property
    def is_table(self) -> bool:
        """Return whether the rows are those of a data frame or a series."""


class BatchResult(ShownInNotebooks, Sequence[ClaudeResult]):
    """One `ClaudeResult` per row, in input order.

    Parameters
    ----------
    results : iterable of ClaudeResult
    duration_seconds : float
        Wall time of the whole run.
    numbers : sequence of int, optional
        Row numbers in the source; 0 and up by default.
    source : Source, optional
        The rows, for `to_frame`.
    again : callable, optional
        Runs the rows with the given numbers again and returns their results by number, for `retry`. Its second argument
        receives the line that announces the retry.
    more : callable, optional
        Returns further columns of a result for `to_frame`.
    """

    def __init__(
        self,
        results: Iterable[ClaudeResult],
        *,
        duration_seconds: float = 0.0,
        numbers: Optional[Sequence[int]] = None,
        source: Optional[_Rows] = None,
        again: Optional[Again] = None,
        more: Optional[Callable[[ClaudeResult], Mapping[str, Any]]] = None,
    ) -> None:
        self._results: Tuple[ClaudeResult, ...] = tuple(results)
        self._numbers: Tuple[int, ...] = tuple(range(len(self._results)) if numbers is None else numbers)
        self._source = source
        self._again = again
        self._more = more
        self.duration_seconds = duration_seconds
        # What its receipt says about the server, such as "simulated"; the notebook sets it.
        self.notice = ""

    def _part(self, places: Sequence[int]) -> BatchResult:
        part: BatchResult = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        part._results = tuple(self._results[place] for place in places)
        part._numbers = tuple(self._numbers[place] for place in places)
        return part

    def __getstate__(self) -> Dict[str, Any]:
        # The callables belong to this process and cannot be pickled.
        return {**self.__dict__, "_again": None, "_more": None}

    @overload
    def __getitem__(self, index: int) -> ClaudeResult: ...

    @overload
    def __getitem__(self, index: Union[slice, BatchResult, Sequence[int], Sequence[bool]]) -> BatchResult: ...

    def __getitem__(
        self, index: Union[int, slice, BatchResult, Sequence[int], Sequence[bool]]
    ) -> Union[ClaudeResult, BatchResult]:
        """Return one row, or the rows selected by a slice, positions, a bool for each row, or a part such as `failed`."""
        if isinstance(index, slice):
            return self._part(range(len(self))[index])
        if isinstance(index, BatchResult):
            wanted = set(index.numbers)
            return self._part([place for place, number in enumerate(self._numbers) if number in wanted])
        chosen: Any = index
        if isinstance(chosen, str) or not hasattr(chosen, "__len__"):
            row: ClaudeResult = self._results[chosen]
            return row
        chosen = list(chosen)
        if chosen and all(type(each) is bool or type(each).__name__ in ("bool_", "bool") for each in chosen):
            if len(chosen) != len(self):
                raise OptionError(
                    f"{counted(len(chosen), 'value')} of True or False for {counted(len(self), 'row')}; give one for each row"
                )
            return self._part([place for place, each in enumerate(chosen) if each])
        return self._part([range(len(self))[place] for place in chosen])

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[ClaudeResult]:
        return iter(self._results)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchResult) and self._results == other._results

    __hash__ = None  # type: ignore[assignment]

    @property
    def numbers(self) -> Tuple[int, ...]:
        """Row numbers in the source, from 0. Those of a part such as `failed` are not positions in that part."""
        return self._numbers

    @property
    def texts(self) -> List[str]:
        """The answers' texts; "" for rows without an answer, and the partial text of answers that were cut off."""
        return [result.text for result in self._results]

    @property
    def parsed(self) -> List[Any]:
        """The parsed answers, if a ``schema`` was given; None for rows without a valid one."""
        return [result.parsed for result in self._results]

    @property
    def errors(self) -> Dict[int, BaseException]:
        """Errors by row number, for the rows without an answer."""
        return {number: row.error for number, row in zip(self._numbers, self._results) if row.error is not None}

    @property
    def failed(self) -> BatchResult:
        """The rows with status ``failed``, with their numbers and their part of the source."""
        return self._with_status("failed")

    @property
    def stopped(self) -> BatchResult:
        """The rows with status ``stopped``: they were sent, and the run was stopped before their answers came."""
        return self._with_status("stopped")

    def _with_status(self, status: str) -> BatchResult:
        return self._part([place for place, row in enumerate(self._results) if row.status == status])

    def inputs(self, numbers: Iterable[int]) -> Mapping[int, Mapping[Any, Any]]:
        """Return the source's rows with these numbers, by number; {} without a source."""
        return {} if self._source is None else self._source.inputs(numbers)

    def parts(self, result: ClaudeResult) -> Mapping[str, Any]:
        """Return the parts of a row's answer by column; {} without a ``schema``."""
        return {} if self._more is None else self._more(result)

    @property
    def counts(self) -> StatusCounts:
        """Rows by status: ``ok``, ``cached``, ``failed``, ``not_sent``, and ``cut_off``, ``refused``, ``stopped`` if there are any."""
        return StatusCounts.of(result.status for result in self._results)

    @property
    def shown_counts(self) -> StatusCounts:
        """Rows by the status that is shown; see `ClaudeResult.shown_status`."""
        return StatusCounts.of(result.shown_status for result in self._results)

    @property
    def cost(self) -> Optional[Decimal]:
        """US dollars paid for all rows; None if one price is unknown."""
        return sum_dollars(result.cost for result in self._results)

    @property
    def saved(self) -> Optional[Decimal]:
        """US dollars not paid because the cache answered; None if one price is unknown."""
        return sum_dollars(result.saved for result in self._results)

    @property
    def prompt_cache_saved(self) -> Decimal:
        """US dollars by which the API's prompt cache made the calls cheaper, as far as that is known."""
        return sum_dollars(result.prompt_cache_saved or Decimal(0) for result in self._results) or Decimal(0)

    @property
    def usage(self) -> Usage:
        """Sum over all rows, cached ones included."""
        total = Usage()
        for result in self._results:
            total = total + result.usage
        return total

    async def retry(self, *, tell: Tell = None) -> BatchResult:
        """Run the rows without a complete answer once more; the others are kept and cost nothing.

        Before anything is sent, a line says how many rows will be sent, and their estimated and maximum cost.

        Parameters
        ----------
        tell : callable, optional
            Receives that line. By default it is shown below the cell if a magic made the batch, and otherwise written to
            ``sys.stderr``.

        Returns
        -------
        BatchResult
            All rows, with the new results in place of the old ones.

        Raises
        ------
        OptionError
            If the batch cannot be run again, because it was made by hand or comes from another process.
        """
        places = {self._numbers[place]: place for place, row in enumerate(self._results) if _is_open(row)}
        if not places:
            return self
        if self._again is None:
            raise OptionError("this batch cannot be retried, since it was not run in this process; run its rows again")
        results = list(self._results)
        for number, result in (await self._again(tuple(places), tell)).items():
            results[places[number]] = result
        whole = self._part(range(len(results)))
        whole._results = tuple(results)
        return whole

    def to_frame(self) -> Any:
        """Return the source's rows with the columns ``answer``, ``status``, ``stop_reason``, ``error`` and ``cost`` (US dollars).

        If the source is a data frame, the result is a frame of the same library with the same index; otherwise it is a
        pandas frame, or a polars one if pandas is not installed. With a ``schema`` the parts of the answers follow
        ``answer``. If the source already has a column of that name, the new one is called ``answer_2`` and so on.

        Raises
        ------
        SourceError
            If neither pandas nor polars is installed.
        """
        added: Dict[str, List[Any]] = {name: [] for name in answer_columns(ClaudeResult(), self._more)}
        for row in self._results:
            for name, value in answer_columns(row, self._more).items():
                added[name].append(value)
        return self.with_columns(added)

    def with_columns(self, added: Mapping[str, List[Any]]) -> Any:
        """Return the source's rows with further columns, which have a value for each row; raises like `to_frame`."""
        if self._source is not None:
            return self._source.frame(self._numbers, added)
        return assemble(self._numbers, {}, added)

    @property
    def is_of_a_table(self) -> bool:
        """True if the source is a data frame or a series."""
        return self._source is not None and self._source.is_table

    def records(self) -> List[Dict[str, Any]]:
        """Return the source's rows as mappings, followed by the same answer columns as in `to_frame`."""
        inputs = self.inputs(self._numbers)
        known = list(dict.fromkeys(str(name) for row in inputs.values() for name in row))
        names: Dict[str, str] = {}
        for name in answer_columns(ClaudeResult(), self._more):
            names[name] = free_name(name, [*known, *names.values()])
        records = []
        for number, result in zip(self._numbers, self._results):
            own = {str(name): value for name, value in inputs.get(number, {}).items()}
            answered = answer_columns(result, self._more).items()
            records.append({**dict.fromkeys(known), **own, **{names[name]: value for name, value in answered}})
        return records

    def __repr__(self) -> str:
        return f"BatchResult({_counts_line(len(self), self.shown_counts)})"


def unanswered(
    request: Optional[RequestInfo], error: BaseException, kind: str, status: Optional[CallStatus] = None
) -> ClaudeResult:
    """Return the result of a row that has no usable answer.

    Parameters
    ----------
    request : RequestInfo or None
        None if the request itself could not be made.
    error : Exception
        Why the answer is missing.
    kind : str
        The result's ``status``.
    status : CallStatus, optional
        Status of its call, if one was made.
    """
    attempts = 0 if status is None else status.attempts
    # A request that was sent but not answered may still be billed.
    cost = None if status is not None and status.billing_unknown else Decimal(0)
    if isinstance(error, SchemaError) and error.result is not None:
        kept: ClaudeResult = error.result
        return kept if status is None else kept.changed(attempts=attempts, cost=None if cost is None else kept.cost)
    if request is None:
        return ClaudeResult(status=kind, error=error)
    return ClaudeResult(
        model=request.model,
        agent=request.agent,
        fingerprint=request.fingerprint,
        status=kind,
        error=error,
        attempts=attempts,
        cost=cost,
    )


def _is_open(result: ClaudeResult) -> bool:
    return result.error is not None or result.incomplete
