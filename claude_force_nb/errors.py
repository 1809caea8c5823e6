"""Every error and warning of the package.

::

    ClaudeForceError                     one line in a notebook, never a traceback
    ├── ConfigurationError               something the user wrote or set, found before anything is sent
    │   ├── OptionError                  an unknown option, or a value that is not valid
    │   ├── UnknownAgentError
    │   ├── UnknownModelError
    │   ├── AgentFileError               an agent file that is not valid (names file and line)
    │   ├── MissingApiKeyError
    │   ├── SourceError                  the rows of a batch cannot be read, or there are none
    │   ├── UnknownJobError              no batch job has this id
    │   ├── AnswerFileError              an answer file cannot be read or written, or is not valid
    │   └── SecretError                  the cache secret is unusable or forbidden by a setting
    ├── PromptError                      the prompt cannot be created
    │   ├── EmptyPromptError
    │   ├── MissingValueError            a row has no value for its template, and is skipped
    │   ├── UndefinedNameError           a name in {{ }} that the notebook does not have
    │   ├── TemplateError                a {{ }} that cannot be parsed or evaluated
    │   ├── AttachmentError              a file, image or document that cannot be sent
    │   └── PromptInjectionError         on_injection=block, and a value contains a phrase like an instruction
    ├── CacheMissError                   cache=only, and the answer is not there
    │   └── AnswerMissError              answers are frozen, and the file does not have this one
    ├── BudgetExceededError              the worst case of the call exceeds the budget
    ├── SchemaError                      the answer does not conform to the schema, even after one repair
    ├── ApiError                         a call was sent and failed
    │   ├── AuthenticationError          401
    │   ├── PermissionDeniedError        403
    │   ├── InvalidRequestError          400, 413, 422 and every other 4xx not named here
    │   │   └── ContextTooLongError
    │   ├── NotFoundError                404
    │   ├── RateLimitError               429
    │   │   └── SpendLimitError          402, or a 429 that waiting does not fix
    │   ├── ServerError                  408, 409, 5xx
    │   │   └── OverloadedError          529
    │   ├── BrokenConnectionError        refused, reset, or host not found
    │   │   └── StreamCutError           the answer ended before its last event
    │   ├── CallTimeoutError             timeout_seconds passed
    │   ├── RedirectedError              3xx: redirects are not followed
    │   ├── NotAnsweredError             its message batch ended without an answer
    │   └── MalformedAnswerError         a 200 that is not a Messages API answer
    ├── StoppedError                     ended by stop_all()
    ├── JobError                         a batch job cannot be saved, sent or collected now
    └── TransportClosedError             used after close()

    RunInterrupted (KeyboardInterrupt)   Stop was pressed; also one line

    ClaudeForceWarning (UserWarning)
    ├── CacheWarning                     the cache is unusable or refused an entry; work continues without it
    │   └── CacheIntegrityWarning        an entry failed its check
    ├── AnswerFileWarning                lines of an answer file are not valid, or it cannot be written
    ├── CacheSecretWarning               the cache secret is a placeholder, short or unusable
    │   └── CacheKeyWarning              no secret is set, so a random key was created
    ├── ModelRetirementWarning           the model is retired, or may be within 30 days
    ├── AgentFileWarning                 an agent file was skipped
    └── PromptInjectionWarning           a value contains a phrase like an instruction
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Iterable, List, Mapping, Optional

from .vocabulary import DOCUMENTATION, ERROR_PAGES

__all__ = [
    "AgentFileError", "AgentFileWarning", "AnswerFileError", "AnswerFileWarning", "AnswerMissError", "ApiError", "AttachmentError",
    "AuthenticationError", "BrokenConnectionError", "BudgetExceededError", "CacheIntegrityWarning", "CacheKeyWarning", "CacheMissError",
    "CacheSecretWarning", "CacheWarning", "CallTimeoutError", "ClaudeForceError", "ClaudeForceWarning", "ConfigurationError",
    "ContextTooLongError", "EmptyPromptError", "InvalidRequestError", "JobError", "MalformedAnswerError", "MissingApiKeyError",
    "MissingValueError", "ModelRetirementWarning", "NotAnsweredError", "NotFoundError", "OptionError", "OverloadedError",
    "PermissionDeniedError", "PromptError", "PromptInjectionError", "PromptInjectionWarning", "RateLimitError", "RedirectedError",
    "RunInterrupted", "SchemaError", "SecretError", "ServerError", "SourceError", "SpendLimitError", "StoppedError", "StreamCutError",
    "TemplateError", "TransportClosedError", "UndefinedNameError", "UnknownAgentError", "UnknownJobError", "UnknownModelError",
]  # fmt: skip


def _shown(error: BaseException, name: str) -> str:
    from .text_tables import one_line  # imported only to show an error, since `%load_ext` imports this module

    text = one_line(error)
    return f"{name}: {text}" if text else name


class ClaudeForceError(Exception):
    """Base class of all errors of this package. The message is one line that names the problem and the remedy."""

    def _render_traceback_(self) -> List[str]:
        # IPython calls this method, if an exception has it, instead of formatting a traceback.
        return [" · ".join(part for part in (_shown(self, type(self).__name__), self.help_link) if part)]

    @property
    def help_link(self) -> str:
        """URL of the page that says what to do; "" if there is none."""
        page = next((ERROR_PAGES[kind.__name__] for kind in type(self).__mro__ if kind.__name__ in ERROR_PAGES), "")
        return DOCUMENTATION + page if page else ""


class ConfigurationError(ClaudeForceError):
    """Something the user wrote or set cannot be used; nothing was sent."""


class OptionError(ConfigurationError):
    """An option is unknown, or its value is not valid."""


class UnknownAgentError(ConfigurationError):
    """No agent has this name."""


class UnknownModelError(ConfigurationError):
    """No model has this alias."""


class AgentFileError(ConfigurationError):
    """An agent file cannot be read as an agent."""


class MissingApiKeyError(ConfigurationError):
    """No API key was given or found."""


class UnknownJobError(ConfigurationError):
    """No batch job has this id."""


class AnswerFileError(ConfigurationError):
    """An answer file cannot be read or written, or is not valid."""


class SecretError(ConfigurationError):
    """The cache secret cannot be used."""


class SourceError(ConfigurationError):
    """The rows of a batch cannot be read, or there are none."""


class PromptError(ClaudeForceError):
    """The prompt cannot be created; nothing was sent."""


class EmptyPromptError(PromptError):
    """The prompt is empty."""


class MissingValueError(PromptError):
    """A row has no value for its template (None, NaN, an empty cell) and is skipped; see ``missing``."""


class UndefinedNameError(PromptError):
    """A name inside ``{{ }}`` is not defined."""


class TemplateError(PromptError):
    """A ``{{ }}`` cannot be parsed or evaluated."""


class AttachmentError(PromptError):
    """A file, an image or a document cannot be read, or cannot be sent as it is."""


class PromptInjectionError(PromptError):
    """A value contains a phrase that looks like an instruction, and ``on_injection=block``."""


class CacheMissError(ClaudeForceError):
    """``cache=only`` is set, and the answer is not in the cache."""


class AnswerMissError(CacheMissError):
    """Answers are frozen, and the answer file does not have this one."""


class BudgetExceededError(ClaudeForceError):
    """The worst case of a call exceeds the rest of the budget; the call was not sent.

    Attributes
    ----------
    left_if_calls_are_free : Decimal or None
        US dollars that would be left if the calls in flight cost nothing; None if not applicable.
    """

    left_if_calls_are_free: Optional[Decimal] = None


class StoppedError(ClaudeForceError):
    """``stop_all()`` ended the work in progress."""


class SchemaError(ClaudeForceError):
    """An answer does not conform to the requested schema.

    Parameters
    ----------
    message : str
        One line that says what is wrong.
    text : str
        The answer as received.
    repairable : bool
        Whether asking again may help.

    Attributes
    ----------
    result : ClaudeResult or None
        The answer with usage and cost, and status ``failed``; set after the calls.
    """

    def __init__(self, message: str, *, text: str = "", repairable: bool = True) -> None:
        super().__init__(message)
        self.text = text
        self.repairable = repairable
        self.result: Any = None

    def __reduce__(self) -> Any:
        return (_rebuild_error, (type(self), self.args, self.__dict__.copy()))


class JobError(ClaudeForceError):
    """A batch job cannot be saved, sent or collected now."""


class TransportClosedError(ClaudeForceError):
    """The orchestrator was used after ``close()``."""


class ApiError(ClaudeForceError):
    """A call was sent, or attempted, and returned no answer.

    Parameters
    ----------
    message : str
        One line, without secrets.
    status : int, optional
        HTTP status of the answer; None if there was no answer.
    error_type : str, optional
        ``error.type`` of the API's error body, such as ``"overloaded_error"``.
    error_code : str, optional
        ``error.details.error_code`` of the API's error body, such as ``"file_expired"``.
    request_id : str, optional
        The API's ``request-id`` header.
    retry_after_seconds : float, optional
        The API's ``retry-after`` header, at least 0.

    Attributes
    ----------
    retryable : bool
        Whether the same request may succeed later.
    limits : mapping of str to str, or None
        The ``anthropic-ratelimit-…`` headers of the response; None if there were none.
    never_left : bool
        True if no connection was made, so that nothing can have been sent.
    """

    retryable = False
    never_left = False
    limits: Optional[Mapping[str, str]] = None

    def __init__(
        self,
        message: str,
        *,
        status: Optional[int] = None,
        error_type: Optional[str] = None,
        error_code: Optional[str] = None,
        request_id: Optional[str] = None,
        retry_after_seconds: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.error_code = error_code
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> Any:
        return (_rebuild_error, (type(self), self.args, self.__dict__.copy()))


def _rebuild_error(kind: type, args: Iterable[Any], state: Any) -> ClaudeForceError:
    error: ClaudeForceError = kind.__new__(kind, *args)
    error.args = tuple(args)
    error.__dict__.update(state)
    return error


class AuthenticationError(ApiError):
    """The API refused the key (401)."""


class PermissionDeniedError(ApiError):
    """The key is not allowed to do this (403)."""


class InvalidRequestError(ApiError):
    """The API refused the request as it is (400, 413, 422 and other 4xx)."""


class ContextTooLongError(InvalidRequestError):
    """Prompt and answer do not fit into the model's context window."""


class NotFoundError(ApiError):
    """The model, or another requested resource, does not exist (404)."""


class RateLimitError(ApiError):
    """Too many requests or tokens for the moment (429)."""

    retryable = True


class SpendLimitError(RateLimitError):
    """The account's spend limit or credit is used up; waiting does not help."""

    retryable = False


class ServerError(ApiError):
    """The API failed (408, 409, 5xx)."""

    retryable = True


class OverloadedError(ServerError):
    """The API is overloaded (529, or ``overloaded_error`` inside a stream)."""


class BrokenConnectionError(ApiError):
    """The server could not be reached, or the connection broke."""

    retryable = True


class StreamCutError(BrokenConnectionError):
    """A streamed answer ended before its last event."""


class CallTimeoutError(ApiError):
    """``timeout_seconds`` passed before the answer was complete."""


class NotAnsweredError(ApiError):
    """The message batch ended without an answer: the row was cancelled or expired, which costs nothing, or is missing."""

    retryable = True


class MalformedAnswerError(ApiError):
    """The server answered 200 with something that is not a Messages API answer, or is too large."""

    retryable = True


class RedirectedError(ApiError):
    """The server redirected the call (3xx); redirects are not followed."""


class RunInterrupted(KeyboardInterrupt):
    """Stop was pressed. This is a KeyboardInterrupt, so that *Run All* ends too, but it is shown as one line."""

    def _render_traceback_(self) -> List[str]:
        return [_shown(self, "Interrupted")]


class ClaudeForceWarning(UserWarning):
    """Base class of all warnings of this package."""


class CacheWarning(ClaudeForceWarning):
    """The cache cannot be used, or refused an entry; work continues without it."""


class CacheIntegrityWarning(CacheWarning):
    """A cache entry failed its check and was evicted."""


class AnswerFileWarning(ClaudeForceWarning):
    """Lines of an answer file are not valid, or it cannot be written."""


class CacheSecretWarning(ClaudeForceWarning):
    """The cache secret is a placeholder, short or unusable."""


class CacheKeyWarning(CacheSecretWarning):
    """No cache secret is set, so a random key was created; issued once per machine, with the first answer that is stored."""


class ModelRetirementWarning(ClaudeForceWarning):
    """The model is retired, or may be within 30 days; the message names its successor."""


class AgentFileWarning(ClaudeForceWarning):
    """An agent file cannot be read and was skipped."""


class PromptInjectionWarning(ClaudeForceWarning):
    """A value contains a phrase that looks like an instruction; it was sent as data."""
