"""The interface of answer files for calls: look up an answer, and record a new one."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Iterator, Mapping, Optional, Union

from claude_force_nb.errors import AnswerFileError, AnswerMissError, OptionError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.text_tables import one_line
from claude_force_nb.vocabulary import ANSWER_MODES, did_you_mean

from .answer_file import AnswerFile

__all__ = ["RecordedAnswers", "asking_from", "open_answers"]

# Requests of message batches, whose answers come later, are remembered so that their lines can contain them.
_MOST_EXPECTED = 100_000

# Tasks inherit it from where they were created, so even the rows of a run in the background know the cell that started
# it.
_asking_from: ContextVar[str] = ContextVar("asking_from", default="")


@contextmanager
def asking_from(place: str) -> Iterator[None]:
    """Set where requests come from, such as ``cell [7]``; the description of a miss begins with it."""
    token = _asking_from.set(place)
    try:
        yield
    finally:
        _asking_from.reset(token)


class RecordedAnswers:
    """An answer file in one of its modes.

    Parameters
    ----------
    file : AnswerFile
    mode : str
        ``use`` (the file, then the cache, then a call), ``record`` (the same, and every answer is recorded in the file)
        or ``frozen`` (only the file).

    Raises
    ------
    OptionError
        If the mode is unknown.
    AnswerFileError
        If the file does not exist and the mode is not ``record``.
    """

    def __init__(self, file: AnswerFile, mode: str = "use") -> None:
        if mode not in ANSWER_MODES:
            near = did_you_mean(str(mode), ANSWER_MODES)
            raise OptionError(f"answers_mode must be one of {', '.join(ANSWER_MODES)}, not {mode!r}{near}")
        if mode != "record" and not file.exists():
            raise AnswerFileError(f"answer file {file.path} not found; record one with %claude_answers record")
        file.load()
        self.file = file
        self.mode = mode
        self._expected: OrderedDict[str, ClaudeRequest] = OrderedDict()

    def __repr__(self) -> str:
        return f"RecordedAnswers({self.file!r}, {self.mode!r})"

    @property
    def frozen(self) -> bool:
        """Whether only the file may answer."""
        return self.mode == "frozen"

    @property
    def recording(self) -> bool:
        """Whether answers are recorded in the file."""
        return self.mode == "record"

    def find(self, request: ClaudeRequest, *, reads_cache: bool) -> Optional[ClaudeResult]:
        """Return the file's answer; None if it has none and the call may continue.

        Parameters
        ----------
        request : ClaudeRequest
        reads_cache : bool
            False for ``cache=off`` and ``cache=refresh``, which ask again if the mode allows it.

        Raises
        ------
        AnswerMissError
            In ``frozen`` mode, if the file does not have the answer.
        """
        found = self.file.get(request) if reads_cache or self.frozen else None
        if found is None and self.frozen:
            raise AnswerMissError(self._miss(request))
        return found

    def answers(self, request: ClaudeRequest, *, reads_cache: bool) -> bool:
        """Return whether `find` would return an answer, without counting that as a use."""
        return (reads_cache or self.frozen) and request.fingerprint in self.file

    def _miss(self, request: ClaudeRequest) -> str:
        who = f"{request.agent} ({request.model})" if request.agent else request.model
        nearest = self.file.describe_miss(request)
        said = f"; {nearest}" if nearest else ""
        place = _asking_from.get()
        place = f"{place}: " if place else ""
        line = f"{place}{self.file.name} has no answer to this prompt to {who}{said}; record it, or run unfrozen"
        self.file.misses.note(one_line(line))
        return one_line(line)

    def expect(self, request: ClaudeRequest) -> None:
        """Remember a request whose answer will arrive later, identified only by its fingerprint."""
        if self.recording:
            self._expected[request.fingerprint] = request
            if len(self._expected) > _MOST_EXPECTED:
                self._expected.popitem(last=False)

    def keep_expected(self, result: ClaudeResult) -> bool:
        """In ``record`` mode, record the answer to a request of `expect`; return whether the file has the answer."""
        request = self._expected.pop(result.fingerprint, None)
        if request is not None:
            self.keep(request, result, replace=True)
        return self.recording and result.fingerprint in self.file

    def keep_unasked(self, result: ClaudeResult) -> None:
        """Record an answer to a request made elsewhere; if the request is unknown, a later call of `keep` adds it."""
        if self.recording and not self.keep_expected(result):
            self.file.put_unasked(result)

    def keep(self, request: ClaudeRequest, result: ClaudeResult, *, replace: bool) -> bool:
        """In ``record`` mode, record an answer; return whether the file has it. See `AnswerFile.put`."""
        if not self.recording:
            return False
        self.file.put(request, result, replace=replace)
        return request.fingerprint in self.file


def open_answers(
    answers: Union[AnswerFile, str, os.PathLike[str], None], mode: str, environ: Mapping[str, str]
) -> Optional[RecordedAnswers]:
    """Return an answer file in a mode, opening it if only its path is given; None if there is none.

    Raises
    ------
    OptionError or AnswerFileError
        See `RecordedAnswers` and `AnswerFile.load`. Also if a mode is set without a file, since ``frozen`` would then
        call the API.
    """
    if answers is None:
        if mode != "use":
            raise OptionError(f"answers_mode={mode} needs an answer file; nothing was sent")
        return None
    file = answers if isinstance(answers, AnswerFile) else AnswerFile(answers, environ=environ)
    return RecordedAnswers(file, mode)
