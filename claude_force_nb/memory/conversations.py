"""Conversations: earlier questions and answers, each belonging to the cell that asked. Pure data, nothing on disk.

A turn belongs to its cell. When a cell runs again, the turns before its own are sent, and its new answers replace its
old ones. So a notebook that runs from top to bottom sends the same requests each time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, Union

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.cache_mark import prefix_settings
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.tokens import content_tokens, text_tokens
from claude_force_nb.vocabulary import DEFAULT_CONVERSATION, did_you_mean

__all__ = ["CellRun", "Memory", "Place", "Turn"]

_FENCE_START = '<data name="'

# Answers with these stop reasons are not kept, since they are not answers, or only half of an exchange.
_NEVER_KEPT = {"refusal": "refused", "tool_use": "a tool call", "pause_turn": "paused"}


def _texts(content: Any) -> List[str]:
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, list) else []
    return [str(block.get("text") or "") for block in blocks if isinstance(block, dict)]


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes
    ----------
    asked : str or list of blocks
        Content of the user's message, as it was sent.
    answer : str
        Text of the answer, never empty.
    tokens : int
        Estimated tokens of question and answer together.
    agent : str or None
        Name of the agent that answered.
    label : str
        Display name of the cell.
    settings : mapping
        Settings of the request, see `cache_mark.prefix_settings`.
    """

    asked: Any
    answer: str
    tokens: int
    agent: Optional[str] = None
    label: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def messages(self) -> List[Dict[str, Any]]:
        """The turn as two messages of a request."""
        return [{"role": "user", "content": self.asked}, {"role": "assistant", "content": self.answer}]

    @property
    def fenced(self) -> bool:
        """Whether the question contains fenced data, so that the system prompt must explain fences."""
        return any(_FENCE_START in text for text in _texts(self.asked))

    @property
    def question(self) -> str:
        """The text of the question, with the names of images and documents."""
        if isinstance(self.asked, str):
            return self.asked
        parts = [str(block.get("text") or f"[{block.get('type')}]") for block in self.asked]
        return " ".join(parts)


@dataclass(frozen=True)
class CellRun:
    """One run of one cell.

    Attributes
    ----------
    cell : str
        Id of the cell, the same in each run.
    run : str
        Id of the run, different each time.
    label : str
        Display name of the cell.
    """

    cell: str
    run: str
    label: str = ""


@dataclass(eq=False)
class _Block:
    """One cell's turns in a conversation, in the order of its calls."""

    cell: Optional[str]
    run: int = 0
    turns: Dict[int, Turn] = field(default_factory=dict)
    begun_run: int = 0
    begun: int = 0

    def in_order(self) -> List[Turn]:
        return [self.turns[index] for index in sorted(self.turns)]


class _Conversation:
    def __init__(self) -> None:
        self.blocks: List[_Block] = []

    def turns(self) -> List[Turn]:
        return [turn for block in self.blocks for turn in block.in_order()]

    def block_of(self, cell: Optional[str]) -> Optional[_Block]:
        return next((block for block in self.blocks if cell is not None and block.cell == cell), None)


class Place:
    """The position of one call in a conversation; a context manager around the call.

    Attributes
    ----------
    turns : tuple of Turn
        The turns sent before the call's own question, oldest first.
    left_out : int
        Number of earlier turns that are not sent because of the limit.
    """

    def __init__(
        self, memory: Memory, name: str, conversation: _Conversation, block: _Block, run: int, index: int, label: str
    ) -> None:
        self._memory = memory
        self._name = name
        self._conversation = conversation
        self._block = block
        self._run = run
        self._index = index
        self._label = label
        self._limit_tokens = 0
        self.turns: Tuple[Turn, ...] = ()
        self.left_out = 0

    def _look_back(self, limit_tokens: int) -> None:
        before: List[Turn] = []
        for block in self._conversation.blocks:
            if block is self._block:
                break
            before += block.in_order()
        if self._block.run == self._run:
            before += self._block.in_order()
        kept, total = 0, 0
        for turn in reversed(before):
            total += turn.tokens
            if total > limit_tokens:
                break
            kept += 1
        self._limit_tokens = limit_tokens
        self.left_out = len(before) - kept
        self.turns = tuple(before[self.left_out :])

    def keep(self, request: ClaudeRequest, result: ClaudeResult) -> ClaudeResult:
        """Add an answer to the conversation if it is complete; return it with a notice for its receipt."""
        reason = _NEVER_KEPT.get(result.stop_reason or "", "")
        if result.error is not None:
            reason = "failed"
        elif not result.text.strip():
            reason = reason or "empty"
        if not reason:
            asked = request.body["messages"][-1]["content"]
            tokens = content_tokens(asked) + text_tokens(result.text)
            turn = Turn(asked, result.text, tokens, request.agent, self._label, prefix_settings(request.body))
            reason = self._memory._put(self, turn)
        parts = (result.notice, self._notice(reason), self._read_anew(request, result))
        return replace(result, notice=" · ".join(part for part in parts if part))

    def _read_anew(self, request: ClaudeRequest, result: ClaudeResult) -> str:
        """Return which settings changed since the last turn, if that kept the API's prompt cache from being used; else ""."""
        if not self.turns or result.cached or request.cache_mark is None:
            return ""
        before = self.turns[-1].settings
        changed = [
            name for name, value in prefix_settings(request.body).items() if name in before and before[name] != value
        ]
        return f"{' and '.join(changed)} changed: written to the prompt cache again" if changed else ""

    def _notice(self, reason: str = "") -> str:
        """Return the notice for the receipt: the turn's number, or why it is not kept, and how many turns were left out."""
        if reason:
            notice = f"not in conversation {self._name} ({reason})"
        else:
            notice = f"turn {self.left_out + len(self.turns) + 1} of {self._name}"
        if self.left_out:
            notice += f", without the {self.left_out} oldest (memory_tokens={self._limit_tokens})"
        return notice

    def __str__(self) -> str:
        return self._notice()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self._memory._leave(self)


class Memory:
    """The conversations of one session, by name. Safe for threads and tasks.

    Notes
    -----
    A cell has one position in a conversation, which it gets when it first asks there. When an answer to a newer run of
    the cell arrives, it replaces the cell's turns. Until then, and if the newer run fails, the older turns stay.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._conversations: Dict[str, _Conversation] = {}
        self._runs: Dict[str, Dict[str, int]] = {}
        self._newest: Dict[str, int] = {}
        self._last_used = ""

    def __repr__(self) -> str:
        with self._lock:
            counts = ", ".join(f"{name}: {len(self.turns(name))}" for name in self.names())
        return f"Memory({counts})"

    def names(self) -> List[str]:
        """Return the names of the conversations that have turns, sorted."""
        with self._lock:
            return sorted(name for name, each in self._conversations.items() if each.turns())

    def turns(self, name: str = DEFAULT_CONVERSATION) -> List[Turn]:
        """Return a conversation's turns, oldest first.

        Raises
        ------
        OptionError
            If the conversation does not exist.
        """
        with self._lock:
            conversation = self._conversations.get(name)
            found = conversation.turns() if conversation is not None else []
        if not found:
            raise self._unknown(name)
        return found

    def clear(self, name: Optional[str] = None) -> int:
        """Forget one conversation or all; return the number of turns removed. Answers still in flight are not added later.

        Raises
        ------
        OptionError
            If the conversation does not exist.
        """
        with self._lock:
            if name is not None:
                self.turns(name)
            names = list(self._conversations) if name is None else [name]
            gone = [self._conversations.pop(each, None) for each in names]
            return sum(len(each.turns()) for each in gone if each is not None)

    def undo(self, name: Optional[str] = None) -> Tuple[str, Turn]:
        """Forget the last turn of a conversation, by default the one used last; return its name and the turn.

        Raises
        ------
        OptionError
            If the conversation does not exist, or has nothing to forget.
        """
        with self._lock:
            if name is None:
                there = self.names()
                if not there:
                    raise OptionError("there is nothing to undo: no conversation has a turn")
                name = self._last_used if self._last_used in there else there[-1]
            self.turns(name)
            conversation = self._conversations[name]
            block = [each for each in conversation.blocks if each.turns][-1]
            turn = block.turns.pop(max(block.turns))
            if block.cell is None:
                conversation.blocks.remove(block)
            return name, turn

    def finish(self, cell_run: CellRun) -> None:
        """Note that a cell has finished; if this run asked nothing, forget the turns of its older runs."""
        with self._lock:
            if cell_run.cell not in self._newest:
                return
            run = self._number(cell_run)
            for conversation in self._conversations.values():
                block = conversation.block_of(cell_run.cell)
                if block is not None and block.begun_run < run:
                    block.turns.clear()

    def place(self, name: str, turn: Union[str, CellRun, None], *, limit_tokens: int) -> Place:
        """Reserve the position of a call until the call has ended.

        Parameters
        ----------
        name : str
            Name of the conversation.
        turn : str, CellRun or None
            Identifies the turn: a text stands for a cell that may run again; None is a new turn at the end.
        limit_tokens : int
            Limit in tokens of the earlier turns to send, >= 1; each turn is sent whole or not at all.
        """
        with self._lock:
            cell_run = CellRun(turn, "", turn) if isinstance(turn, str) else turn
            conversation = self._conversations.setdefault(name, _Conversation())
            cell = None if cell_run is None else cell_run.cell
            run = 0 if cell_run is None else self._number(cell_run)
            block = conversation.block_of(cell)
            if block is None:
                block = _Block(cell)
                conversation.blocks.append(block)
            if block.begun_run < run:
                block.begun_run, block.begun = run, 0
            index = block.begun
            block.begun += 1
            place = Place(self, name, conversation, block, run, index, "" if cell_run is None else cell_run.label)
            place._look_back(limit_tokens)
            return place

    def look(self, name: str, turn: Union[str, CellRun, None], *, limit_tokens: int) -> Place:
        """Return the position that `place` would reserve, without reserving it; no answer can be kept there."""
        with self._lock:
            cell = turn.cell if isinstance(turn, CellRun) else turn
            conversation = self._conversations.get(name) or _Conversation()
            block = conversation.block_of(cell) or _Block(cell)
            # A run that has asked before sees its own turns; one that has not starts at the position of its cell.
            run = self._runs.get(turn.cell, {}).get(turn.run, -1) if isinstance(turn, CellRun) else -1
            place = Place(self, name, conversation, block, run, 0, "")
            place._look_back(limit_tokens)
            return place

    def _number(self, cell_run: CellRun) -> int:
        """Return the number of a run of its cell; runs are numbered from 1 in the order in which they began."""
        known = self._runs.setdefault(cell_run.cell, {})
        number = known.get(cell_run.run) if cell_run.run else None
        if number is None:
            number = self._newest[cell_run.cell] = self._newest.get(cell_run.cell, 0) + 1
            if cell_run.run:
                known[cell_run.run] = number
        return number

    def _put(self, place: Place, turn: Turn) -> str:
        """Keep a turn; return why it was not kept, or ""."""
        with self._lock:
            if self._conversations.get(place._name) is not place._conversation:
                return "cleared in the meantime"
            block = place._block
            if block.cell is not None and place._run < self._newest[block.cell]:
                return "the cell was run again in the meantime"
            if block.run != place._run:
                block.run, block.turns = place._run, {}
            block.turns[place._index] = turn
            self._last_used = place._name
            return ""

    def _leave(self, place: Place) -> None:
        with self._lock:
            if place._block.cell is None and not place._block.turns:
                blocks = place._conversation.blocks
                blocks[:] = [block for block in blocks if block is not place._block]

    def _unknown(self, name: str) -> OptionError:
        names = self.names()
        known = f"(known: {', '.join(names)})" if names else "(none are kept)"
        return OptionError(f"there is no conversation {name!r}{did_you_mean(name, names)} {known}")
