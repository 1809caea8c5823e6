"""Every foreign exception becomes one of ours here, and nowhere else."""

from __future__ import annotations

import asyncio
import re
from email.utils import parsedate_to_datetime
from typing import Any, Mapping, Optional, Type

from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    BrokenConnectionError,
    CallTimeoutError,
    ContextTooLongError,
    InvalidRequestError,
    MalformedAnswerError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SpendLimitError,
    StreamCutError,
)

__all__ = ["error_from_answer", "map_exception", "retry_after_seconds"]

# Error types of the Messages API ("Errors", API reference). Inside a stream they come with status 200, so the type,
# where there is one, says more than the status.
_BY_TYPE = {
    "authentication_error": AuthenticationError,
    "billing_error": SpendLimitError,
    "permission_error": PermissionDeniedError,
    "not_found_error": NotFoundError,
    "rate_limit_error": RateLimitError,
    "timeout_error": ServerError,
    "conflict_error": ServerError,
    "api_error": ServerError,
    "overloaded_error": OverloadedError,
    "invalid_request_error": InvalidRequestError,
    "request_too_large": InvalidRequestError,
}
_BY_STATUS = {
    401: AuthenticationError,
    402: SpendLimitError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    409: ServerError,
    429: RateLimitError,
    529: OverloadedError,
}
_SPEND = re.compile(r"spend(?:ing)?[ _-]limit|credit balance|usage limits?\b", re.IGNORECASE)
_TOO_LONG = re.compile(r"too long|context (?:window|length|limit)|exceeds? .{0,40}context", re.IGNORECASE)
# Keys have this shape; an error text of a gateway might quote one.
_KEY = re.compile(r"\b(sk-[A-Za-z0-9]+-|sk-|Bearer\s+)[A-Za-z0-9_\-.]{8,}")


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> Optional[float]:
    """Read ``retry-after`` (RFC 9110, section 10.2.3: seconds or a date).

    Parameters
    ----------
    headers : mapping
        Names in lower case.
    now : float
        Unix time in seconds, for the date form.

    Returns
    -------
    float or None
        Seconds, at least 0; None where the header is missing or unreadable.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None


def _clean(text: str, limit: int = 300) -> str:
    text = _KEY.sub(r"\1…", " ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _kind(status: int, error_type: Optional[str], message: str, code: str) -> Type[ApiError]:
    by_type = _BY_TYPE.get(error_type or "")
    by_status = _BY_STATUS.get(status)
    if by_status is None and status >= 500:
        by_status = ServerError
    elif by_status is None and status >= 400:
        by_status = InvalidRequestError
    kind = by_status if by_status is not None and by_status is not InvalidRequestError else by_type or by_status
    if kind is None:
        kind = ServerError
    # The old form of "no money left" is a 400 or a 429 that only its words tell from the others.
    if kind in (RateLimitError, InvalidRequestError, PermissionDeniedError) and _SPEND.search(message + " " + code):
        return SpendLimitError
    if kind is InvalidRequestError and (status == 413 or _TOO_LONG.search(message)):
        return ContextTooLongError
    return kind


_REMEDIES = {
    AuthenticationError: "the API refused the key; check ANTHROPIC_API_KEY",
    PermissionDeniedError: "the key may not do this",
    SpendLimitError: "the account's spend limit or credit is used up",
    ContextTooLongError: "the prompt does not fit the model; insert less, or use a model with a larger context window",
    NotFoundError: "the API does not know this; check model= and base_url",
    RateLimitError: "the API's rate limit is reached",
    OverloadedError: "the API is overloaded; try again later",
    ServerError: "the API failed; try again later",
    InvalidRequestError: "the API refused the request",
}


def error_from_answer(status: int, body: Any, headers: Mapping[str, str], *, now: float) -> ApiError:
    """Return the error for an error answer, or for an error event inside a stream.

    Parameters
    ----------
    status : int
        HTTP status; 200 for an error event.
    body : object
        Decoded error body, text, or None.
    headers : mapping
        Names in lower case.
    now : float
        Unix time in seconds.
    """
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    error_type = error.get("type") if isinstance(error.get("type"), str) else None
    message = error.get("message") if isinstance(error.get("message"), str) else ""
    details = error.get("details")
    code = str(details.get("error_code") or "") if isinstance(details, dict) else ""
    kind = _kind(status, error_type, message or "", code)
    said = _clean(message or "") or ("HTTP {}".format(status) if status != 200 else "no reason given")
    answer = kind(
        "{} ({}{})".format(
            _REMEDIES[kind], said, "" if str(status) in said or status == 200 else ", {}".format(status)
        ),
        status=status,
        error_type=error_type,
        request_id=headers.get("request-id") or (body.get("request_id") if isinstance(body, dict) else None),
        retry_after_seconds=retry_after_seconds(headers, now=now),
    )
    # Not a standard header: the API's own word on whether another try makes sense.
    if headers.get("x-should-retry") == "false":
        answer.retryable = False
    return answer


def _module_root(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def map_exception(error: BaseException, *, base_url: str, now: float, streaming: bool = False) -> Optional[ApiError]:
    """Return our error for a foreign one.

    Parameters
    ----------
    error : BaseException
        Whatever the SDK, or the HTTP libraries below it, let through.
    base_url : str
        Named in messages about connections.
    now : float
        Unix time in seconds.
    streaming : bool
        True once an answer has begun to arrive.

    Returns
    -------
    ApiError or None
        None for what is no failure of a call: cancellation, and errors of programs.
    """
    if isinstance(error, ApiError):
        return error
    kinds = type(error).__mro__
    names = {kind.__name__ for kind in kinds}
    roots = {_module_root(kind) for kind in kinds}
    if "anthropic" in roots and getattr(error, "response", None) is not None and "APIStatusError" in names:
        response = error.response  # type: ignore[attr-defined]
        headers = {str(key).lower(): str(value) for key, value in response.headers.items()}
        return error_from_answer(int(response.status_code), getattr(error, "body", None), headers, now=now)
    if isinstance(error, asyncio.TimeoutError) or any("Timeout" in name for name in names):
        return CallTimeoutError("no answer from {} in time; raise timeout= or try again".format(base_url))
    if names & {"APIResponseValidationError", "JSONDecodeError", "DecodingError", "UnicodeDecodeError"}:
        return MalformedAnswerError("the answer of {} cannot be read as a message; check base_url".format(base_url))
    broken = isinstance(error, (OSError, EOFError, asyncio.IncompleteReadError))
    if (
        broken
        or roots & {"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "httpx_aiohttp", "h11"}
        or "anthropic" in roots
    ):
        if streaming:
            return StreamCutError("the answer from {} was cut off before its end".format(base_url))
        return BrokenConnectionError("cannot reach {}: {}".format(base_url, _reason(error)))
    return None


def _reason(error: BaseException) -> str:
    """Return the innermost cause in a few words: the outer ones only say "Connection error."."""
    seen = set()
    while (error.__cause__ or error.__context__) is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__ or error
    text = _clean(str(error), 120)
    return text or type(error).__name__
