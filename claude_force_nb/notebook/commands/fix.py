"""%claude_fix: asks about the last error of the notebook."""

from __future__ import annotations

from typing import Any, Mapping

from claude_force_nb.notebook.options.line import parse_line
from claude_force_nb.notebook.options.table import LINE_OPTIONS
from claude_force_nb.notebook.session.session import NotebookSession

from .claude import ask
from .reference import Reference, wants_help

__all__ = ["REFERENCE", "fix"]

_PROMPT = "A cell of my notebook failed. What is wrong, and what should the cell be?\n\n{{ last_error }}"
REFERENCE = Reference(
    magic="%claude_fix",
    summary="Asks the agent fixer about the cell that failed last and its traceback; options are those of %%claude.",
    words=(("WORDS", "anything else to say about it", "text"),),
    options=LINE_OPTIONS,
    examples=(
        ("%claude_fix", "what is wrong, and the cell as it should be"),
        ("%claude_fix as=code", "the same, with the code in a new cell below"),
        ("%claude_fix the column was renamed last week", "with a hint"),
    ),
    page="how-to/code-from-answers.md#fix-a-cell-that-failed",
)


async def fix(session: NotebookSession, line: str, local_names: Mapping[str, Any]) -> Any:
    """Ask about the last error; see `ask`.

    Raises
    ------
    PromptError
        If no cell has failed.
    """
    if wants_help(line):
        session.front_end.show(REFERENCE.bundle())
        return None
    invocation = parse_line(line, free_text=True)
    options = line.strip()[: len(line.strip()) - len(invocation.rest)]
    if "agent" not in invocation.options:
        options = f"agent=fixer {options}"
    prompt = f"{_PROMPT}\n\n{invocation.rest}" if invocation.rest else _PROMPT
    return await ask(session, options, prompt, local_names)
