"""Check answers against a schema, and ask once more if they do not conform. Pure except for `ask`."""

from __future__ import annotations

from dataclasses import replace
from typing import Awaitable, Callable, Optional

from claude_force_nb.errors import ApiError, BudgetExceededError, CacheMissError, SchemaError, SpendLimitError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult, status_of
from claude_force_nb.messages.usage import sum_dollars

from .answer import AnswerSchema

__all__ = ["checked", "validate_or_repair", "repair_request"]

# Stop reasons for which asking again would not help, and why.
_UNFINISHED = {
    "max_tokens": "it was cut off at max_tokens; raise it",
    "model_context_window_exceeded": "it was cut off at the end of the context window",
    "pause_turn": "the model paused before the end",
    "refusal": "the model refused",
    "tool_use": "the model asked for a tool instead",
}


def checked(result: ClaudeResult, schema: Optional[AnswerSchema]) -> ClaudeResult:
    """Return a result with its parsed value in `parsed`, or as ``failed`` with a SchemaError; never make a call.

    This is for answers that arrive in another way, such as in a message batch. Without an answer or a schema, the
    result is returned unchanged.
    """
    if schema is None or result.error is not None:
        return result
    try:
        return _parsed(result, schema)
    except SchemaError as error:
        return _failed(result, error)


async def validate_or_repair(
    request: ClaudeRequest,
    result: ClaudeResult,
    schema: AnswerSchema,
    ask: Callable[[ClaudeRequest], Awaitable[ClaudeResult]],
) -> ClaudeResult:
    """Return an answer that conforms to the schema: `result`, or the answer to one more call that shows the model its mistake.

    Parameters
    ----------
    request, result
        The question and its answer.
    schema : AnswerSchema
    ask : callable
        Makes the second call, with cache, budget and ledger like any other call.

    Returns
    -------
    ClaudeResult
        The answer with `parsed` set. If it was repaired, usage, cost, savings and attempts cover both calls.

    Raises
    ------
    SchemaError
        If the second answer does not conform either, or asking again cannot help or is not possible.
    SpendLimitError, AuthenticationError, TransportClosedError
        If the second call fails in a way that affects all later calls too.
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
        reason = f"{problem}; asking again failed: {type(error).__name__}: {error}"
        failure = SchemaError(reason, text=result.text)
        _failed(result, failure)
        raise failure from error
    both = _sum(result, second)
    try:
        return _parsed(both, schema)
    except SchemaError as error:
        failure = SchemaError(f"even after one repair, {error}", text=both.text)
        _failed(both, failure)
        raise failure from error.__cause__


def repair_request(request: ClaudeRequest, text: str, problem: str) -> ClaudeRequest:
    """Return a request that appends two turns: the model's answer, and a message that says what is wrong with it."""
    turns = list(request.body["messages"])
    if text.strip():
        turns.append({"role": "assistant", "content": text})
    reason = problem.rstrip(".")
    correction = f"This answer cannot be used: {reason}. Answer again, with the corrected JSON value and nothing else."
    turns.append({"role": "user", "content": correction})
    return replace(request, body=dict(request.body, messages=turns))


def _parsed(result: ClaudeResult, schema: AnswerSchema) -> ClaudeResult:
    try:
        return replace(result, parsed=schema.parse(result.text))
    except SchemaError:
        unfinished = _UNFINISHED.get(result.stop_reason or "")
        if unfinished is None:
            raise
        message = f"the answer does not fit {schema.name}: {unfinished}"
        raise SchemaError(message, text=result.text, repairable=False) from None


def _failed(result: ClaudeResult, error: SchemaError) -> ClaudeResult:
    """Return the result with the error, as failed unless it is cut off or refused; the error gets a reference to the result."""
    failed = replace(result, status=result.status if result.incomplete else "failed", error=error)
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
        status=status_of(second.stop_reason, cached=cached),
        age_seconds=max(first.age_seconds, second.age_seconds) if cached else 0.0,
        fingerprint=first.fingerprint,
        duration_seconds=first.duration_seconds + second.duration_seconds,
        call_seconds=first.call_seconds + second.call_seconds,
        attempts=first.attempts + second.attempts,
        thinking="\n\n".join(part for part in (first.thinking, second.thinking) if part),
        repaired=True,
        recorded=first.recorded and second.recorded,
    )
