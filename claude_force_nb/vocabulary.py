"""The words that options accept, and suggestions for unknown ones. Pure; imports almost nothing."""

from __future__ import annotations

import builtins
from typing import Iterable, List

__all__ = [
    "ANSWER_MODES",
    "ANSWER_REDACTIONS",
    "CACHE_MODES",
    "COUNT_MODES",
    "DOCUMENTATION",
    "ERROR_PAGES",
    "DEFAULT_CONVERSATION",
    "DEFAULT_MAX_TOKENS",
    "DEFAULT_MEMORY_TOKENS",
    "DEFAULT_MODEL",
    "EFFORTS",
    "JOB_ACTIONS",
    "LIVE_MODES",
    "MEMORY_ACTIONS",
    "MISSING_MODES",
    "PROMPT_CACHE_MODES",
    "ROUTES",
    "counted",
    "did_you_mean",
    "is_name",
    "is_positive",
    "names_of_the_user",
    "shown_value",
    "whole_number_fault",
]

DOCUMENTATION = "https://github.com/claude-force-nb/claude_force_nb/blob/main/docs/"
# The page and heading in the documentation for each class of error. Other classes inherit the page of their base class.
ERROR_PAGES = {
    "AgentFileError": "how-to/agents.md",
    "AnswerFileError": "reference/answer-files.md#the-file",
    "AnswerMissError": "reference/answer-files.md#when-an-answer-is-not-there",
    "ApiError": "reference/troubleshooting.md",
    "AttachmentError": "reference/values.md",
    "BudgetExceededError": "how-to/stay-in-budget.md",
    "CacheMissError": "how-to/reuse-answers.md",
    "ConfigurationError": "reference/settings.md",
    "JobError": "how-to/half-price.md",
    "MissingApiKeyError": "how-to/try-without-a-key.md",
    "MissingValueError": "how-to/rows.md#missing-values",
    "OptionError": "reference/options.md",
    "PromptError": "how-to/values-in-prompts.md",
    "PromptInjectionError": "how-to/values-in-prompts.md#words-for-the-model-in-a-value",
    "SchemaError": "how-to/structured-answers.md",
    "SecretError": "explanation/response-cache.md#secrets",
    "SourceError": "how-to/rows.md",
    "UnknownAgentError": "how-to/agents.md",
    "UnknownJobError": "how-to/half-price.md",
    "UnknownModelError": "reference/models.md",
}
# How to use an answer file: read it before the cache; also record new answers; or use nothing else.
ANSWER_MODES = ("use", "record", "frozen")
# What to leave out of an answer file.
ANSWER_REDACTIONS = ("none", "prompts")
CACHE_MODES = ("on", "off", "refresh", "only")
COUNT_MODES = ("api", "estimate")
JOB_ACTIONS = ("list", "attach", "cancel", "forget")
# When to show incomplete output: if the front end can update it in place; always; never.
LIVE_MODES = ("auto", "on", "off")
MEMORY_ACTIONS = ("show", "clear", "undo")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
# How to send the rows of a batch.
ROUTES = ("api", "batches")
INJECTION_MODES = ("warn", "block", "off")
# What to do with a row without a value for its template: skip it, or send it with nothing or "None" in place of the
# value.
MISSING_MODES = ("skip", "empty", "keep")
# What to mark for the API's prompt cache, and with which lifetime.
PROMPT_CACHE_MODES = ("auto", "off", "5m", "1h")
DEFAULT_MODEL = "sonnet"
# Enough for thinking, which counts as output, and a long answer; below 21,333, from which on the SDK requires
# streaming.
DEFAULT_MAX_TOKENS = 16_000
# Name of the conversation of calls without an agent.
DEFAULT_CONVERSATION = "default"
DEFAULT_MEMORY_TOKENS = 50_000

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def is_name(text: object) -> bool:
    """Return whether a text is a valid name of an agent or a conversation: ``[A-Za-z0-9_-]+``, so that it is never a path."""
    return isinstance(text, str) and bool(text) and _NAME_CHARACTERS.issuperset(text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 entry``, ``2,000 entries``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{number:,} {noun}s"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar of `known`, or "" if none is similar."""
    import difflib

    near = difflib.get_close_matches(name, [item for item in known if item != name], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


# Names that exist in every notebook and that no line or prompt refers to, so they are never suggested.
_NEVER_MEANT = {*dir(builtins), "In", "Out", "exit", "quit", "get_ipython"}


def names_of_the_user(names: Iterable[object]) -> List[str]:
    """Return those of a notebook's names that its user has made, for `did_you_mean`."""
    return [each for each in names if isinstance(each, str) and not each.startswith("_") and each not in _NEVER_MEANT]


def is_positive(value: object) -> bool:
    """Return whether `value` is a number > 0, and so far below infinity that it is finite in smaller units too."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e300


def shown_value(value: object) -> str:
    """Return ``repr(value)`` for an error message, or a text with the name of its class if its own ``__repr__`` fails."""
    try:
        return repr(value)
    except Exception:  # such as the RecursionError of a ``__repr__`` that calls itself
        return f"<{type(value).__name__} object>"


def whole_number_fault(value: object, name: str, least: int) -> str:
    """Return what is wrong with a value that must be a whole number of at least `least`; "" if it is valid.

    True, False and 3.0 are not accepted as whole numbers: they are probably mistakes.
    """
    if type(value) is int and value >= least:
        return ""
    return f"{name} must be a whole number from {least}, not {shown_value(value)}"
