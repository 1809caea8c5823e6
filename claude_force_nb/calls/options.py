"""The options of one call, validated as soon as they are given. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter, is_
from typing import Any, Callable, Collection, Optional, Sequence, Tuple, Union

from claude_force_nb.agents import Agent
from claude_force_nb.errors import OptionError
from claude_force_nb.memory.conversations import CellRun
from claude_force_nb.messages.nesting import check_depth
from claude_force_nb.schemas.answer import AnswerSchema, schema_of
from claude_force_nb.vocabulary import (
    CACHE_MODES,
    DEFAULT_CONVERSATION,
    DEFAULT_MEMORY_TOKENS,
    EFFORTS,
    INJECTION_MODES,
    MISSING_MODES,
    PROMPT_CACHE_MODES,
    did_you_mean,
    is_name,
    shown_value,
    whole_number_fault,
)

__all__ = ["CallOptions"]


# Called with the value of an option and its name; raises OptionError if the value is not valid.
_Check = Callable[[Any, str], None]


def _number(kind: type, low: float, high: float, hint: str, *, shown: str = "") -> _Check:
    def check(value: Any, name: str) -> None:
        numeric = isinstance(value, (int, kind)) and not isinstance(value, bool)
        if not numeric or not low <= value <= high:
            raise OptionError(f"{shown or name} must be {hint}, not {shown_value(value)}")

    return check


def _one_of(modes: Sequence[str], words: str = "") -> _Check:
    hint = words or f"one of {', '.join(modes)}"

    def check(value: Any, name: str) -> None:
        if value not in modes:
            near = did_you_mean(value, modes) if isinstance(value, str) else ""
            raise OptionError(f"{name} must be {hint}, not {shown_value(value)}{near}")

    return check


def _instance(kinds: Union[type, Tuple[type, ...]], hint: str) -> _Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, kinds):
            raise OptionError(f"{name} must be {hint}, not {type(value).__name__}")

    return check


def _check_stop(stop: Any, name: str) -> None:
    if not all(isinstance(text, str) and text for text in _texts(stop)):
        raise OptionError(f"{name} must be one or more non-empty texts, not {shown_value(stop)}")


def _check_sample(sample: Any, name: str) -> None:
    fault = whole_number_fault(sample, name, 1)
    if fault:
        raise OptionError(fault)


def _check_use_memory(use_memory: Any, name: str) -> None:
    if not isinstance(use_memory, bool):
        raise OptionError(f"{name} must be True or False, not {shown_value(use_memory)}")


def _check_memory(memory: Any, name: str) -> None:
    if not is_name(memory) or memory.lower() in ("on", "off"):
        raise OptionError(f"{name} must name a conversation with letters, digits, - and _, not {shown_value(memory)}")


def _check_turn(turn: Any, name: str) -> None:
    if not (isinstance(turn, CellRun) or (isinstance(turn, str) and turn)):
        raise OptionError(f"{name} must be a non-empty text, not {shown_value(turn)}")


def _check_depth(value: Any, name: str) -> None:
    """Refuse a value nested so deeply that an error message could not show it."""
    try:
        check_depth(value)
    except RecursionError as error:
        raise OptionError(f"{name} is {error}; nothing was sent") from None


def _texts(stop: Any) -> Sequence[Any]:
    """Return the texts of the option `stop` as a tuple."""
    if stop is None or stop == "":
        return ()
    return tuple(stop) if isinstance(stop, (list, tuple)) else (stop,)


_MAPPING = _instance(Mapping, "a mapping of names to values")
_CHECKS: Mapping[str, _Check] = {
    "agent": _instance((str, Agent), "a name or an Agent"),
    "model": _instance(str, "text"),
    "system": _instance(str, "text"),
    "max_tokens": _number(int, 1, 10_000_000, "a whole number from 1 to 10000000"),
    "temperature": _number(float, 0, 1, "a number from 0 to 1"),
    "effort": _one_of(EFFORTS),
    "stop": _check_stop,
    "sample": _check_sample,
    "prompt_cache": _one_of(PROMPT_CACHE_MODES, "auto, off, 5m or 1h"),
    "cache": _one_of(CACHE_MODES, "on, off, refresh or only"),
    "timeout_seconds": _number(float, 0.001, 86_400, "seconds, more than 0 and at most 86400", shown="timeout"),
    "use_memory": _check_use_memory,
    "memory": _check_memory,
    "turn": _check_turn,
    "memory_tokens": _number(int, 1, 1_000_000_000, "a whole number from 1 to 1000000000"),
    "variables": _MAPPING,
    "missing": _one_of(MISSING_MODES),
    "on_injection": _one_of(INJECTION_MODES, "warn, block or off"),
    "body": _MAPPING,
}


@dataclass(frozen=True)
class CallOptions:
    """The options of one call, as `AsyncAgentOrchestrator.run` takes them; None means "not given".

    Attributes
    ----------
    agent : str or Agent
        Name of an agent, or an `Agent`.
    model : str
        Alias (``haiku``, ``sonnet``, ``opus``, ``fable``) or full name. Default: the agent's, else sonnet.
    system : str
        System prompt, appended to the agent's.
    max_tokens : int
        Limit of the answer in tokens, including thinking, >= 1. Default: the agent's, else 16,000.
    temperature : float
        0 to 1, for models that accept it: see `messages.models`.
    thinking : bool, int or str
        ``off``, ``on``, ``adaptive`` or a number of tokens, sent in the form that the model accepts: see
        `messages.thinking.fit_reasoning`.
    effort : str
        ``low``, ``medium``, ``high``, ``xhigh`` or ``max``, for models that accept it.
    stop : str or sequence of str
        Stop sequences: texts that end the answer.
    sample : int
        Number of the sample, >= 1: each number stands for an independent answer to the same prompt.
    prompt_cache : str
        ``auto``, ``off``, ``5m`` or ``1h``: what to mark for the API's prompt cache, see `prompt_cache.MarkChooser`.
        Default: ``auto``.
    cache : str
        ``on``, ``off``, ``refresh`` or ``only``. Default: the agent's, else ``on``.
    timeout_seconds : float
        Time limit in seconds, including retries, > 0.
    budget : Decimal, float or str
        The most that this call, or this batch, may cost, in US dollars.
    use_memory : bool
        True makes the call a turn of a conversation; False neither reads nor writes a conversation.
    memory : str
        Name of the conversation, ``[A-Za-z0-9_-]+``. Default: the agent's name, else ``default``.
    turn : str or CellRun
        Identifies the turn: a later call with the same value replaces it. Default: a new turn at the end.
    memory_tokens : int
        Limit in estimated tokens of the earlier turns to send, >= 1; the newest turns are sent, each whole. Default:
        50,000.
    variables : mapping
        Values for ``{{ }}``; without it the prompt is sent unchanged, including braces.
    missing : str
        What to do with a missing value (None, NaN, an empty cell): ``skip`` sends nothing and raises, ``empty`` inserts nothing,
        ``keep`` inserts its ``str()``. Default: ``skip`` for the rows of a batch, else ``keep``.
    schema : type or mapping
        The type or JSON schema of the answer: see `schemas.answer.schema_of`. `ClaudeResult.parsed` is then an instance
        of it.
    on_injection : str
        What to do about a phrase in a value that reads like an instruction: ``warn``, ``block`` (send nothing) or
        ``off`` (do not search).
    body : mapping
        Further fields of the request body, such as ``tools``. They override all others; ``output_config`` is merged field by field.
    betas : sequence of str
        ``anthropic-beta`` values.
    """

    agent: Union[str, Agent, None] = None
    model: Optional[str] = None
    system: Optional[str] = None
    max_tokens: Optional[int] = None
    temperature: Optional[float] = None
    thinking: Union[bool, int, str, None] = None
    effort: Optional[str] = None
    stop: Union[str, Sequence[str], None] = None
    sample: int = 1
    prompt_cache: Optional[str] = None
    cache: Optional[str] = None
    timeout_seconds: Optional[float] = None
    budget: Any = None
    use_memory: bool = False
    memory: Optional[str] = None
    turn: Union[str, CellRun, None] = None
    memory_tokens: int = DEFAULT_MEMORY_TOKENS
    variables: Optional[Mapping[str, Any]] = None
    missing: Optional[str] = None
    schema: Any = None
    on_injection: str = "warn"
    body: Mapping[str, Any] = field(default_factory=dict)
    betas: Sequence[str] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CallOptions:
        """Create options from keyword arguments.

        Raises
        ------
        OptionError
            If a name is unknown (the message suggests the nearest known one), or a value is not valid.
        """
        for name in options:
            if name not in _DEFAULTS:
                raise OptionError(f"unknown option {name!r}{did_you_mean(name, _NAMES)}")
        # Faster than the constructor: set and check only the given options.
        made = object.__new__(cls)
        values = made.__dict__
        values.update(_DEFAULTS)
        values["body"] = {}
        values.update(options)
        made._check(options)
        return made

    def __post_init__(self) -> None:
        self._check(self.__dict__)

    def _check(self, names: Collection[str]) -> None:
        """Check the options with these names; all others have their defaults."""
        for name in names:
            value = self.__dict__[name]
            check = _CHECKS.get(name)
            if check is not _MAPPING and isinstance(value, (list, tuple, dict, set, frozenset)):
                _check_depth(value, name)
            if check is not None and value is not _DEFAULTS[name]:
                check(value, name)
        if self.schema is not None:
            self.__dict__["schema"] = schema_of(self.schema)
        if self.use_memory:
            if "messages" in self.body:
                raise OptionError(
                    "use_memory=True sends a conversation's messages, so body cannot have messages of its own"
                )
        elif self.memory is not None or self.turn is not None:
            name = "turn" if self.memory is None else "memory"
            raise OptionError(f"{name}= has no effect without use_memory=True")

    @property
    def reads_cache(self) -> bool:
        """Whether a cached answer may be used."""
        return self.cache not in ("off", "refresh")

    @property
    def conversation(self) -> str:
        """Name of the conversation for `use_memory`."""
        agent = self.agent.name if isinstance(self.agent, Agent) else self.agent
        return self.memory or agent or DEFAULT_CONVERSATION

    def changed(self, **values: Any) -> CallOptions:
        """Return a copy with some options changed. The new values are not checked."""
        copy = object.__new__(CallOptions)
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(values)
        return copy

    def shared_values(self) -> Optional[Tuple[Any, ...]]:
        """Return the values of all options but ``variables``, for `has_values`; None if one is mutable, such as a ``body``."""
        values = _VALUES(self)
        return None if self.body or not all(isinstance(value, _FIXED) for value in values) else values

    def has_values(self, values: Tuple[Any, ...]) -> bool:
        """Return whether all options but ``variables`` are identical to these `shared_values`; faster than equality."""
        return not self.body and all(map(is_, _VALUES(self), values))

    def stop_texts(self) -> Sequence[Any]:
        """Return the texts of `stop` as a tuple."""
        return _texts(self.stop)


_FIXED = (str, int, float, tuple, type(None), Agent, AnswerSchema)
_NAMES = tuple(item.name for item in fields(CallOptions))
_DEFAULTS: Mapping[str, Any] = {item.name: item.default for item in fields(CallOptions)}
_VALUES = attrgetter(*(name for name in _NAMES if name not in ("variables", "body")))
