"""%claude_memory: what the conversations hold."""

from __future__ import annotations

from typing import Dict, List

from claude_force_nb.errors import OptionError
from claude_force_nb.memory.conversations import Memory
from claude_force_nb.notebook.display.render import line_bundle, table_bundle
from claude_force_nb.vocabulary import MEMORY_ACTIONS, did_you_mean

__all__ = ["memory_view"]

_EXCERPT = 80


def memory_view(memory: Memory, line: str) -> Dict[str, str]:
    """Do what ``%claude_memory show|clear|undo [name]`` says, and return what to show.

    Raises
    ------
    OptionError
        On another word, or where there is no such conversation.
    """
    action, *names = line.split() or ["show"]
    if action not in MEMORY_ACTIONS:
        near = did_you_mean(action, MEMORY_ACTIONS)
        raise OptionError("%claude_memory knows {}, not {!r}{}".format(", ".join(MEMORY_ACTIONS), action, near))
    if len(names) > 1:
        raise OptionError("%claude_memory {} takes one name, not {}".format(action, " ".join(names)))
    name = names[0] if names else None
    if action == "clear":
        count = memory.clear(name)
        return line_bundle("{} forgotten{}".format(_turns(count), " of " + name if name else ""))
    if action == "undo":
        where, turn = memory.undo(name)
        return line_bundle(f"forgotten, the last turn of {where}: {_excerpt(turn.question)}")
    shown = [name] if name else memory.names()
    if not shown:
        return line_bundle("no conversation is kept; memory=on makes a cell a turn of one")
    rows: List[List[str]] = []
    tokens = 0
    for each in shown:
        for number, turn in enumerate(memory.turns(each), 1):
            tokens += turn.tokens
            texts = (_excerpt(turn.question), _excerpt(turn.answer))
            rows.append([each, str(number), turn.label, turn.agent or "", *texts, f"{turn.tokens:,}"])
    header = ("conversation", "turn", "cell", "agent", "asked", "answered", "tokens")
    return table_bundle(header, rows, footer=f"{_turns(len(rows))}, about {tokens:,} tokens")


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"


def _excerpt(text: str) -> str:
    line = " ".join(text[: 10 * _EXCERPT].split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"
