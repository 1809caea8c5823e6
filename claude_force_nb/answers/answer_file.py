"""AnswerFile: an answer file as a store."""

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
from claude_force_nb.vocabulary import ANSWER_REDACTIONS, is_positive
from claude_force_nb.warn import warn

from .disk import file_state, read_lines, write_whole
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

# Writing the file takes at most one part in so many of the time.
_SAVE_SHARE = 20


class AnswerFile:
    """Answers in a file beside a notebook. Safe to use from several threads. Each line is checked separately, and one that fails is ignored.

    Nothing is read before the first use. The file is written as a whole, into a new file that takes its place; what another kernel
    wrote into it meanwhile stays.

    Parameters
    ----------
    path : str or path
        By convention ``NAME.answers.jsonl`` beside ``NAME.ipynb``. ``~`` is expanded; a relative one is of the working directory of
        this moment.
    redact : str
        ``none``, or ``prompts`` to write fingerprints and answers only; a miss can then not say what differs.
    max_age_days : float, optional
        Age from which an answer does not count, over 0; without it none is too old.
    secret : str or bytes, optional
        Signs what is written; by default as for the cache, but no key is made for it: without a secret lines are unsigned.
    environ : mapping
        Environment.
    clock : callable
        Seconds since 1970 UTC.

    Raises
    ------
    OptionError
        If `redact` or `max_age_days` cannot be used.

    Warns
    -----
    AnswerFileWarning
        When the file is read, if lines do not count; it names them by number. When it cannot be written while answers arrive.

    Notes
    -----
    A line without signature, or signed by somebody else's secret, counts: it is as trustworthy as what the file came with.
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
            raise OptionError(f"redact must be one of {', '.join(ANSWER_REDACTIONS)}, not {redact!r}")
        if max_age_days is not None and not is_positive(max_age_days):
            raise OptionError(f"max_age_days must be greater than 0, or None for no limit, not {max_age_days!r}")
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
        """Why lines of the file do not count, by number."""
        with self._opened():
            for line in list(self._lines.values()):
                self._has_right_signature(line)
            return list(self._faults)

    @property
    def unsigned(self) -> int:
        """How many answers carry no signature of one of the user's keys."""
        with self._opened():
            return sum(not line.signed for line in self._lines.values())

    @property
    def unused(self) -> List[str]:
        """Fingerprints of answers that nobody has asked for or recorded since the file was opened."""
        with self._opened():
            return sorted(set(self._lines) - self._used)

    @property
    def changed(self) -> bool:
        """Whether some answers are not on disk yet."""
        return self._changed

    def exists(self) -> bool:
        """Return whether there is a file."""
        return os.path.lexists(self.path)

    def load(self) -> None:
        """Read the file now, if it was not read yet; a missing one is empty.

        Raises
        ------
        AnswerFileError
            If it cannot be read, or is not an answer file.
        """
        with self._opened():
            pass

    def get(self, request: ClaudeRequest) -> Optional[ClaudeResult]:
        """Return the answer to a request, as from a cache; None if the file has none."""
        fingerprint = request.fingerprint
        with self._opened():
            known = self.entry(fingerprint)
            if known is None:
                return None
            self._used.add(fingerprint)
        return known.result.changed(age_seconds=max(0.0, self._clock() - known.created), recorded=True)

    def entry(self, fingerprint: str) -> Optional[KnownAnswer]:
        """Return the entry of a fingerprint, decoded once, or None if it is missing. Does not count as a use."""
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
        """Return the line of a fingerprint."""
        with self._opened():
            return self._lines.get(fingerprint)

    def describe_miss(self, request: ClaudeRequest) -> str:
        """Return how a request differs from the nearest one in the file, in one line; "" if that cannot be told."""
        with self._opened():
            entries = (self.entry(fingerprint) for fingerprint in list(self._lines))
            return self.misses.describe(request, entries)

    # ------------------------------------------------------------------ writing

    def put(self, request: ClaudeRequest, result: ClaudeResult, *, replace: bool = False) -> bool:
        """Take an answer in; return whether it is new. It is on disk after the next `save`, which may be at once.

        Parameters
        ----------
        request : ClaudeRequest
        result : ClaudeResult
            An answer, complete or not; a failed one is passed over.
        replace : bool
            True if it takes the place of an earlier answer to the same request.
        """
        fingerprint = request.fingerprint
        with self._opened():
            replace = replace or self._lacks_prompt(fingerprint)
            return self._take(fingerprint, result, request.agent, None if self._redact else request, replace=replace)

    def put_unasked(self, result: ClaudeResult) -> bool:
        """Add an answer of which only the fingerprint is known; return whether it is new. A later `put` adds the request."""
        with self._opened():
            return self._take(result.fingerprint, result, result.agent, None, replace=False)

    def _lacks_prompt(self, fingerprint: str) -> bool:
        """Return whether the line of a fingerprint lacks its request although the file is to contain requests."""
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
        if not self._keys:  # the cache of a new user has made its key since
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
        """Remove the answers that nobody has used since the file was opened, and save; return how many they were.

        Raises
        ------
        AnswerFileError
            See `save`.
        """
        with self._opened():
            unused = self.unused
            for fingerprint in unused:
                self._remove(fingerprint)
            self._removed.update(unused)
            self._changed = self._changed or bool(unused)
            self.save()
        return len(unused)

    def save(self) -> bool:
        """Write the file if there is anything new, or no file; return whether it was written. Lines that did not count are not written again.

        Raises
        ------
        AnswerFileError
            If it cannot be written, or holds a merge of git that is not resolved.
        """
        with self._opened():
            if not self._changed and self.exists():
                return False
            started = time.monotonic()
            try:
                self._write()
            except OSError as error:
                raise AnswerFileError(f"{self.path} cannot be written: {error.strerror or error}") from None
            self._changed = False
            self._removed.clear()
            self._saved_at = time.monotonic()
            self._save_seconds = self._saved_at - started
            return True

    def flush(self) -> None:
        """Do what `save` does; if it fails, warn."""
        try:
            self.save()
        except AnswerFileError as error:
            warn(f"{error}; answers are not recorded", AnswerFileWarning)

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= _SAVE_SHARE * self._save_seconds:
            self.flush()

    def _write(self) -> None:
        target = own_target(self.path)
        if file_state(self.path) != self._on_disk:
            self._take_in_what_others_wrote()
        if any("conflict marker" in fault.reason for fault in self._faults):
            raise AnswerFileError(f"{self.name}: {self._faults[0]}; nothing was written")
        data = join_lines(self._header or header(package_version()), self._lines)
        write_whole(target, data)
        self._on_disk = file_state(self.path)
        self._faults = []

    def _take_in_what_others_wrote(self) -> None:
        first, lines, faults = read_lines(self.path, self._keys)
        self._header = first or self._header
        self._faults = faults
        for line in lines:
            if line.fingerprint not in self._removed:
                self._lines.setdefault(line.fingerprint, line)

    # ------------------------------------------------------------------ the file

    def _opened(self) -> RLock:
        """Return the lock, to be held while what was read is used; the first use reads the file."""
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
                self._refuse(line, "is expired")

    def _has_right_signature(self, line: AnswerLine) -> bool:
        """Check a signature that was not checked yet; refuse the line where it is wrong."""
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
