"""Convert every foreign exception to one of ours; no other module does this."""

from __future__ import annotations

import asyncio
import re
import socket
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Type
from urllib.parse import urlsplit

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
    RedirectedError,
    ServerError,
    SpendLimitError,
    StreamCutError,
)
from claude_force_nb.prompts.fences import clean as visible

__all__ = ["CUT_EXTENSION", "error_from_answer", "map_exception", "retry_after_seconds", "shown_text"]

# Error types of the Messages API ("Errors", API reference). The type takes precedence over the status, which is 200 for
# errors inside a stream.
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
_LIMITS = "anthropic-ratelimit-"
_YEAR_SECONDS = 31_536_000.0
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
CUT_EXTENSION = "claude_force_nb.is_cut"
"""Extension of a response of the SDK's HTTP client: True if its body was cut off."""
# Type and message in the beginning of an error body of the API.
_TYPE_IN_PART = re.compile(r'"type"\s*:\s*"(\w+_error|request_too_large)"')
_MESSAGE_IN_PART = re.compile(r'"message"\s*:\s*"([^"\\]*)')
# The shapes of keys, and of passwords in addresses; the error text of a gateway might quote them.
_KEY = re.compile(
    r"\b(sk-|Bearer\s+|Basic\s+(?=[a-z]*(?-i:[A-Z0-9+/=])))[A-Za-z0-9_\-.+/=~]{4,}|(?<=://)[^/\s@]+(?=@)", re.IGNORECASE
)


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> Optional[float]:
    """Parse ``retry-after`` (RFC 9110, section 10.2.3: seconds or a date).

    Parameters
    ----------
    headers : mapping
        Header names are in lower case.
    now : float
        Unix time in seconds, for the date form.

    Returns
    -------
    float or None
        Seconds, from 0 to one year; None if the header is missing or not valid.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            # HTTP dates are always in GMT, even if they do not say so.
            seconds = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp() - now
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return min(max(0.0, seconds), _YEAR_SECONDS) if seconds == seconds and seconds != float("inf") else None


def _hide(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def shown_text(text: str, limit: int = 300, secrets: Iterable[str] = ()) -> str:
    """Return `text` as one short line without secrets or invisible characters."""
    line = " ".join(visible(_hide(text, secrets))[0].split())
    text = _KEY.sub(lambda match: (match.group(1) or "") + "…", line)
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
    # An older form of "credit balance too low" is a 400 or 429 that only its message distinguishes from other errors.
    if kind in (RateLimitError, InvalidRequestError, PermissionDeniedError) and _SPEND.search(message + " " + code):
        return SpendLimitError
    if kind is InvalidRequestError and (status == 413 or _TOO_LONG.search(message)):
        return ContextTooLongError
    return kind


_REMEDIES = {
    AuthenticationError: "the API refused the key; check ANTHROPIC_API_KEY",
    PermissionDeniedError: "the key is not allowed to do this",
    SpendLimitError: "the account's spend limit or credit is used up",
    ContextTooLongError: "the prompt does not fit the model; insert less, or use a model with a larger context window",
    NotFoundError: "the API did not find this; check model= and base_url",
    RateLimitError: "the API's rate limit is reached",
    OverloadedError: "the API is overloaded; try again later",
    ServerError: "the API failed; try again later",
    InvalidRequestError: "the API refused the request",
}


def _said_in_part(text: str) -> Dict[str, Any]:
    """Return type and message from the beginning of an error body, in the form of a whole body of the API."""
    parts = {"type": _TYPE_IN_PART.search(text), "message": _MESSAGE_IN_PART.search(text)}
    return {"error": {name: found.group(1) for name, found in parts.items() if found is not None}}


def _said(body: Any) -> Tuple[Optional[str], str, str]:
    """Return type, message and code from an error body of the API, a gateway or a local server."""
    if not isinstance(body, dict):
        return None, "", ""
    error = body.get("error")
    if not isinstance(error, dict):
        error = {"message": error if isinstance(error, str) else body.get("message") or body.get("detail")}
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    kind, message = error.get("type"), error.get("message")
    return kind if isinstance(kind, str) else None, message if isinstance(message, str) else "", str(code or "")


def error_from_answer(
    status: int,
    body: Any,
    headers: Mapping[str, str],
    *,
    now: float,
    secrets: Iterable[str] = (),
    base_url: str = "",
    is_cut: bool = False,
    not_found: str = "",
) -> ApiError:
    """Return the exception for an error response, or for an error event inside a stream.

    Parameters
    ----------
    status : int
        HTTP status; 200 for an error event.
    body : object
        Decoded error body, text, or None.
    headers : mapping
        Header names are in lower case.
    now : float
        Unix time in seconds.
    secrets : iterable of str
        Texts that must not appear in the message, such as the key.
    base_url : str
        The server's address, for hints; "" if it does not matter.
    is_cut : bool
        Whether the body was cut off, in which case `body` may be the text of its beginning.
    not_found : str
        What a 404 means at this endpoint; see `HttpCall`.
    """
    secrets = tuple(secrets)
    headers = {name: _hide(value, secrets) for name, value in headers.items()}
    if 300 <= status < 400:
        return _redirect(status, headers, base_url=base_url, secrets=secrets)
    error_type, message, code = _said(_said_in_part(body) if is_cut and isinstance(body, str) else body)
    kind = _kind(status, error_type, message, code)
    remedy = (not_found if kind is NotFoundError else "") or _REMEDIES[kind]
    if kind is RateLimitError and status == 429 and not _passes(headers):
        kind = SpendLimitError
        remedy = "the API did not say how long to wait, as when a spend limit is reached"
    # A limit in bytes, the same for all models ("Errors", section "Request size limits").
    if kind is ContextTooLongError and status == 413:
        remedy = "the request is larger than the server accepts, which for the API is 32 MB; insert less"
    if kind is NotFoundError and base_url.endswith("/v1"):
        remedy = f"there is nothing at {base_url}/v1/messages; remove /v1 from the end of base_url, it is added automatically"
    said = shown_text(message, secrets=secrets) or (f"HTTP {status}" if status != 200 else "no reason given")
    request_id = headers.get("request-id") or (body.get("request_id") if isinstance(body, dict) else None)
    notes = [said]
    code = shown_text(code, 80, secrets)
    if code and code not in said:
        notes.append(code)
    if str(status) not in said and status != 200:
        notes.append(str(status))
    if is_cut:
        notes.append("the rest of its text was cut off")
    answer = kind(
        f"{remedy} ({', '.join(notes)})",
        status=status,
        error_type=shown_text(error_type, 80, secrets) if error_type else error_type,
        error_code=code or None,
        request_id=_hide(request_id, secrets) if isinstance(request_id, str) else None,
        retry_after_seconds=retry_after_seconds(headers, now=now),
    )
    limits = {name: value for name, value in headers.items() if name == "date" or name.startswith(_LIMITS)}
    if len(limits) > 1:
        answer.limits = limits
    # A header of the API's own that says whether to try again.
    if headers.get("x-should-retry") == "false":
        answer.retryable = False
    return answer


def _passes(headers: Mapping[str, str]) -> bool:
    """Return whether waiting helps against a 429.

    For a rate limit, the headers say when to retry; for a spend limit they do not (API reference, "Rate limits" and
    "Errors").
    """
    if headers.get("x-should-retry") == "true" or "retry-after" in headers or "retry-after-ms" in headers:
        return True
    return any(
        name.startswith(_LIMITS) and name.endswith("-remaining") and value.strip() == "0"
        for name, value in headers.items()
    )


def _redirect(status: int, headers: Mapping[str, str], *, base_url: str, secrets: Iterable[str]) -> RedirectedError:
    try:
        parts = urlsplit(headers.get("location", ""))
    except ValueError:  # such as unbalanced brackets
        parts = urlsplit("")
    where = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    target = shown_text(where, 120, secrets) or "an unnamed address"
    return RedirectedError(
        f"{base_url or 'the server'} redirected the call to {target}, but redirects are not followed: "
        f"they would take the key along; set base_url to the right address ({status})",
        status=status,
        request_id=headers.get("request-id"),
    )


def _module_root(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def map_exception(
    error: BaseException,
    *,
    base_url: str,
    now: float,
    streaming: bool = False,
    secrets: Iterable[str] = (),
    not_found: str = "",
) -> Optional[ApiError]:
    """Convert a foreign exception to one of ours.

    Parameters
    ----------
    error : BaseException
        An exception of the SDK or of the HTTP libraries below it.
    base_url : str
        The server's address, for messages about connections.
    now : float
        Unix time in seconds.
    streaming : bool
        Whether an answer has begun to arrive.
    secrets : iterable of str
        Texts that must not appear in a message, such as the key.
    not_found : str
        What a 404 means at this endpoint; see `HttpCall`.

    Returns
    -------
    ApiError or None
        None if the exception does not mean a failed call, such as a cancellation or a programming error.
    """
    # If our token provider fails, the SDK wraps its exception in a connection error.
    ours = next((inner for inner in _chain(error) if isinstance(inner, ApiError)), None)
    if ours is not None:
        return ours
    kinds = type(error).__mro__
    names = {kind.__name__ for kind in kinds}
    roots = {_module_root(kind) for kind in kinds}
    if "anthropic" in roots and getattr(error, "response", None) is not None and "APIStatusError" in names:
        response = error.response  # type: ignore[attr-defined]
        headers = {str(key).lower(): str(value) for key, value in response.headers.items()}
        return error_from_answer(
            int(response.status_code),
            getattr(error, "body", None),
            headers,
            now=now,
            secrets=secrets,
            base_url=base_url,
            is_cut=bool((getattr(response, "extensions", None) or {}).get(CUT_EXTENSION)),
            not_found=not_found,
        )
    if _timed_out(error):
        return CallTimeoutError(f"no answer from {base_url} in time; raise timeout= or try again")
    if names & {"APIResponseValidationError", "JSONDecodeError", "DecodingError", "UnicodeDecodeError"}:
        return MalformedAnswerError(f"the answer of {base_url} cannot be read as a message; check base_url", status=200)
    broken = isinstance(error, (OSError, EOFError, asyncio.IncompleteReadError))
    if (
        broken
        or roots & {"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "httpx_aiohttp", "h11"}
        or "anthropic" in roots
    ):
        if streaming:
            return StreamCutError(f"the answer from {base_url} was cut off before its end")
        where = f"cannot reach {base_url}{_through(error, base_url)}"
        broken_connection = BrokenConnectionError(f"{where}: {_reason(error, secrets)}")
        broken_connection.never_left = _never_left(error)
        return broken_connection
    return None


def _chain(error: BaseException) -> List[BaseException]:
    """Return an exception and its causes, innermost last."""
    chain = [error]
    while True:
        inner = chain[-1].__cause__ or chain[-1].__context__
        if inner is None or inner in chain:
            return chain
        chain.append(inner)


def _of_aiohttp(error: BaseException) -> Optional[BaseException]:
    """Return aiohttp's own exception, which names the real cause.

    Below the SDK, httpx-aiohttp reports a connection that broke later as a connect error, and with SDK 0.x a refused
    connection as a time-out.
    """
    return next((inner for inner in _chain(error) if _module_root(type(inner)) == "aiohttp"), None)


def _never_left(error: BaseException) -> bool:
    """Return whether certainly no connection was made: host not found, refused, unreachable, or TLS failure."""
    decisive = _of_aiohttp(error) or _chain(error)[-1]
    return isinstance(decisive, (ConnectionRefusedError, socket.gaierror)) or any(
        kind.__name__ == "ClientConnectorError" for kind in type(decisive).__mro__
    )


def _through(error: BaseException, base_url: str) -> str:
    """Return a phrase that names the proxy that could not be reached; "" if it was the server itself, or if unknown."""
    decisive = _of_aiohttp(error)
    try:
        host, port = str(decisive.host).rstrip(".").lower(), decisive.port  # type: ignore[union-attr]
    except AttributeError:
        return ""
    server = (urlsplit(base_url).hostname or host).rstrip(".").lower()
    # aiohttp converts international domain names to ASCII.
    is_proxy = server.isascii() and host != server
    return (
        f" through the proxy {shown_text(host, 80)}:{port} (see HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)" if is_proxy else ""
    )


def _timed_out(error: BaseException) -> bool:
    decisive = _of_aiohttp(error) or error
    return isinstance(decisive, asyncio.TimeoutError) or any(
        "timeout" in kind.__name__.lower() for kind in type(decisive).__mro__
    )


def _reason(error: BaseException, secrets: Iterable[str]) -> str:
    """Return the innermost cause in a few words, since the outer ones only say "Connection error."."""
    error = _chain(error)[-1]
    try:
        text = shown_text(str(error), 120, secrets)
    except Exception:  # some exceptions of the HTTP libraries fail in __str__ if arguments are missing
        text = ""
    return text or type(error).__name__
