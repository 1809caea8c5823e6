"""The reference that ``--help`` of a magic shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

from claude_force_nb.notebook.display.bundles import Bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.options.reading import help_rows
from claude_force_nb.text_tables import plain_table, terminal_width
from claude_force_nb.vocabulary import DOCUMENTATION

__all__ = ["Reference", "wants_help"]


def wants_help(line: str) -> bool:
    """Return whether a magic's line asks for help."""
    return "--help" in line.split()


@dataclass(frozen=True)
class Reference:
    """The reference of one magic.

    Attributes
    ----------
    magic : str
        As typed, such as ``%claude_cost``.
    summary : str
        One or two sentences about what it does.
    examples : tuple of (str, str)
        About three examples: what to type, and what it does.
    page : str
        File and heading in docs/.
    options : sequence of str
        Names in the table of options.
    words : tuple of (str, str, str)
        Other words on its line: as typed, meaning, and value.
    """

    magic: str
    summary: str
    examples: Tuple[Tuple[str, str], ...]
    page: str
    options: Sequence[str] = ()
    words: Tuple[Tuple[str, str, str], ...] = ()

    def text(self) -> str:
        """Return the reference as text for ``%%magic?``, examples first."""
        width = max(len(typed) for typed, _ in self.examples)
        examples = [f"    {typed.ljust(width)}  # {meaning}" for typed, meaning in self.examples]
        rows = [*self.words, *help_rows(self.options)]
        table = ["", *plain_table((self.magic, "meaning", "takes"), rows, width=terminal_width())] if rows else []
        return "\n".join([self.summary, "", *examples, *table, "", self.link])

    @property
    def link(self) -> str:
        """URL of the documentation page."""
        return DOCUMENTATION + self.page

    def bundle(self) -> Bundle:
        """Return the reference as a table with examples, and a link to the documentation below."""
        rows = [*self.words, *help_rows(self.options)]
        rows += [("example", meaning, typed) for typed, meaning in self.examples]
        header = (self.magic, "meaning", "takes")
        return table_bundle(header, rows, footer=f"{self.summary} · {self.link}")
