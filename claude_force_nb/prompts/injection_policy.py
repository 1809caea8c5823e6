"""Warn about phrases in values that look like instructions, or refuse them; notices about removed characters."""

from __future__ import annotations

from typing import Dict, Set, Tuple

from claude_force_nb.errors import PromptInjectionError, PromptInjectionWarning
from claude_force_nb.vocabulary import counted
from claude_force_nb.warn import warn, warn_again

from .template import RenderedPrompt

__all__ = ["forget_warnings", "notices", "apply_injection_policy"]

# Most phrases to warn about per name, since a table of texts from strangers may contain a thousand.
MOST_PHRASES = 10

_told: Dict[str, Set[str]] = {}


def forget_warnings() -> None:
    """Allow earlier warnings to be shown again, so that each cell that runs reports its own findings."""
    _told.clear()
    warn_again(PromptInjectionWarning)


def apply_injection_policy(rendered: RenderedPrompt, on_injection: str) -> None:
    """Warn about suspicious phrases, once per name and phrase, or refuse the prompt.

    Parameters
    ----------
    rendered : RenderedPrompt
    on_injection : str
        ``warn``, ``block`` or ``off``.

    Raises
    ------
    PromptInjectionError
        With ``block``, if there is a suspicious phrase.
    """
    if not rendered.suspicions or on_injection == "off":
        return
    if on_injection == "block":
        first = rendered.suspicions[0]
        raise PromptInjectionError(f"{first}; on_injection=block, so nothing was sent")
    for suspicion in rendered.suspicions:
        told = _told.setdefault(suspicion.name, set())
        message = str(suspicion)
        if message in told or len(told) > MOST_PHRASES:
            continue
        told.add(message)
        if len(told) > MOST_PHRASES:
            warn(
                f"{suspicion.name} contains more phrases like instructions; they are not listed",
                PromptInjectionWarning,
            )
        else:
            warn(f"{message}; it is sent as data", PromptInjectionWarning)


def notices(rendered: RenderedPrompt) -> Tuple[str, ...]:
    """Return one line for each value from which characters were removed, and one for each suspicious phrase."""
    if not rendered.removed and not rendered.suspicions:
        return ()
    removed = [
        f"{counted(count, 'invisible character')} removed from {name}" for name, count in rendered.removed.items()
    ]
    return (*removed, *(f"suspicious: {each}" for each in rendered.suspicions))
