"""Agents, and how to read one from the text of its file. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Union

from claude_force_nb.errors import AgentFileError, OptionError
from claude_force_nb.messages.text import well_formed
from claude_force_nb.prompts.fences import clean
from claude_force_nb.vocabulary import EFFORTS, is_name, shown_value

from .front_matter import FrontMatter, read_front_matter

__all__ = ["BUILT_IN", "Agent", "parse_agent", "slug"]

BUILT_IN = "built in"
# Only one line of a description is shown in lists, but those of Claude Code may contain whole conversations.
_DESCRIPTION_CHARACTERS = 20_000
_LEAST_THINKING_TOKENS = 1024


@dataclass(frozen=True)
class Agent:
    """A named system prompt with its preferred settings.

    Attributes
    ----------
    name : str
        Name by which it is used: ``[A-Za-z0-9_-]+``.
    prompt : str
        The system prompt.
    description : str
        One line for lists.
    model : str or None
        Alias or full name.
    temperature : float or None
        0 to 1.
    max_tokens : int or None
        In tokens, >= 1.
    thinking : str, int or None
        ``on``, ``off``, ``adaptive`` or a number of tokens >= 1024.
    effort : str or None
        ``low``, ``medium``, ``high``, ``xhigh`` or ``max``.
    cache : str or None
        ``off`` if its answers are neither stored in the cache nor taken from it.
    source : str
        Path of its file, ``"built in"`` or ``"this notebook, cell …"``.
    title : str
        The name as written in its file, if different from `name`.
    other : mapping
        Front matter keys without a meaning here, unchanged.

    Raises
    ------
    OptionError
        If the name is not ``[A-Za-z0-9_-]+``.
    """

    name: str
    prompt: str
    description: str = ""
    model: Optional[str] = None
    temperature: Optional[float] = None
    max_tokens: Optional[int] = None
    thinking: Union[str, int, None] = None
    effort: Optional[str] = None
    cache: Optional[str] = None
    source: str = BUILT_IN
    title: str = ""
    other: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise OptionError(f"an agent's name must be letters, digits, - and _, not {shown_value(self.name)}")
        object.__setattr__(self, "title", self.title or self.name)
        for name in ("prompt", "description", "title"):
            object.__setattr__(self, name, well_formed(getattr(self, name)))


def slug(text: str) -> str:
    """Convert a title to a name that can be typed: ``code-reviewer`` for ``Code Reviewer``; "" if nothing is left."""
    if is_name(text):
        return text
    # casefold() turns ß into ss, and NFKD separates accents, which are then dropped.
    ascii_text = unicodedata.normalize("NFKD", well_formed(text).casefold()).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-")


def parse_agent(text: str, *, source: str, default_name: str) -> Agent:
    """Read an agent from Markdown with optional front matter, as leniently as Claude Code does.

    Parameters
    ----------
    text : str
        The whole file.
    source : str
        Where the text comes from, for errors.
    default_name : str
        Used if the front matter has no name.

    Raises
    ------
    AgentFileError
        If a required value cannot be read, or the prompt is missing. The message names the file and line.
    """
    front = read_front_matter(text, source)
    title = _one_line(front, "name") or default_name
    description = front.take("description")
    if not isinstance(description, (str, list, type(None))):
        # Take the text as written, since YAML may read it as a boolean ("no"), a date or a mapping in braces.
        description = front.written("description")
    agent = Agent(
        name=slug(title) or slug(default_name) or "agent-" + hashlib.sha256(title.encode()).hexdigest()[:8],
        prompt=front.prompt,
        description=_description(description),
        model=_model(_one_line(front, "model")),
        temperature=_number(front, "temperature", "a number from 0 to 1", (int, float), 0, 1),
        max_tokens=_number(front, "max_tokens", "a whole number from 1", (int,), 1, None),
        thinking=_thinking(front),
        effort=_word(front, "effort", EFFORTS),
        cache=_cache(front),
        source=source,
        title=title,
        other=front.rest(),
    )
    if not agent.prompt:
        raise AgentFileError(f"{source}: the prompt below the front matter is missing")
    return agent


def _one_line(front: FrontMatter, key: str) -> Optional[str]:
    """Return a name as written, whatever type YAML gives it."""
    value = front.take(key)
    if value is None:
        return None
    written = front.written(key)
    if isinstance(value, (dict, list)) or not written or "\n" in written or written[0] in "[{":
        raise front.error(key, f"{key} must be text on one line")
    return clean(well_formed(value if isinstance(value, str) else written))[0].strip() or None


def _description(value: Any) -> str:
    """Return a description on one line; a literal ``\\n`` counts as a line end too."""
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = clean(well_formed(text).replace("\\n", "\n").replace('\\"', '"'))[0]
    return " ".join(text.split())[:_DESCRIPTION_CHARACTERS]


def _model(name: Optional[str]) -> Optional[str]:
    """Translate Claude Code's model aliases; None means the model in use ("Model configuration")."""
    if name is None:
        return None
    given = name[: -len("[1m]")] if name.lower().endswith("[1m]") else name
    if given.lower() in ("inherit", "default"):
        return None
    return {"best": "fable", "opusplan": "sonnet"}.get(given.lower(), given)


def _number(front: FrontMatter, key: str, wanted: str, kinds: Any, low: float, high: Optional[float]) -> Any:
    value = front.take(key)
    if value is None:
        return None
    fits = isinstance(value, kinds) and not isinstance(value, bool) and value >= low and (high is None or value <= high)
    if not fits:
        raise front.error(key, f"{key} must be {wanted}, not {value!r}")
    return value


def _thinking(front: FrontMatter) -> Union[str, int, None]:
    value = _switch(front.take("thinking"))
    if value is None or (isinstance(value, str) and value in ("on", "off", "adaptive")):
        return value
    if type(value) is int and value >= _LEAST_THINKING_TOKENS:
        return value
    raise front.error("thinking", f"thinking must be on, off, adaptive or a number of tokens from 1024, not {value!r}")


def _cache(front: FrontMatter) -> Optional[str]:
    value = _switch(front.take("cache"))
    if value not in (None, "on", "off"):
        raise front.error("cache", f"cache must be on or off, not {value!r}")
    return "off" if value == "off" else None


def _word(front: FrontMatter, key: str, known: Any) -> Optional[str]:
    value = front.take(key)
    if value is None or (isinstance(value, str) and value in known):
        return value
    raise front.error(key, f"{key} must be one of {', '.join(known)}, not {value!r}")


def _switch(value: Any) -> Any:
    """Return ``on`` or ``off`` for values that YAML reads as booleans."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value
