"""Tab completion on the magics' lines and inside ``{{ }}``, from the same tables as the parsers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence

from claude_force_nb.notebook.options.of_magics import AGENT_OPTIONS, BATCH_OPTIONS, COMPARE_OPTIONS
from claude_force_nb.notebook.options.table import LINE_OPTIONS, OPTIONS, SETTINGS
from claude_force_nb.vocabulary import JOB_ACTIONS, MEMORY_ACTIONS

from .candidates import columns_of, files, sources, values_of
from .claude_magics import ClaudeMagics
from .template_names import names_inside, open_expression

if TYPE_CHECKING:
    from claude_force_nb.notebook.session.session import NotebookSession

__all__ = ["complete"]

# Compiled on first use, to keep loading the extension fast.
_MAGIC = r"(?s)(?:^|=)\s*%{1,2}(claude\w*)\s+(.*)$"
_CELL = r"\s*%%(claude\w*)[ \t]*([^\n]*)\n"
_ANSWER_FILES = (".jsonl",)


@dataclass(frozen=True)
class _Line:
    """A magic's line up to the cursor.

    Attributes
    ----------
    session : NotebookSession
    before : sequence of str
        The complete words.
    word : str
        The word at the cursor.
    name, value : str
        Parts of a word ``name=value``, or of ``--name value``; both "" if the word is neither.
    """

    session: NotebookSession
    before: Sequence[str]
    word: str
    name: str = ""
    value: str = ""

    @classmethod
    def of(cls, session: NotebookSession, text: str) -> _Line:
        word = "" if not text or text[-1].isspace() else text.split()[-1]
        before = text[: len(text) - len(word)].split()
        name, equals, value = word.partition("=")
        if not equals:
            name, value = "", word
            if before and before[-1].startswith("--") and "=" not in before[-1]:
                option = OPTIONS.get(_plain(before[-1]))
                name = _plain(before[-1]) if option is not None and not option.flag else ""
        # IPython splits words at commas, so only the part after the last comma is completed.
        return cls(session, before, word, _plain(name), value.rpartition(",")[2])

    @property
    def is_first(self) -> bool:
        return not self.before

    @property
    def positional(self) -> List[str]:
        """Complete words that are not options."""
        words: List[str] = []
        after_option = False
        for each in self.before:
            is_option = each.startswith("--") or re.match(r"\w+=(?!=)", each) is not None
            if not is_option and not after_option:
                words.append(each)
            option = OPTIONS.get(_plain(each)) if each.startswith("--") and "=" not in each else None
            after_option = option is not None and not option.flag
        return words

    def values(self, *, of_setting: bool = False) -> List[str]:
        """Possible values of the option at the cursor."""
        found = values_of(self.session, self.name, columns_of(self.session, self.positional))
        return [*found, "default"] if of_setting and self.name in SETTINGS else found

    def options(self, names: Sequence[str]) -> List[str]:
        """Options as typed, without those that are on the line already."""
        given = {_plain(each.partition("=")[0]) for each in self.before}
        dashes = "--" if self.word.startswith("-") else ""
        left = [name for name in names if _plain(name) not in given]
        plain = [dashes + name + ("" if dashes else "=") for name in left if not OPTIONS[name].flag]
        return [*plain, *("--" + name for name in left if OPTIONS[name].flag)]


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _words(*words: str) -> Callable[[_Line], List[str]]:
    """Return a function that completes the first word of a line from these words."""
    return lambda line: list(words) if line.is_first else []


def _ask(line: _Line) -> List[str]:
    return line.values() if line.name else line.options(LINE_OPTIONS)


def _compare(line: _Line) -> List[str]:
    return line.values() if line.name else line.options(COMPARE_OPTIONS)


def _batch(line: _Line) -> List[str]:
    if line.name:
        return line.values()
    rows = [] if line.positional or line.word.startswith("-") else sources(line.session, line.word)
    return [*rows, *line.options(BATCH_OPTIONS)]


def _agent(line: _Line) -> List[str]:
    if line.name:
        return line.values()
    return line.session.agents.names() if line.is_first else line.options(AGENT_OPTIONS)


def _agents(line: _Line) -> List[str]:
    return line.session.agents.names() if line.is_first else []


def _memory(line: _Line) -> List[str]:
    if line.is_first:
        return list(MEMORY_ACTIONS)
    return line.session.memory.names() if len(line.before) == 1 else []


def _cache(line: _Line) -> List[str]:
    from claude_force_nb.notebook.commands.cache import ACTIONS

    if line.is_first:
        return list(ACTIONS)
    before = list(line.before)
    return ["local", "shared", "--yes"] if before == ["clear"] else ["--yes"] if before[:1] == ["clear"] else []


def _answers(line: _Line) -> List[str]:
    from claude_force_nb.notebook.commands.answers import ACTIONS

    if line.is_first:
        return list(ACTIONS)
    return files(line.word, _ANSWER_FILES) if len(line.before) == 1 else []


def _jobs(line: _Line) -> List[str]:
    if line.is_first:
        return list(JOB_ACTIONS)
    if len(line.before) != 1 or line.before[0] == "list":
        return []
    return [each.job.id for each in line.session.orchestrator.message_batches.all()]


def _cost(line: _Line) -> List[str]:
    from claude_force_nb.costs.report import GROUPS
    from claude_force_nb.notebook.commands.cost import COST_OPTIONS

    if line.name:
        known: Dict[str, Sequence[str]] = {
            "by": GROUPS,
            "since": ("24h", "7d", "30d"),
            "prune": ("90d", "365d"),
            "export": ("costs.csv",),
            "into": ("costs",),
        }
        return list(known.get(line.name, ()))
    given = {each.partition("=")[0] for each in line.before}
    return [each + "=" for each in COST_OPTIONS if each not in given]


def _config(line: _Line) -> List[str]:
    if line.name == "trust":
        return ["on", "off"]
    if line.name:
        return line.values(of_setting=True)
    settings = [] if line.word.startswith("-") else line.options(tuple(SETTINGS))
    return [*settings, "trust=", "--all", "--save"]


_LINES: Dict[str, Callable[[_Line], List[str]]] = {
    "claude": _ask,
    "claude_fix": _ask,
    "claude_compare": _compare,
    "claude_batch": _batch,
    "claude_agent": _agent,
    "claude_agents": _agents,
    "claude_memory": _memory,
    "claude_cache": _cache,
    "claude_answers": _answers,
    "claude_jobs": _jobs,
    "claude_cost": _cost,
    "claude_config": _config,
    "claude_dashboard": _words("close"),
    "claude_doctor": _words("--online"),
}


def complete(
    magics: ClaudeMagics, text_until_cursor: str, cell_until_cursor: Optional[str] = None
) -> Optional[List[str]]:
    """Return completions for the word at the cursor; None outside our magics, or if any text is allowed.

    Parameters
    ----------
    magics : ClaudeMagics
    text_until_cursor : str
        The line up to the cursor. IPython splits words at ``=``, commas and braces, so only the part after them is completed.
    cell_until_cursor : str, optional
        The cell up to the cursor. Without it only lines that contain a magic are completed.
    """
    match = re.search(_MAGIC, text_until_cursor)
    cell = None if match or cell_until_cursor is None else re.match(_CELL, cell_until_cursor)
    if cell is not None:
        magic, text = cell.group(1), cell_until_cursor[cell.end() :]  # type: ignore[index]
    elif match is not None:
        magic, text = match.groups()
    else:
        return None
    if magic not in _LINES:
        return None
    expression = open_expression(text)
    if expression is not None:
        source = _Line.of(magics.session, cell.group(2) + " ").positional if magic == "claude_batch" and cell else []
        columns = columns_of(magics.session, source)
        return names_inside(magics.session, expression, columns)
    if cell is not None:  # in the prompt itself, which is free text
        return []
    line = _Line.of(magics.session, text)
    if magic == "claude_batch" and re.search(r"[(\[{.]", line.word) and not line.name:
        return None  # a Python expression
    found = _LINES[magic](line)
    if not line.name and line.word.startswith("-") and "--help" not in found:
        found = [*found, "--help"]
    return [item for item in found if item.startswith(line.value)]
