"""Whether the first question of a notebook will be answered from the cache, judged before it is asked."""

from __future__ import annotations

from typing import Any, Mapping

from claude_force_nb.costs.ledger import Ledger, default_ledger_path
from claude_force_nb.notebook.options.settings import folder_of_notebook

from .front_end import FrontEnd

__all__ = ["is_likely_paid"]


def is_likely_paid(shell: Any, environ: Mapping[str, str]) -> bool:
    """Return True if nothing was answered in this notebook so far, and it has no answer file."""
    if any(folder_of_notebook().glob("*.answers.jsonl")):
        return False
    notebook = FrontEnd(shell, environ).notebook_name()
    for local in (False, True):
        ledger = Ledger(default_ledger_path(environ, local=local))
        try:
            if ledger.knows(notebook):
                return False
        finally:
            ledger.close()
    return True
