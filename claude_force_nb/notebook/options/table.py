"""The one table of options: parsing, ``--help``, completion, settings and the documentation come from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Tuple

from claude_force_nb.errors import OptionError
from claude_force_nb.vocabulary import (
    CACHE_MODES,
    DEFAULT_MAX_TOKENS,
    DEFAULT_MEMORY_TOKENS,
    EFFORTS,
    INJECTION_MODES,
    MISSING_MODES,
    PROMPT_CACHE_MODES,
    ROUTES,
    did_you_mean,
)

from .values import (
    read_days,
    read_dollars,
    read_memory,
    read_name,
    read_number,
    read_prices_option,
    read_server,
    read_switch,
    read_text,
    read_thinking,
    read_tokens,
    read_whole_number,
)

__all__ = [
    "AGENT_OPTIONS",
    "BATCH_OPTIONS",
    "OPTIONS",
    "SETTINGS",
    "Option",
    "help_rows",
    "is_tighter",
    "read_option",
    "read_setting",
]


@dataclass(frozen=True)
class Option:
    """One row of the table.

    Attributes
    ----------
    name : str
        As typed.
    read : callable
        Turns the text into the value; raises ValueError where it cannot, or OptionError to say why.
    takes : str
        What the value is, for help and errors.
    meaning : str
        One line.
    choices : tuple of str
        The only values, where there are only some.
    flag : bool
        True where it takes no value.
    line : bool
        True where it is an option of ``%%claude`` and ``%claude``.
    setting : bool
        True where ``%claude_config``, traitlets, the environment and pyproject.toml may set it.
    path : bool
        True where it is a path, which pyproject.toml gives relative to its own folder.
    default : object
        Value of the setting where nobody sets it.
    project : str
        What a project file may do with the setting: ``free``, ``tighten`` (only towards less), or ``personal`` (nothing,
        unless the user trusts the file), since it decides where the key goes, what is billed, or what is written or removed.
    """

    name: str
    read: Callable[[str], Any]
    takes: str
    meaning: str
    choices: Tuple[str, ...] = ()
    flag: bool = False
    line: bool = True
    setting: bool = False
    path: bool = False
    default: Any = None
    project: str = "free"


# From the least strict.
_STRICTNESS = ("off", "warn", "block")
# More than any setting needs; an error repeats what it cannot read.
_LONGEST_VALUE = 2000

OPTIONS: Dict[str, Option] = {
    option.name: option
    for option in (
        Option("agent", read_text, "name", "agent whose system prompt and settings are used", setting=True),
        Option("model", read_text, "alias or full name", "model that answers", setting=True, default="sonnet"),
        Option("system", read_text, "text", "system prompt, below the agent's"),
        Option(
            "max_tokens",
            read_whole_number,
            "tokens",
            "bound of thinking and answer",
            setting=True,
            default=DEFAULT_MAX_TOKENS,
        ),
        Option("temperature", read_number, "0 to 1", "randomness of the answer", setting=True),
        Option("thinking", read_thinking, "on, off, adaptive or tokens", "thinking before the answer", setting=True),
        Option("effort", read_text, "level", "how much work the answer is worth", choices=EFFORTS, setting=True),
        Option(
            "prompt_cache",
            read_text,
            "mode",
            "what the API's prompt cache keeps",
            choices=PROMPT_CACHE_MODES,
            setting=True,
        ),
        Option(
            "schema",
            read_text,
            "name",
            "pydantic model, type or JSON schema of the notebook that the answer has to fit",
        ),
        Option("stop", read_text, "text", "text that ends the answer"),
        Option(
            "memory",
            read_memory,
            "on, off or a name",
            "conversation that the cell is a turn of; on is the agent's own",
            setting=True,
            default=False,
        ),
        Option("stream", read_switch, "on or off", "show the answer while it arrives", setting=True, default=True),
        Option("cache", read_text, "mode", "use of the cache", choices=CACHE_MODES, setting=True, default="on"),
        Option("sample", read_whole_number, "number", "number of an independent answer to the same prompt"),
        Option("timeout", read_number, "seconds", "bound of the call with its retries", setting=True, default=120.0),
        Option(
            "budget",
            read_dollars,
            "US dollars or none",
            "most that this call may cost; as a setting, all calls of the session",
            setting=True,
            project="tighten",
        ),
        Option("into", read_name, "name", "variable that receives the result"),
        Option(
            "on_injection",
            read_text,
            "mode",
            "what a phrase like an instruction in a value does",
            choices=INJECTION_MODES,
            setting=True,
            default="warn",
            project="tighten",
        ),
        Option("refresh", read_switch, "", "ask again and replace the cached answer", flag=True),
        Option(
            "dry-run",
            read_switch,
            "",
            "show what would be sent, what is cached and what it may cost; send nothing",
            flag=True,
        ),
        Option(
            "trust_file",
            read_switch,
            "",
            "use answers in the file of into= that somebody else has written or changed",
            line=False,
            flag=True,
        ),
        Option("raw", read_switch, "", "send the prompt as typed, without filling in {{ }}", flag=True),
        Option("help", read_switch, "", "show this reference", flag=True),
        Option(
            "daily_budget",
            read_dollars,
            "US dollars or none",
            "most that all notebooks of the user may cost in a day (UTC)",
            line=False,
            setting=True,
            project="tighten",
        ),
        Option(
            "prices",
            read_prices_option,
            "a .json or .toml file, or a dict",
            "prices of models, in US dollars per million tokens, before those of the package",
            line=False,
            setting=True,
            path=True,
            project="personal",
        ),
        Option(
            "ledger_keep_days",
            read_days,
            "days, from 1",
            "age at which answers are removed from the ledger",
            line=False,
            setting=True,
            project="personal",
        ),
        Option(
            "allow_unknown_price",
            read_switch,
            "on or off",
            "send calls of unknown price though a budget is set",
            line=False,
            setting=True,
            default=False,
            project="personal",
        ),
        Option(
            "max_concurrent",
            read_whole_number,
            "calls",
            "most calls in flight",
            line=False,
            setting=True,
            default=10,
            project="tighten",
        ),
        Option(
            "max_retries",
            read_whole_number,
            "calls",
            "most further calls after a failure",
            line=False,
            setting=True,
            default=4,
            project="tighten",
        ),
        Option(
            "cache_dir",
            read_text,
            "path",
            "folder of the cache",
            line=False,
            setting=True,
            path=True,
            project="personal",
        ),
        Option(
            "cache_ttl_hours",
            read_number,
            "hours",
            "life of a cached answer",
            line=False,
            setting=True,
            default=24.0,
            project="personal",
        ),
        Option(
            "cache_max_size_mb",
            read_number,
            "megabytes",
            "limit of the cache",
            line=False,
            setting=True,
            default=500.0,
            project="personal",
        ),
        Option(
            "memory_tokens",
            read_tokens,
            "tokens, from 1",
            "most tokens of earlier turns that are sent, about",
            line=False,
            setting=True,
            default=DEFAULT_MEMORY_TOKENS,
        ),
        Option("column", read_text, "name", "the one column of the source that is read", line=False),
        Option("agent_column", read_text, "name", "column that names the agent of each row", line=False),
        Option("model_column", read_text, "name", "column that names the model of each row", line=False),
        Option("limit", read_whole_number, "rows", "rows that are read at the most", line=False),
        Option(
            "missing",
            read_text,
            "mode",
            "what a row does whose template has no value in it: None, NaN, an empty cell",
            choices=MISSING_MODES,
            line=False,
        ),
        Option("via", read_text, "way", "how the rows travel", choices=ROUTES, line=False),
        Option(
            "background",
            read_switch,
            "",
            "run while the notebook is used; gives a BackgroundRun",
            flag=True,
            line=False,
        ),
        Option("description", read_text, "text", "what an agent does, in one line", line=False),
        Option(
            "allow_http",
            read_switch,
            "on or off",
            "send the key to another machine without encryption",
            line=False,
            setting=True,
            default=False,
            project="personal",
        ),
        Option(
            "base_url",
            read_server,
            "URL or simulator",
            "server that speaks the Messages API; simulator starts one for this session, without key and cost",
            line=False,
            setting=True,
            project="personal",
        ),
    )
}
LINE_OPTIONS = tuple(name for name, option in OPTIONS.items() if option.line)
# Of a batch: those of a cell that can mean something for every row, and its own.
BATCH_OPTIONS = (
    "column",
    "agent_column",
    "model_column",
    "limit",
    "max_concurrent",
    "missing",
    "via",
    *(name for name in LINE_OPTIONS if name not in ("memory", "raw", "stream", "refresh", "dry-run", "help")),
    "trust_file",
    "background",
    "refresh",
    "dry-run",
    "help",
)
AGENT_OPTIONS = ("model", "temperature", "max_tokens", "description")
SETTINGS: Dict[str, Option] = {name: option for name, option in OPTIONS.items() if option.setting}


def _value(option: Option, text: Any, where: str = "") -> Any:
    if option.choices and text not in option.choices:
        near = did_you_mean(text, option.choices)
        allowed = ", ".join(option.choices)
        raise OptionError(f"{where}{option.name} must be one of {allowed}, not {text!r}{near}")
    try:
        return option.read(text)
    except OptionError as error:
        raise OptionError(f"{where}{error}") from None
    except (ValueError, OverflowError):
        takes = "a variable name" if option.read is read_name else option.takes
        raise OptionError(f"{where}{option.name} takes {takes}, not {text!r}") from None


def read_option(name: str, text: str) -> Any:
    """Return the value of an option given as text; raises OptionError where it cannot take it."""
    return _value(OPTIONS[name], text)


def read_setting(name: str, text: Any, *, where: str) -> Any:
    """Return the value of a setting given as text, or as a number, boolean or mapping of TOML or traitlets.

    Raises
    ------
    OptionError
        If there is no such setting or it cannot take the value; says where it was set.
    """
    if name not in SETTINGS:
        raise OptionError(f"{where}: unknown setting {name!r}{did_you_mean(name, SETTINGS)}")
    if isinstance(text, bool):
        text = "on" if text else "off"
    if name != "prices":
        text = str(text)
        if len(text) > _LONGEST_VALUE:
            raise OptionError(f"{where}: the value of {name} is longer than {_LONGEST_VALUE} characters")
    return _value(SETTINGS[name], text, where + ": ")


def is_tighter(name: str, value: Any, default: Any) -> bool:
    """Return whether a value of a ``tighten`` setting allows no more than its default."""
    if name == "on_injection":
        return _STRICTNESS.index(value) >= _STRICTNESS.index(default)
    # By default there is no budget; any is less.
    return default is None or bool(value <= default)


def help_rows(names: Iterable[str] = LINE_OPTIONS) -> List[Tuple[str, str, str]]:
    """Return the reference of ``%%claude`` from the table: as typed, meaning, what it takes and its default."""
    rows = []
    for name in names:
        option = OPTIONS[name]
        typed = "--" + name if option.flag else name + "="
        takes = ", ".join(option.choices) or option.takes
        default = "" if option.default is None else f"default {_shown(option.default)}"
        rows.append((typed, option.meaning, "; ".join(part for part in (takes, default) if part)))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
