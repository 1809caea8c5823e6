"""Asks the user yes-or-no questions."""

from __future__ import annotations

from typing import Optional

__all__ = ["agreed"]


def agreed(question: str) -> Optional[bool]:
    """Ask a question in the front end; return whether the answer is yes, or None if nobody can be asked.

    Parameters
    ----------
    question : str
        Ends with a question mark. Any answer other than ``y`` or ``yes`` means no.
    """
    try:
        answer = input(f"{question} [y/N] ")
    except (EOFError, RuntimeError):  # ipykernel raises a subclass of RuntimeError if the front end allows no input
        return None
    return answer.strip().lower() in ("y", "yes")
