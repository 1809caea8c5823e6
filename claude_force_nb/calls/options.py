"""The options of one call, checked as soon as they are given. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Optional, Sequence, Union

from claude_force_nb.agents import Agent
from claude_force_nb.errors import OptionError
from claude_force_nb.memory.conversations import CellRun
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
    whole_number_fault,
)

__all__ = ["CallOptions"]


def _check(value: Any, name: str, kind: type, low: float, high: float, hint: str) -> None:
    numeric = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not numeric or not low <= value <= high:
        raise OptionError(f"{name} must be {hint}, not {value!r}")


@dataclass(frozen=True)
class CallOptions:
    """Options of one call, as `AsyncAgentOrchestrator.run` takes them; None means "not given".

    Attributes
    ----------
    agent : str or Agent
        Name of an agent, or an `Agent`.
    model : str
        Alias (``haiku``, ``sonnet``, ``opus``, ``fable``) or full name; the agent's, then sonnet by default.
    system : str
        System prompt, below the agent's.
    max_tokens : int
        Limit of the answer in tokens, thinking included, >= 1; the agent's, then 16,000 by default.
    temperature : float
        0 to 1, for models that take it: see `messages.models`.
    thinking : bool, int or str
        ``off``, ``on``, ``adaptive`` or a number of tokens, sent in the form that the model accepts: see `messages.thinking.fit_reasoning`.
    effort : str
        ``low``, ``medium``, ``high``, ``xhigh`` or ``max``, for models that take it.
    stop : str or sequence of str
        Texts that end the answer.
    sample : int
        Number of an independent answer, >= 1.
    prompt_cache : str
        ``auto``, ``off``, ``5m`` or ``1h``: what is marked for the API's prompt cache, see `prompt_cache.MarkChooser`; ``auto`` by default.
    cache : str
        ``on``, ``off``, ``refresh`` or ``only``; the agent's, then ``on`` by default.
    timeout_seconds : float
        Time limit in seconds, including retries, > 0.
    budget : Decimal, float or str
        The most that this call, or this batch, may cost, in US dollars.
    use_memory : bool
        True makes the call a turn of a conversation; False neither reads nor writes a conversation.
    memory : str
        Name of the conversation, ``[A-Za-z0-9_-]+``; the agent's name by default, and ``default`` without an agent.
    turn : str or CellRun
        Identifies the turn: a later call with the same value replaces it. A new turn at the end by default.
    memory_tokens : int
        Estimated limit in tokens of earlier turns that are sent, >= 1; the newest turns are sent whole. 50,000 by default.
    variables : mapping
        Values for ``{{ }}``; without it the prompt is sent unchanged, including braces.
    missing : str
        What to do with a missing value (None, NaN, an empty cell): ``skip`` sends nothing and raises, ``empty`` inserts nothing,
        ``keep`` inserts its ``str()``. ``skip`` by default for the rows of a batch, else ``keep``.
    schema : type or mapping
        What the answer must be: see `schemas.answer.schema_of`. `ClaudeResult.parsed` is then an instance of it.
    on_injection : str
        What to do about a phrase in a value that reads like an instruction: ``warn``, ``block`` (send nothing) or ``off`` (no search).
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
        """Make options of keyword arguments.

        Raises
        ------
        OptionError
            If a name is unknown (the nearest known one is in the message), or a value is not valid.
        """
        for name in options:
            if name not in _NAMES:
                raise OptionError(f"unknown option {name!r}{did_you_mean(name, _NAMES)}")
        return cls(**options)

    def __post_init__(self) -> None:
        if self.cache is not None and self.cache not in CACHE_MODES:
            near = did_you_mean(str(self.cache), CACHE_MODES)
            raise OptionError(f"cache must be on, off, refresh or only, not {self.cache!r}{near}")
        if self.prompt_cache is not None and self.prompt_cache not in PROMPT_CACHE_MODES:
            near = did_you_mean(str(self.prompt_cache), PROMPT_CACHE_MODES)
            raise OptionError(f"prompt_cache must be auto, off, 5m or 1h, not {self.prompt_cache!r}{near}")
        if self.on_injection not in INJECTION_MODES:
            near = did_you_mean(str(self.on_injection), INJECTION_MODES)
            raise OptionError(f"on_injection must be warn, block or off, not {self.on_injection!r}{near}")
        if self.missing is not None and self.missing not in MISSING_MODES:
            near = did_you_mean(str(self.missing), MISSING_MODES)
            raise OptionError(f"missing must be one of {', '.join(MISSING_MODES)}, not {self.missing!r}{near}")
        if self.max_tokens is not None:
            _check(self.max_tokens, "max_tokens", int, 1, 10_000_000, "a whole number from 1")
        if self.temperature is not None:
            _check(self.temperature, "temperature", float, 0, 1, "a number from 0 to 1")
        if self.timeout_seconds is not None:
            _check(self.timeout_seconds, "timeout", float, 0.001, 86_400, "seconds, more than 0 and at most 86400")
        if self.effort is not None and self.effort not in EFFORTS:
            near = did_you_mean(str(self.effort), EFFORTS)
            raise OptionError(f"effort must be one of {', '.join(EFFORTS)}, not {self.effort!r}{near}")
        if self.schema is not None:
            object.__setattr__(self, "schema", schema_of(self.schema))
        for name in ("model", "system"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise OptionError(f"{name} must be text, not {type(value).__name__}")
        if self.agent is not None and not isinstance(self.agent, (str, Agent)):
            raise OptionError(f"agent must be a name or an Agent, not {type(self.agent).__name__}")
        if not all(isinstance(text, str) and text for text in self.stop_texts()):
            raise OptionError(f"stop must be one or more non-empty texts, not {self.stop!r}")
        fault = whole_number_fault(self.sample, "sample", 1)
        if fault:
            raise OptionError(fault)
        for name in ("variables", "body"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise OptionError(f"{name} must be a mapping of names to values, not {type(value).__name__}")
        self._check_memory()

    def _check_memory(self) -> None:
        if not isinstance(self.use_memory, bool):
            raise OptionError(f"use_memory must be True or False, not {self.use_memory!r}")
        _check(self.memory_tokens, "memory_tokens", int, 1, 1_000_000_000, "a whole number from 1")
        if self.turn is not None and not (isinstance(self.turn, CellRun) or (isinstance(self.turn, str) and self.turn)):
            raise OptionError(f"turn must be a non-empty text, not {self.turn!r}")
        if self.memory is not None and (not is_name(self.memory) or self.memory.lower() in ("on", "off")):
            raise OptionError(f"memory must name a conversation with letters, digits, - and _, not {self.memory!r}")
        if not self.use_memory:
            for name in ("memory", "turn"):
                if getattr(self, name) is not None:
                    raise OptionError(f"{name}= has no effect without use_memory=True")
        elif "messages" in self.body:
            raise OptionError(
                "use_memory=True sends a conversation's messages, so body cannot have messages of its own"
            )

    @property
    def reads_cache(self) -> bool:
        """Whether a cached answer may be used."""
        return self.cache not in ("off", "refresh")

    @property
    def conversation(self) -> str:
        """Name of the conversation that `use_memory` means."""
        agent = self.agent.name if isinstance(self.agent, Agent) else self.agent
        return self.memory or agent or DEFAULT_CONVERSATION

    def changed(self, **values: Any) -> CallOptions:
        """Return a copy with some options changed; the new values must be valid, since they are not checked."""
        copy = object.__new__(CallOptions)
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(values)
        return copy

    def same_but_for_variables(self, other: CallOptions) -> bool:
        """Return whether all other options are the very same objects, which is faster to check than equality.

        A value that can be changed in place, such as a non-empty ``body``, counts as different.
        """
        theirs = other.__dict__
        for name, value in self.__dict__.items():
            same = value is theirs[name] and isinstance(value, _FIXED)
            empty = name == "body" and not value and not theirs[name]
            if not (same or empty or name == "variables"):
                return False
        return True

    def stop_texts(self) -> Sequence[Any]:
        """Return the texts of `stop` as a tuple."""
        stop = self.stop
        if stop is None or stop == "":
            return ()
        return tuple(stop) if isinstance(stop, (list, tuple)) else (stop,)


_FIXED = (str, int, float, tuple, type(None), Agent, AnswerSchema)
_NAMES = tuple(item.name for item in fields(CallOptions))
