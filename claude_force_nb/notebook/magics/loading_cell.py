"""The cell that loads the extension, as far as IPython has read it already."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Collection, Optional

from claude_force_nb.errors import ClaudeForceError

from .rewriting import protect_questions

__all__ = ["check_loading_cell"]

_SHOWN_CHARACTERS = 60


def check_loading_cell(names: Collection[str]) -> None:
    """Refuse to go on in a cell whose questions IPython took for requests for help before the extension was there.

    IPython transforms a whole cell before its first line runs, so that a question below ``%load_ext`` is lost by then.

    Parameters
    ----------
    names : collection of str
        Names of the magics whose questions may end in ``?``.

    Raises
    ------
    ClaudeForceError
        One line, which stops the cell. The extension is loaded all the same: the cell run again does what it says.
    """
    lines = (_running_source() or "").splitlines(keepends=True)
    for line, protected in zip(lines, protect_questions(lines, names)):
        if line != protected:
            shown = line.strip()
            shown = shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 1] + "…"
            raise ClaudeForceError(
                f"the extension is loaded, now run this again: IPython had already taken {shown!r} for a request for help; "
                "a script is started with ipython --ext=claude_force_nb"
            )


def _running_source() -> Optional[str]:
    """Return the text of the running cell or script, or None where IPython does not tell it.

    IPython keeps no record of it that holds in kernels, terminals and scripts of all its versions; the function that runs it has it.
    """
    frame: Optional[FrameType] = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name in ("run_cell_async", "_run_cell") and frame.f_globals.get("__name__", "").startswith(
            "IPython."
        ):
            source = frame.f_locals.get("raw_cell")
            return source if isinstance(source, str) else None
        frame = frame.f_back
    return None
