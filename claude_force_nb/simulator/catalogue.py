"""The API's documentation of each model as of November 2026, as data. Pure.

Nothing here is shared with the client of this package, so that tests reveal where the two disagree. The sources are the
documentation's pages on models, deprecations, thinking, effort, prompt caching, tool use and pricing, and the SDK's types.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import FrozenSet, Optional, Tuple

__all__ = ["EFFORTS", "KNOWN", "RETIRED", "Model"]

EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THREE = ("low", "medium", "high")
_FOUR = ("low", "medium", "high", "max")


@dataclass(frozen=True)
class Model:
    """A model and what it accepts. The defaults are for names that are not in the catalogue: nothing is refused.

    Attributes
    ----------
    name : str
        Name in answers; for the models of version 4.5 the dated name.
    released : str
        ISO date.
    retires : str or None
        ISO date of the retirement, or the earliest date on which it may happen.
    lifecycle : str
        ``active``, ``deprecated`` or ``retired``.
    context_window, max_output_tokens, batch_output_tokens : int
        Limits in tokens; the last applies with the beta for long outputs in batches.
    min_cache_tokens : int
        Length of the shortest prefix that the prompt cache keeps.
    efforts : tuple of str
        Levels of ``output_config.effort``; empty if the parameter is refused.
    default_effort : str
    thinks : bool
        True if the model thinks by default.
    thinking_types : frozenset of str
        Accepted values of ``thinking.type``.
    off_needs_low_effort : bool
        True if thinking can be off only up to effort ``high``.
    sampling : str
        Under version 2023-06-01: ``strict`` accepts the defaults only, ``free`` any value, ``one`` either temperature or
        top_p.
    prefill : str
        ``no``, ``unless_thinking`` or ``yes``.
    forced_tools : bool
        True if ``tool_choice`` ``any`` and ``tool`` are accepted.
    forced_tools_stop_thinking : bool
        True if an answer with a forced tool has no thinking.
    bound_thinking : str
        Whether replayed thinking is bound to the conversation before it: ``always``, ``new_accounts`` or ``never``.
    display : str
        Default of ``thinking.display``.
    characters_per_token : int
        From version 4.7 on, the tokenizer makes about a third more tokens of a text.
    most_image_pixels, most_image_tokens : int
        Maximum side and tokens of an image; larger ones are resized.
    structured_outputs, system_messages, inference_geo, classifiers : bool
    fast : str
        ``yes``, ``preview`` (with a beta header), ``ignored`` or ``no``.
    tool_tokens : tuple of int
        Tokens of the system prompt that tools add: with a free choice, and with a forced one.
    checks_tool_pairs : bool
        False for the oldest models, which were recorded answering tool results that belong to no call.
    """

    name: str
    released: str = "2025-01-01"
    retires: Optional[str] = None
    lifecycle: str = "active"
    context_window: int = 200_000
    max_output_tokens: int = 64_000
    batch_output_tokens: int = 64_000
    min_cache_tokens: int = 1024
    efforts: Tuple[str, ...] = EFFORTS
    default_effort: str = "high"
    thinks: bool = False
    thinking_types: FrozenSet[str] = frozenset(["adaptive", "enabled", "between_tools", "disabled"])
    off_needs_low_effort: bool = False
    sampling: str = "free"
    prefill: str = "yes"
    forced_tools: bool = True
    forced_tools_stop_thinking: bool = False
    bound_thinking: str = "never"
    display: str = "summarized"
    characters_per_token: int = 4
    most_image_pixels: int = 1568
    most_image_tokens: int = 1568
    structured_outputs: bool = True
    system_messages: bool = True
    inference_geo: bool = True
    classifiers: bool = False
    fast: str = "yes"
    tool_tokens: Tuple[int, int] = (0, 0)
    checks_tool_pairs: bool = True


_ADAPTIVE = frozenset(["adaptive"])
_ADAPTIVE_OR_OFF = frozenset(["adaptive", "disabled"])

_OLD = Model(
    "",
    lifecycle="retired",
    efforts=(),
    thinking_types=frozenset(["enabled", "disabled"]),
    prefill="unless_thinking",
    structured_outputs=False,
    system_messages=False,
    inference_geo=False,
    fast="no",
)
_V45 = replace(_OLD, lifecycle="active", min_cache_tokens=4096, structured_outputs=True, tool_tokens=(496, 588))
_V46 = replace(
    _V45,
    context_window=1_000_000,
    max_output_tokens=128_000,
    batch_output_tokens=300_000,
    efforts=_FOUR,
    thinking_types=frozenset(["adaptive", "enabled", "disabled"]),
    prefill="no",
    inference_geo=True,
    tool_tokens=(497, 589),
)
_V47 = replace(
    _V46,
    min_cache_tokens=2048,
    efforts=EFFORTS,
    thinking_types=_ADAPTIVE_OR_OFF,
    sampling="strict",
    display="omitted",
    characters_per_token=3,
    most_image_pixels=2576,
    most_image_tokens=4784,
    tool_tokens=(675, 804),
)
_V48 = replace(_V47, min_cache_tokens=1024, system_messages=True, tool_tokens=(290, 410))
_V5 = replace(_V48, min_cache_tokens=512, thinks=True, classifiers=True, tool_tokens=(286, 406))
_FABLE = replace(_V5, batch_output_tokens=128_000, thinking_types=_ADAPTIVE)
_FABLE_51 = replace(_FABLE, forced_tools=False, tool_tokens=(286, 286))
_V55 = replace(_V5, thinking_types=_ADAPTIVE, forced_tools=False, bound_thinking="new_accounts", tool_tokens=(286, 286))

# Versions 5.1 and 5.2 exist for Fable and Mythos only. Models without a known retirement date have None.
KNOWN: Tuple[Model, ...] = (
    replace(
        _FABLE_51,
        name="claude-fable-5-2",
        released="2026-11-09",
        retires="2027-11-09",
        bound_thinking="always",
        fast="yes",
    ),
    replace(
        _FABLE_51,
        name="claude-mythos-5-2",
        released="2026-11-09",
        retires="2027-11-09",
        bound_thinking="always",
        fast="yes",
    ),
    replace(
        _V55,
        name="claude-haiku-5-5",
        released="2026-10-07",
        retires="2027-10-07",
        default_effort="medium",
        thinking_types=_ADAPTIVE_OR_OFF,
        off_needs_low_effort=True,
        forced_tools=True,
        forced_tools_stop_thinking=True,
        tool_tokens=(286, 406),
    ),
    replace(
        _V55,
        name="claude-sonnet-5-5",
        released="2026-09-28",
        retires="2027-09-28",
        thinking_types=frozenset(["adaptive", "between_tools"]),
        off_needs_low_effort=True,
    ),
    replace(
        _V55, name="claude-opus-5-5", released="2026-09-22", retires="2027-09-22", default_effort="medium", fast="yes"
    ),
    replace(
        _FABLE_51, name="claude-fable-5-1", released="2026-09-01", retires="2027-09-01", bound_thinking="new_accounts"
    ),
    replace(_FABLE_51, name="claude-mythos-5-1", released="2026-09-01", retires="2027-09-01"),
    replace(
        _V5,
        name="claude-opus-5",
        released="2026-07-24",
        retires="2027-07-24",
        thinking_types=_ADAPTIVE_OR_OFF,
        off_needs_low_effort=True,
        fast="preview",
    ),
    replace(
        _V5,
        name="claude-sonnet-5",
        released="2026-06-30",
        retires="2027-06-30",
        min_cache_tokens=1024,
        thinking_types=_ADAPTIVE_OR_OFF,
        classifiers=False,
        system_messages=False,
        tool_tokens=(354, 474),
    ),
    replace(_FABLE, name="claude-fable-5", released="2026-06-09", retires="2027-06-09"),
    replace(_FABLE, name="claude-mythos-5", released="2026-06-09", retires="2027-06-09"),
    replace(_V48, name="claude-opus-4-8", released="2026-05-28", retires="2027-05-28", fast="yes"),
    replace(_V47, name="claude-opus-4-7", released="2026-04-16", retires="2027-04-16"),
    replace(
        _V47,
        name="claude-mythos-preview",
        released="2026-04-07",
        lifecycle="deprecated",
        batch_output_tokens=128_000,
        efforts=_FOUR,
        thinks=True,
        thinking_types=frozenset(["adaptive", "enabled"]),
        forced_tools=False,
    ),
    replace(_V46, name="claude-sonnet-4-6", released="2026-02-17", retires="2027-02-17", min_cache_tokens=1024),
    replace(_V46, name="claude-opus-4-6", released="2026-02-05", retires="2027-02-05", fast="ignored"),
    replace(
        _V45,
        name="claude-opus-4-5-20251101",
        released="2025-11-24",
        retires="2027-01-22",
        lifecycle="deprecated",
        efforts=_THREE,
    ),
    replace(_V45, name="claude-haiku-4-5-20251001", released="2025-10-15", retires="2026-10-15", sampling="one"),
    replace(
        _V45,
        name="claude-sonnet-4-5-20250929",
        released="2025-09-29",
        retires="2026-11-30",
        lifecycle="deprecated",
        min_cache_tokens=1024,
        sampling="one",
    ),
)

# Calls to these models fail unless an option serves them. The names after a model are its aliases.
_V3 = replace(_OLD, max_output_tokens=4096, thinking_types=frozenset(["disabled"]), checks_tool_pairs=False)
RETIRED: Tuple[Tuple[Model, Tuple[str, ...]], ...] = (
    (
        replace(
            _OLD, name="claude-opus-4-1-20250805", released="2025-08-05", retires="2026-08-05", max_output_tokens=32_000
        ),
        ("claude-opus-4-1",),
    ),
    (
        replace(
            _OLD, name="claude-opus-4-20250514", released="2025-05-14", retires="2026-06-15", max_output_tokens=32_000
        ),
        ("claude-opus-4-0", "claude-4-opus-20250514"),
    ),
    (
        replace(_OLD, name="claude-sonnet-4-20250514", released="2025-05-14", retires="2026-06-15"),
        ("claude-sonnet-4-0", "claude-4-sonnet-20250514"),
    ),
    (
        replace(_OLD, name="claude-3-7-sonnet-20250219", released="2025-02-19", retires="2026-02-19"),
        ("claude-3-7-sonnet-latest",),
    ),
    (
        replace(
            _V3, name="claude-3-5-haiku-20241022", released="2024-10-22", retires="2026-02-19", max_output_tokens=8192
        ),
        ("claude-3-5-haiku-latest",),
    ),
    (
        replace(
            _V3, name="claude-3-5-sonnet-20241022", released="2024-10-22", retires="2025-10-28", max_output_tokens=8192
        ),
        ("claude-3-5-sonnet-latest",),
    ),
    (replace(_V3, name="claude-3-haiku-20240307", released="2024-03-07", retires="2026-04-20"), ()),
    (
        replace(_V3, name="claude-3-opus-20240229", released="2024-02-29", retires="2026-01-05"),
        ("claude-3-opus-latest",),
    ),
)
