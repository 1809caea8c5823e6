"""Words that options accept, and what to say about an unknown one. Pure, and imports nothing at start-up."""

from __future__ import annotations

from typing import Iterable

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
    "did_you_mean",
    "is_name",
    "is_positive",
    "whole_number_fault",
]

DOCUMENTATION = "https://github.com/claude-force-nb/claude_force_nb/blob/main/docs/"
# Page and heading that say what to do about an error, by its class; one that is not here has that of its base, if that has one.
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
# How an answer file is used: before the cache; also recording new answers; as the only source of answers.
ANSWER_MODES = ("use", "record", "frozen")
# What an answer file leaves out.
ANSWER_REDACTIONS = ("none", "prompts")
CACHE_MODES = ("on", "off", "refresh", "only")
COUNT_MODES = ("api", "estimate")
JOB_ACTIONS = ("list", "attach", "cancel", "forget")
# Whether incomplete output is shown: if the front end can update it in place; always; never.
LIVE_MODES = ("auto", "on", "off")
MEMORY_ACTIONS = ("show", "clear", "undo")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
# How the rows of a batch travel.
ROUTES = ("api", "batches")
INJECTION_MODES = ("warn", "block", "off")
# What a row without a value for its template does: it is not asked, asked with nothing in the value's place, or with "None" there.
MISSING_MODES = ("skip", "empty", "keep")
# What is marked for the prompt cache of the API, and for how long it keeps it.
PROMPT_CACHE_MODES = ("auto", "off", "5m", "1h")
DEFAULT_MODEL = "sonnet"
# Room for thinking, which counts as output, and for a long answer. Under 21,333, from which on the SDK asks for a stream.
DEFAULT_MAX_TOKENS = 16_000
# The conversation of those who name no agent.
DEFAULT_CONVERSATION = "default"
DEFAULT_MEMORY_TOKENS = 50_000

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def is_name(text: object) -> bool:
    """Return whether a text can name an agent or a conversation: ``[A-Za-z0-9_-]+``, so that it is never a path."""
    return isinstance(text, str) and bool(text) and _NAME_CHARACTERS.issuperset(text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of `known`, or "" if none is near."""
    import difflib

    near = difflib.get_close_matches(name, [item for item in known if item != name], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def is_positive(value: object) -> bool:
    """Return whether `value` is a number > 0, and finite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def whole_number_fault(value: object, name: str, least: int) -> str:
    """Return what is wrong with a value that must be a whole number of at least `least`; "" if it is valid.

    True, False and 3.0 are not accepted as whole numbers: they are probably mistakes.
    """
    if type(value) is int and value >= least:
        return ""
    return f"{name} must be a whole number from {least}, not {value!r}"
