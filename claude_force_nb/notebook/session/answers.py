"""The answer file of a session, and the answers received before it was opened."""

from __future__ import annotations

from collections import OrderedDict
from typing import List, Optional, Set, Tuple

from claude_force_nb.answers import AnswerFile
from claude_force_nb.calls.events import Event
from claude_force_nb.errors import AnswerFileWarning
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.warn import warn

__all__ = ["SessionAnswers", "trust_line"]

# Number of answers that are remembered, so that a file opened later can include them.
_MOST_REMEMBERED = 1000


def trust_line(unsigned: int) -> str:
    """Return the notice about answers that are not signed with any of the user's keys."""
    return f"{unsigned:,} of its answers are not signed by you: trust them only as much as you trust the file's source"


class SessionAnswers:
    """Opens the answer file once, and remembers the latest answers."""

    def __init__(self) -> None:
        self._file: Optional[AnswerFile] = None
        self._given: Tuple[str, str, Optional[float]] = ("", "none", None)
        self._said: Set[str] = set()
        self._remembered: OrderedDict[str, Tuple[ClaudeRequest, ClaudeResult]] = OrderedDict()

    def file(self, path: str, *, redact: str = "none", max_age_days: Optional[float] = None) -> AnswerFile:
        """Return the answer file; the same path means the same file, even if the working directory changes meanwhile."""
        given = (path, redact, max_age_days)
        if self._file is None or given != self._given:
            self.flush()
            self._file, self._given = AnswerFile(path, redact=redact, max_age_days=max_age_days), given
        return self._file

    def say_unsigned(self, named_by: str) -> None:
        """Notify the user once about unsigned answers in a file that a setting names, and not a cell."""
        file = self._file
        if file is None or file.path in self._said or not file.exists():
            return
        self._said.add(file.path)
        count = file.unsigned
        if count and named_by != "%claude_config":
            line = f"{file.name}, named by {named_by}: {trust_line(count)}"
            warn(line, AnswerFileWarning)

    def follow(self, orchestrator: AsyncAgentOrchestrator) -> None:
        """Remember the answers of another orchestrator."""
        orchestrator.add_listener(self._note)

    def _note(self, event: Event) -> None:
        if event.result is None or not isinstance(event.request, ClaudeRequest):
            return
        remembered = self._remembered
        remembered[event.fingerprint] = event.request, event.result
        if len(remembered) > _MOST_REMEMBERED:
            remembered.popitem(last=False)

    def record_remembered(self, file: AnswerFile) -> None:
        """Add the remembered answers of this session to a file."""
        for request, result in list(self._remembered.values()):
            file.put(request, result)

    def unused(self) -> List[str]:
        """Return the fingerprints of the file's answers that have not been used."""
        return [] if self._file is None else self._file.unused

    @property
    def missed(self) -> int:
        """Number of requests that a frozen file could not answer."""
        return 0 if self._file is None else self._file.misses.count

    @property
    def misses(self) -> List[str]:
        """Messages about the first of these requests."""
        return [] if self._file is None else list(self._file.misses.lines)

    def flush(self) -> None:
        """Write pending answers to the file."""
        if self._file is not None and self._file.changed:
            self._file.flush()
