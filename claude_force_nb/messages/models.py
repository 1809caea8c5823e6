"""What each model accepts: one table of rules, with a source for each column. Pure.

A model that is not in the table is treated like the newest model of its line, and nothing is refused, since it may be
newer than the table or belong to another server.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Dict, FrozenSet, List, Mapping, Optional, Tuple

from claude_force_nb.vocabulary import EFFORTS

__all__ = [
    "COLUMN_SOURCES",
    "CURRENT_MODELS",
    "ModelRules",
    "models_with_temperature",
    "retirement_notice",
    "rules_for",
]

COLUMN_SOURCES: Mapping[str, str] = {
    "context_window": "Context windows",
    "max_output_tokens": "Thinking, section “Output limits”",
    "batch_output_tokens": "Batch processing, “Extended output”",
    "thinks": "Thinking, section “Defaults by model”",
    "thinking": "Thinking; API errors; migration guide of each model",
    "thinking_off_efforts": "API errors; migration guides of Opus 5, Sonnet 5.5 and Haiku 5.5",
    "efforts": "Effort",
    "default_effort": "Effort",
    "sampling": "Thinking, section “Feature compatibility”; migration guide of each model",
    "prefill": "API errors",
    "forced_tools": "Define tools; API errors",
    "structured_outputs": "Structured outputs",
    "inference_geo": "Pricing, section “Data residency pricing”",
    "min_cache_tokens": "Prompt caching, section “Cache limitations”",
    "tokenizer": "Pricing, note on tokenizers",
    "released": "Release notes",
    "retires": "Model deprecations; deprecation table of the SDK (2.13)",
}
"""For each column of `ModelRules`, its source in the API's documentation, as of November 2026."""

_WARN_DAYS = 30
_LINES = ("fable", "mythos", "opus", "sonnet", "haiku")
_UP_TO_HIGH = ("low", "medium", "high")
_WITHOUT_XHIGH = ("low", "medium", "high", "max")


@dataclass(frozen=True)
class ModelRules:
    """What one model accepts. The defaults describe an unknown model: everything is accepted, since nothing is known to fail.

    Attributes
    ----------
    name : str
        Name without date, such as ``claude-opus-4-5``.
    known : bool
        False if the rules are those of the newest model of its line, or the defaults. Then nothing is refused.
    context_window, max_output_tokens, batch_output_tokens : int
        In tokens; the last applies in message batches with the ``output-300k`` beta.
    thinks : bool
        Whether the model thinks by default.
    thinking : frozenset of str
        Accepted values of ``thinking.type``: ``adaptive``, ``enabled`` (with a budget), ``disabled``,
        ``between_tools``.
    thinking_off_efforts : tuple of str
        Levels of effort that can be combined with thinking turned off.
    efforts : tuple of str
        Levels of effort; empty if the model does not accept the parameter.
    default_effort : str or None
    sampling : str
        ``free``: accepts temperature, top_p and top_k; ``one``: the same, but not temperature and top_p together;
        ``default``: accepts only the default values.
    prefill : bool
        Whether the last message may be the beginning of the answer (a prefilled answer).
    forced_tools : bool
        Whether ``tool_choice`` may be ``any`` or ``tool``.
    structured_outputs : bool
        Whether the API can force the answer to conform to a JSON schema.
    inference_geo : bool
        Whether a request may specify the region.
    min_cache_tokens : int
        Shortest prefix, in tokens, that the API's prompt cache stores.
    tokenizer : int
        Generation of the tokenizer: 2 produces about 30 % more tokens from the same text than 1.
    released, retires : datetime.date or None
        `retires` is the day of retirement if `retirement_announced`, else the earliest day on which the model may
        retire.
    retirement_announced : bool
    line : str or None
        ``opus``, ``sonnet``, ``haiku``, ``fable`` or ``mythos``.
    """

    name: str = ""
    known: bool = True
    context_window: int = 200_000
    max_output_tokens: int = 64_000
    batch_output_tokens: int = 64_000
    thinks: bool = False
    thinking: FrozenSet[str] = frozenset(["adaptive", "enabled", "disabled"])
    thinking_off_efforts: Tuple[str, ...] = EFFORTS
    efforts: Tuple[str, ...] = EFFORTS
    default_effort: Optional[str] = "high"
    sampling: str = "free"
    prefill: bool = True
    forced_tools: bool = True
    structured_outputs: bool = False
    inference_geo: bool = True
    min_cache_tokens: int = 1024
    tokenizer: int = 1
    released: Optional[datetime.date] = None
    retires: Optional[datetime.date] = None
    retirement_announced: bool = False
    line: Optional[str] = field(default=None, compare=False)

    @property
    def always_thinks(self) -> bool:
        """Whether thinking cannot be turned off."""
        return self.thinks and not self.thinking & {"disabled", "between_tools"}


def _day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


_ADAPTIVE = frozenset(["adaptive"])
_ADAPTIVE_OR_OFF = frozenset(["adaptive", "disabled"])
_MILLION = 1_000_000

# Generations of models, each defined by its changes to the previous one. Exceptions of a single model are listed with
# it below.
_BEFORE_4_5 = ModelRules(
    thinking=frozenset(["enabled", "disabled"]), efforts=(), default_effort=None, inference_geo=False
)
_V4_5 = replace(_BEFORE_4_5, structured_outputs=True, sampling="one", min_cache_tokens=4096)
_V4_6 = replace(
    _V4_5,
    context_window=_MILLION,
    max_output_tokens=128_000,
    batch_output_tokens=300_000,
    thinking=frozenset(["adaptive", "enabled", "disabled"]),
    efforts=_WITHOUT_XHIGH,
    default_effort="high",
    sampling="free",
    prefill=False,
    inference_geo=True,
)
_V4_7 = replace(
    _V4_6, thinking=_ADAPTIVE_OR_OFF, efforts=EFFORTS, sampling="default", tokenizer=2, min_cache_tokens=2048
)
_V5 = replace(_V4_7, thinks=True, min_cache_tokens=512)
_V5_5 = replace(_V5, thinking=_ADAPTIVE, forced_tools=False)
_FABLE_5 = replace(_V5, thinking=_ADAPTIVE, batch_output_tokens=128_000)
_FABLE_5_1 = replace(_FABLE_5, forced_tools=False)


def _model(rules: ModelRules, name: str, released: str, retires: Optional[str], **own: object) -> ModelRules:
    line = next(line for line in _LINES if line in name)
    return replace(
        rules,
        name=name,
        line=line,
        released=_day(released),
        retires=None if retires is None else _day(retires),
        **own,  # type: ignore[arg-type]
    )


# Newest first within each line. claude-haiku-4-5 may retire since 15 October 2026, but no date has been announced.
CURRENT_MODELS: Tuple[ModelRules, ...] = (
    _model(_FABLE_5_1, "claude-fable-5-2", "2026-11-09", "2027-11-09"),
    _model(_FABLE_5_1, "claude-fable-5-1", "2026-09-01", "2027-09-01"),
    _model(_FABLE_5, "claude-fable-5", "2026-06-09", "2027-06-09"),
    _model(_FABLE_5_1, "claude-mythos-5-2", "2026-11-09", "2027-11-09"),
    _model(_FABLE_5_1, "claude-mythos-5-1", "2026-09-01", "2027-09-01"),
    _model(_FABLE_5, "claude-mythos-5", "2026-06-09", "2027-06-09"),
    _model(
        _FABLE_5_1,
        "claude-mythos-preview",
        "2026-04-07",
        None,
        thinking=frozenset(["adaptive", "enabled"]),
        efforts=_WITHOUT_XHIGH,
        min_cache_tokens=2048,
        retirement_announced=True,
    ),
    _model(_V5_5, "claude-opus-5-5", "2026-09-22", "2027-09-22", default_effort="medium"),
    _model(_V5, "claude-opus-5", "2026-07-24", "2027-07-24", thinking_off_efforts=_UP_TO_HIGH),
    _model(_V4_7, "claude-opus-4-8", "2026-05-28", "2027-05-28", min_cache_tokens=1024),
    _model(_V4_7, "claude-opus-4-7", "2026-04-16", "2027-04-16"),
    _model(_V4_6, "claude-opus-4-6", "2026-02-05", "2027-02-05"),
    _model(
        _V4_5,
        "claude-opus-4-5",
        "2025-11-24",
        "2027-01-22",
        efforts=_UP_TO_HIGH,
        default_effort="high",
        sampling="free",
        retirement_announced=True,
    ),
    _model(
        _V5_5,
        "claude-sonnet-5-5",
        "2026-09-28",
        "2027-09-28",
        thinking=frozenset(["adaptive", "between_tools"]),
        thinking_off_efforts=_UP_TO_HIGH,
    ),
    _model(_V5, "claude-sonnet-5", "2026-06-30", "2027-06-30", min_cache_tokens=1024),
    _model(_V4_6, "claude-sonnet-4-6", "2026-02-17", "2027-02-17", min_cache_tokens=1024),
    _model(_V4_5, "claude-sonnet-4-5", "2025-09-29", "2026-11-30", min_cache_tokens=1024, retirement_announced=True),
    _model(
        _V5,
        "claude-haiku-5-5",
        "2026-10-07",
        "2027-10-07",
        default_effort="medium",
        thinking_off_efforts=_UP_TO_HIGH,
    ),
    _model(_V4_5, "claude-haiku-4-5", "2025-10-15", None),
)

# Models that the API no longer serves; other servers may still have them.
_GONE: Tuple[ModelRules, ...] = tuple(
    _model(_BEFORE_4_5, name, released, retires, retirement_announced=True)
    for name, released, retires in (
        ("claude-opus-4-1", "2025-08-05", "2026-08-05"),
        ("claude-opus-4", "2025-05-14", "2026-06-15"),
        ("claude-sonnet-4", "2025-05-14", "2026-06-15"),
        ("claude-3-7-sonnet", "2025-02-19", "2026-02-19"),
        ("claude-3-5-haiku", "2024-10-22", "2026-02-19"),
        ("claude-3-5-sonnet", "2024-06-20", "2025-10-28"),
        ("claude-3-haiku", "2024-03-07", "2026-04-20"),
        ("claude-3-opus", "2024-02-29", "2026-01-05"),
        ("claude-3-sonnet", "2024-02-29", "2025-07-21"),
    )
)

_LINE = re.compile("|".join(_LINES))
# The version comes before or after the line, with a dash or a dot, as in claude-3-5-haiku and claude-opus-4.5@20251101.
_VERSION = re.compile(r"claude-(?:[a-z]+-)?([0-9]{1,2})(?![0-9])(?:[-.]([0-9]{1,2})(?![0-9]))?")


def _key(name: str) -> Tuple[Optional[str], Optional[Tuple[int, int]]]:
    line = _LINE.search(name)
    version = _VERSION.search(name)
    return (
        None if line is None else line.group(),
        None if version is None else (int(version.group(1)), int(version.group(2) or 0)),
    )


_BY_KEY: Dict[Tuple[Optional[str], Optional[Tuple[int, int]]], ModelRules] = {
    _key(rules.name): rules for rules in (*CURRENT_MODELS, *_GONE) if _key(rules.name)[1] is not None
}
_NEWEST: Dict[str, ModelRules] = {}
for _rules in CURRENT_MODELS:
    _NEWEST.setdefault(str(_rules.line), _rules)
_BY_NAME = {rules.name: rules for rules in CURRENT_MODELS}
_UNKNOWN = ModelRules(known=False)


@lru_cache(maxsize=256)
def rules_for(model: str) -> ModelRules:
    """Return the rules of a model.

    The name may have a date or a vendor's prefix, and its version may come before or after the line.

    Returns
    -------
    ModelRules
        The model's own rules if it is in the table. Otherwise ``known`` is False, and the rules are those of the newest model of
        its line, those of the models before 4.5 if its version is older than the table, or the defaults.
    """
    name = model.lower()
    if name in _BY_NAME:
        return _BY_NAME[name]
    line, version = _key(name)
    found = _BY_KEY.get((line, version))
    if found is not None:
        return found
    if version is not None and version < (4, 5):
        return replace(_BEFORE_4_5, name=model, known=False)
    if line is not None and (version is None or version > (_key(_NEWEST[line].name)[1] or version)):
        return replace(_NEWEST[line], name=model, known=False, retires=None, line=line)
    # A version between those in the table, or an unknown line.
    return replace(_UNKNOWN, name=model, structured_outputs=version is not None)


@lru_cache(maxsize=256)
def retirement_notice(model: str, today: datetime.date) -> Optional[str]:
    """Return a warning that names the successor if a model is retired or may be within 30 days; None for any other model.

    Parameters
    ----------
    model : str
    today : datetime.date
        Today's date, UTC.
    """
    rules = rules_for(model)
    if rules.retires is None or rules.retires - today > datetime.timedelta(days=_WARN_DAYS):
        return None
    newest = _NEWEST[str(rules.line)].name
    instead = f"use {newest} instead" if newest != rules.name else "look for its successor in the API's list of models"
    if not rules.retirement_announced:
        return f"{rules.name} is guaranteed only until {rules.retires}; {instead}"
    verb = "was retired" if rules.retires <= today else "will be retired"
    return f"{rules.name} {verb} on {rules.retires}; {instead}"


def models_with_temperature() -> List[str]:
    """Return the names of the models that accept a temperature other than 1 and are not about to be retired, sorted."""
    return sorted(
        rules.name for rules in CURRENT_MODELS if rules.sampling != "default" and not rules.retirement_announced
    )


def takes_schemas(model: str) -> bool:
    """Return whether a model supports structured outputs; False if unknown."""
    return rules_for(model).structured_outputs
