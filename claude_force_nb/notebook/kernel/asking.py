"""Questions to the person at the keyboard."""

from __future__ import annotations

from typing import Optional

__all__ = ["agreed"]


def agreed(question: str) -> Optional[bool]:
    """Ask a question in the front end and wait; return whether the answer was yes, None if nobody can be asked.

    Parameters
    ----------
    question : str
        Ends with a question mark; anything but ``y`` and ``yes`` is a no.
    """
    try:
        answer = input(f"{question} [y/N] ")
    except (EOFError, RuntimeError):  # ipykernel raises a kind of RuntimeError where the front end takes no input
        return None
    return answer.strip().lower() in ("y", "yes")
