"""An answer file as a store of answers."""

from __future__ import annotations

import os
import time
from threading import RLock
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Union

from claude_force_nb.errors import AnswerFileError, AnswerFileWarning, OptionError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.storage.regular_file import own_target
from claude_force_nb.storage.user_folders import absolute_path
from claude_force_nb.vocabulary import ANSWER_REDACTIONS, is_positive, shown_value
from claude_force_nb.warn import warn

from .disk import alone_in_folder, file_state, read_lines, write_whole
from .keys import AnswerKeys, find_keys
from .lines import (
    CHANGED_AFTER_SIGNING,
    AnswerLine,
    KnownAnswer,
    LineFault,
    describe_faults,
    header,
    join_lines,
    make_line,
    package_version,
)
from .misses import Misses

__all__ = ["AnswerFile"]

# Saving while answers arrive takes at most one part in this many of the time.
_SAVE_SHARE = 20


class AnswerFile:
    """Answers in a file beside a notebook, safe for several threads. Each line is checked separately; invalid ones are ignored.

    Nothing is read before the first use. To save, a new file is written that replaces the old one; answers that another
    kernel has written meanwhile are kept.

    Parameters
    ----------
    path : str or path
        By convention ``NAME.answers.jsonl`` beside ``NAME.ipynb``. ``~`` is expanded; a relative path is resolved now.
    redact : str
        ``none``, or ``prompts`` to write only fingerprints and answers. A miss can then not say what differs.
    max_age_days : float, optional
        Ignore answers older than this, > 0; by default no answer is too old.
    secret : str or bytes, optional
        Signs new lines. The default is the same as for the cache, except that no key is created: without a secret,
        lines are unsigned.
    environ : mapping
        Environment variables.
    clock : callable
        Seconds since 1970 UTC.

    Raises
    ------
    OptionError
        If `redact` or `max_age_days` is not valid.

    Warns
    -----
    AnswerFileWarning
        If the file is read and contains invalid lines, which are named by number; or if it cannot be written while
        answers arrive.

    Notes
    -----
    A line that is unsigned, or signed with somebody else's secret, is valid: it is as trustworthy as the rest of the
    repository or folder that the file came with.
    """

    def __init__(
        self,
        path: Union[str, os.PathLike[str]],
        *,
        redact: str = "none",
        max_age_days: Optional[float] = None,
        secret: Union[str, bytes, None] = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if redact not in ANSWER_REDACTIONS:
            raise OptionError(f"redact must be one of {', '.join(ANSWER_REDACTIONS)}, not {shown_value(redact)}")
        if max_age_days is not None and not is_positive(max_age_days):
            raise OptionError(
                f"max_age_days must be greater than 0, or None for no limit, not {shown_value(max_age_days)}"
            )
        absolute = absolute_path(path)
        if absolute is None:
            raise AnswerFileError(
                f"answer file {os.fspath(path)!r} cannot be used: there is no such folder; name another place for it"
            )
        self.path = str(absolute)
        self.name = os.path.basename(self.path)
        self._redact = redact == "prompts"
        self._max_age_seconds = None if max_age_days is None else max_age_days * 86_400.0
        self._secret = secret
        self._environ = environ
        self._clock = clock
        self._lock = RLock()
        self._loaded = False
        self._keys = AnswerKeys()
        self._header = b""
        self._lines: Dict[str, AnswerLine] = {}
        # Ignored here, but kept in the file: other notebooks may still accept these answers.
        self._expired: Dict[str, AnswerLine] = {}
        self._known: Dict[str, KnownAnswer] = {}
        self._faults: List[LineFault] = []
        self._used: Set[str] = set()
        self._removed: Set[str] = set()
        self._on_disk: Any = None
        self._changed = False
        self.misses = Misses()
        self._saved_at, self._save_seconds = float("-inf"), 0.0

    def __repr__(self) -> str:
        return f"AnswerFile({self.path!r})"

    def __len__(self) -> int:
        with self._opened():
            return len(self._lines)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, fingerprint: object) -> bool:
        with self._opened():
            return fingerprint in self._lines

    # ------------------------------------------------------------------ reading

    @property
    def faults(self) -> List[LineFault]:
        """The invalid lines of the file, with the reasons."""
        with self._opened():
            for line in list(self._lines.values()):
                self._has_right_signature(line)
            return list(self._faults)

    @property
    def unsigned(self) -> int:
        """Number of answers not signed with one of the user's keys."""
        with self._opened():
            return sum(not line.signed for line in self._lines.values())

    @property
    def unused(self) -> List[str]:
        """Fingerprints of answers that were neither used nor recorded since the file was opened."""
        with self._opened():
            return sorted(set(self._lines) - self._used)

    @property
    def changed(self) -> bool:
        """Whether there are changes that are not on disk yet."""
        return self._changed

    def exists(self) -> bool:
        """Return whether the file exists."""
        return os.path.lexists(self.path)

    def load(self) -> None:
        """Read the file now, unless it was already read; a missing file counts as empty.

        Raises
        ------
        AnswerFileError
            If it cannot be read, or is not an answer file.
        """
        with self._opened():
            pass

    def get(self, request: ClaudeRequest) -> Optional[ClaudeResult]:
        """Return the answer to a request, like a cached one; None if the file does not have it."""
        fingerprint = request.fingerprint
        with self._opened():
            known = self.entry(fingerprint)
            if known is None:
                return None
            self._used.add(fingerprint)
        return known.result.changed(age_seconds=max(0.0, self._clock() - known.created), recorded=True)

    def entry(self, fingerprint: str) -> Optional[KnownAnswer]:
        """Return the decoded entry of a fingerprint, or None if it is missing. This does not count as a use."""
        with self._opened():
            known = self._known.get(fingerprint)
            if known is not None:
                return known
            line = self._lines.get(fingerprint)
            if line is None or not self._has_right_signature(line):
                return None
            try:
                known = self._known[fingerprint] = line.decode()
            except ValueError as error:
                self._refuse(line, str(error))
                return None
            return known

    def fingerprints(self) -> List[str]:
        """Return the fingerprints of all answers, sorted."""
        with self._opened():
            return sorted(self._lines)

    def line(self, fingerprint: str) -> Optional[AnswerLine]:
        """Return the line of a fingerprint; None if it is missing."""
        with self._opened():
            return self._lines.get(fingerprint)

    def describe_miss(self, request: ClaudeRequest) -> str:
        """Return in one line how a request differs from the most similar one in the file; "" if unknown."""
        with self._opened():
            entries = (self.entry(fingerprint) for fingerprint in list(self._lines))
            return self.misses.describe(request, entries)

    # ------------------------------------------------------------------ writing

    def put(self, request: ClaudeRequest, result: ClaudeResult, *, replace: bool = False) -> bool:
        """Add an answer; return whether it is new. The next `save`, which may happen at once, writes it to disk.

        Parameters
        ----------
        request : ClaudeRequest
        result : ClaudeResult
            An answer, complete or not; failures are ignored.
        replace : bool
            Whether to replace an earlier answer to the same request.
        """
        fingerprint = request.fingerprint
        with self._opened():
            replace = replace or self._lacks_prompt(fingerprint)
            return self._take(fingerprint, result, request.agent, None if self._redact else request, replace=replace)

    def put_unasked(self, result: ClaudeResult) -> bool:
        """Add an answer whose request is unknown, except for its fingerprint; return whether it is new.

        A later `put` adds the request.
        """
        with self._opened():
            return self._take(result.fingerprint, result, result.agent, None, replace=False)

    def _lacks_prompt(self, fingerprint: str) -> bool:
        """Return whether the line of a fingerprint has no request although this file should contain requests."""
        known = None if self._redact or fingerprint not in self._lines else self.entry(fingerprint)
        return known is not None and known.request is None

    def _take(
        self,
        fingerprint: str,
        result: ClaudeResult,
        agent: Optional[str],
        request: Optional[ClaudeRequest],
        *,
        replace: bool,
    ) -> bool:
        if not result.answered or result.error is not None:
            return False
        self._used.add(fingerprint)
        if fingerprint in self._lines and not replace:
            return False
        created = max(0.0, self._clock() - result.age_seconds)
        if not self._keys:  # the cache may have created a new user's key meanwhile
            self._keys = find_keys(self._secret, self._environ)
        try:
            line = make_line(fingerprint, result, agent=agent, request=request, created=created, keys=self._keys)
        except (TypeError, ValueError):
            warn(f"{self.name}: an answer cannot be written as JSON and was not recorded", AnswerFileWarning)
            return False
        self._lines[fingerprint] = line
        self._known.pop(fingerprint, None)
        self._removed.discard(fingerprint)
        self._changed = True
        self._save_if_due()
        return True

    def prune(self) -> int:
        """Remove the answers not used since the file was opened, and expired ones; save, and return how many were removed.

        Raises
        ------
        AnswerFileError
            See `save`.
        """
        with self._opened():
            unused = {*self.unused, *self._expired} - self._used
            for fingerprint in unused:
                self._remove(fingerprint)
            self._expired.clear()
            self._removed.update(unused)
            self._changed = self._changed or bool(unused)
            self.save()
        return len(unused)

    def save(self) -> bool:
        """Write the file if there are changes or no file yet; return whether it was written. Invalid lines are dropped.

        Raises
        ------
        AnswerFileError
            If the file cannot be written, or contains an unresolved git merge conflict.
        """
        with self._opened():
            if not self._changed and self.exists():
                return False
            started = time.monotonic()
            try:
                target = own_target(self.path)
                with alone_in_folder(target):
                    self._write(target)
            except OSError as error:
                raise AnswerFileError(f"{self.path} cannot be written: {error.strerror or error}") from None
            self._changed = False
            self._removed.clear()
            self._saved_at = time.monotonic()
            self._save_seconds = self._saved_at - started
            return True

    def flush(self) -> None:
        """Do the same as `save`, but warn on failure instead of raising."""
        try:
            self.save()
        except AnswerFileError as error:
            warn(f"{error}; answers are not recorded", AnswerFileWarning)

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= _SAVE_SHARE * self._save_seconds:
            self.flush()

    def _write(self, target: str) -> None:
        if file_state(self.path) != self._on_disk:
            self._merge_lines_on_disk()
        if any("conflict marker" in fault.reason for fault in self._faults):
            raise AnswerFileError(f"{self.name}: {self._faults[0]}; nothing was written")
        data = join_lines(self._header or header(package_version()), {**self._expired, **self._lines})
        write_whole(target, data)
        self._on_disk = file_state(self.path)
        self._faults = []

    def _merge_lines_on_disk(self) -> None:
        first, lines, faults = read_lines(self.path, self._keys)
        self._header = first or self._header
        self._faults = faults
        for line in lines:
            if line.fingerprint not in self._removed:
                self._lines.setdefault(line.fingerprint, line)
        self._refuse_old()

    # ------------------------------------------------------------------ the file

    def _opened(self) -> RLock:
        """Return the lock, to hold while using the content; read the file on first use."""
        if not self._loaded:
            with self._lock:
                if not self._loaded:
                    self._load()
        return self._lock

    def _load(self) -> None:
        self._keys = find_keys(self._secret, self._environ)
        self._on_disk = file_state(self.path)
        self._header, lines, self._faults = read_lines(self.path, self._keys)
        self._lines = {line.fingerprint: line for line in lines}
        self._loaded = True
        self._refuse_old()
        serious = [fault for fault in self._faults if not fault.harmless]
        if serious:
            warn(f"{self.name}: {describe_faults(serious)}", AnswerFileWarning)

    def _refuse_old(self) -> None:
        if self._max_age_seconds is None:
            return
        oldest = self._clock() - self._max_age_seconds
        for line in list(self._lines.values()):
            known = self.entry(line.fingerprint)
            if known is not None and known.created < oldest:
                self._expired[line.fingerprint] = line
                self._refuse(line, "is expired")

    def _has_right_signature(self, line: AnswerLine) -> bool:
        """Check a signature that has not been checked yet; refuse the line if it is wrong."""
        if line.unchecked is None:
            return True
        if self._keys.check(*line.unchecked) is not True:
            self._refuse(line, CHANGED_AFTER_SIGNING)
            warn(f"{self.name}: {describe_faults(self._faults[-1:])}", AnswerFileWarning)
            return False
        self._lines[line.fingerprint] = line._replace(unchecked=None)
        return True

    def _refuse(self, line: AnswerLine, reason: str) -> None:
        self._remove(line.fingerprint)
        self._faults.append(LineFault(line.number, reason))

    def _remove(self, fingerprint: str) -> None:
        self._lines.pop(fingerprint, None)
        self._known.pop(fingerprint, None)
