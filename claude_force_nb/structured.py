"""Answers that have to fit a schema: checked, and asked for once more where they do not fit. Pure but for `ask`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Awaitable, Callable, Dict, Mapping, Optional, Sequence

from .errors import ApiError, BudgetExceededError, CacheMissError, SchemaError, SpendLimitError
from .request import ClaudeRequest
from .result import FRAME_COLUMNS, ClaudeResult
from .schema import AnswerSchema, as_row
from .usage import sum_dollars

__all__ = ["checked", "fitting", "frame_parts", "repair_request"]

# Why an answer is none that asking again would mend, by stop reason.
_UNFINISHED = {
    "max_tokens": "it was cut off at max_tokens; give more",
    "model_context_window_exceeded": "it was cut off where the context window ends",
    "pause_turn": "the model paused before its end",
    "refusal": "the model refused",
    "tool_use": "the model asked for a tool instead",
}


def checked(result: ClaudeResult, schema: Optional[AnswerSchema]) -> ClaudeResult:
    """Return a result with what it stands for in `parsed`, or as ``failed`` with a SchemaError; makes no call.

    For answers that came another way, such as a message batch. A result without an answer, or without schema, is returned as
    it is.
    """
    if schema is None or result.error is not None:
        return result
    try:
        return _parsed(result, schema)
    except SchemaError as error:
        return _failed(result, error)


async def fitting(
    request: ClaudeRequest,
    result: ClaudeResult,
    schema: AnswerSchema,
    ask: Callable[[ClaudeRequest], Awaitable[ClaudeResult]],
) -> ClaudeResult:
    """Return an answer that fits: `result`, or the answer to one further call that shows the model what is wrong.

    Parameters
    ----------
    request, result
        The question and its answer.
    schema : AnswerSchema
    ask : callable
        Makes the further call, with cache, budget and ledger as for any other.

    Returns
    -------
    ClaudeResult
        With `parsed`; where it was repaired, usage, cost, saving and attempts are those of both calls.

    Raises
    ------
    SchemaError
        Where the second answer does not fit either, or asking again cannot help or is not possible.
    SpendLimitError, AuthenticationError, TransportClosedError
        Of the second call: no call after it would fare better.
    """
    try:
        return _parsed(result, schema)
    except SchemaError as error:
        if not error.repairable:
            _failed(result, error)
            raise
        problem = error
    try:
        second = await ask(repair_request(request, result.text, str(problem)))
    except (ApiError, BudgetExceededError, CacheMissError) as error:
        if isinstance(error, SpendLimitError) or getattr(error, "status", None) == 401:
            raise
        reason = "{}; asking again failed: {}: {}".format(problem, type(error).__name__, error)
        failure = SchemaError(reason, text=result.text)
        _failed(result, failure)
        raise failure from error
    both = _sum(result, second)
    try:
        return _parsed(both, schema)
    except SchemaError as error:
        failure = SchemaError("also after one repair {}".format(error), text=both.text)
        _failed(both, failure)
        raise failure from error.__cause__


def repair_request(request: ClaudeRequest, text: str, problem: str) -> ClaudeRequest:
    """Return the request that shows the model its answer and what is wrong with it, as turns after the question's own."""
    turns = list(request.body["messages"])
    if text.strip():
        turns.append({"role": "assistant", "content": text})
    correction = "This answer cannot be used: {}. Answer again, with the corrected JSON value and nothing else."
    turns.append({"role": "user", "content": correction.format(problem.rstrip("."))})
    return replace(request, body=dict(request.body, messages=turns))


def _parsed(result: ClaudeResult, schema: AnswerSchema) -> ClaudeResult:
    try:
        return replace(result, parsed=schema.parse(result.text))
    except SchemaError:
        unfinished = _UNFINISHED.get(result.stop_reason or "")
        if unfinished is None:
            raise
        message = "the answer does not fit {}: {}".format(schema.name, unfinished)
        raise SchemaError(message, text=result.text, repairable=False) from None


def _failed(result: ClaudeResult, error: SchemaError) -> ClaudeResult:
    """Return the result as a failed one, known to its error and the other way round."""
    failed = replace(result, status="failed", error=error)
    error.result = failed
    return failed


def _sum(first: ClaudeResult, second: ClaudeResult) -> ClaudeResult:
    cached = first.cached and second.cached
    return replace(
        second,
        usage=first.usage + second.usage,
        cost=sum_dollars((first.cost, second.cost)),
        saved=sum_dollars((first.saved, second.saved)),
        cached=cached,
        status="cached" if cached else "ok",
        age_seconds=max(first.age_seconds, second.age_seconds) if cached else 0.0,
        fingerprint=first.fingerprint,
        duration_seconds=first.duration_seconds + second.duration_seconds,
        call_seconds=first.call_seconds + second.call_seconds,
        attempts=first.attempts + second.attempts,
        thinking="\n\n".join(part for part in (first.thinking, second.thinking) if part),
        repaired=True,
    )


def frame_parts(
    schema: Optional[AnswerSchema], *, taken: Sequence[str] = FRAME_COLUMNS
) -> Optional[Callable[[ClaudeResult], Mapping[str, Any]]]:
    """Return what gives a result's parts by column, for `BatchResult.to_frame`; None without schema.

    A part that is called as one of the columns that are `taken` is called ``status_2`` and so on.
    """
    if schema is None:
        return None
    names: Dict[str, str] = {}
    for name in schema.columns:
        number, free = 2, name
        while free in taken or (free != name and free in schema.columns):
            free, number = "{}_{}".format(name, number), number + 1
        names[name] = free
    return lambda result: {names[name]: value for name, value in as_row(result.parsed, schema).items()}
