"""%claude_memory: shows or changes the turns of conversations."""

from __future__ import annotations

from typing import List

from claude_force_nb.errors import OptionError
from claude_force_nb.memory.conversations import Memory
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.text_tables import one_line
from claude_force_nb.vocabulary import MEMORY_ACTIONS, counted, did_you_mean

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "memory"]

_EXCERPT = 80


REFERENCE = Reference(
    magic="%claude_memory",
    summary="Shows or changes the conversations that memory= keeps.",
    words=(
        ("show", "the turns; this is the default", "name of a conversation, or nothing for all"),
        ("clear", "forget them", "name, or nothing for all"),
        ("undo", "forget the last turn", "name, or nothing for the last one used"),
    ),
    examples=(("%claude_memory", "every turn"), ("%claude_memory undo", "removes the last question and its answer")),
    page="how-to/conversations.md",
)


def memory(conversations: Memory, line: str) -> Bundle:
    """Run ``%claude_memory show|clear|undo [name]``, and return what to show.

    Raises
    ------
    OptionError
        If a word or conversation is unknown.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    action, *names = line.split() or ["show"]
    if action not in MEMORY_ACTIONS:
        near = did_you_mean(action, MEMORY_ACTIONS)
        raise OptionError(f"%claude_memory takes {', '.join(MEMORY_ACTIONS)}, not {action!r}{near}")
    if len(names) > 1:
        raise OptionError(f"%claude_memory {action} takes one name, not {' '.join(names)}")
    name = names[0] if names else None
    if action == "clear":
        count = conversations.clear(name)
        return line_bundle(f"forgot {counted(count, 'turn')}{' of ' + name if name else ''}")
    if action == "undo":
        where, turn = conversations.undo(name)
        return line_bundle(f"forgot the last turn of {where}: {_excerpt(turn.question)}")
    return _show(conversations, [name] if name else conversations.names())


def _show(conversations: Memory, names: List[str]) -> Bundle:
    if not names:
        return line_bundle("there are no conversations yet; memory=on adds a cell to one")
    rows: List[List[str]] = []
    tokens = 0
    for name in names:
        for number, turn in enumerate(conversations.turns(name), 1):
            tokens += turn.tokens
            texts = (_excerpt(turn.question), _excerpt(turn.answer))
            rows.append([name, str(number), turn.label, turn.agent or "", *texts, f"{turn.tokens:,}"])
    header = ("conversation", "turn", "cell", "agent", "asked", "answered", "tokens")
    return table_bundle(header, rows, footer=f"{counted(len(rows), 'turn')}, about {counted(tokens, 'token')}")


def _excerpt(text: str) -> str:
    line = one_line(text[: 10 * _EXCERPT])
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"
