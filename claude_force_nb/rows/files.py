"""Answers written to a file row by row, so that memory does not grow with the source and a stopped run can continue.

A .jsonl file is written as the rows end. Lines are never changed: a later answer to the same row is appended, and the last
line of a row counts. When all rows have ended, the file is sorted by row. A Parquet file cannot be written that way: its
rows are collected in a .jsonl file beside it, which is converted at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from array import array
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, BinaryIO, Callable, Dict, Iterator, Mapping, Optional, Union

from claude_force_nb.errors import SourceError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.prompts.plain import json_data
from claude_force_nb.storage.file_lock import try_lock
from claude_force_nb.storage.regular_file import open_for_appending, open_regular, own_target, replace_file
from claude_force_nb.vocabulary import counted

from .answer_columns import FRAME_COLUMNS, answer_columns
from .column_names import free_names
from .feed import BrokenRow
from .parquet import ParquetTypeError, parquet_records, write_parquet
from .row_signatures import SIGNATURE, RowSignatures
from .sources import Source

__all__ = ["FILE_COLUMNS", "RowFile"]

# The columns of a file in addition to those of the source and of a schema.
FILE_COLUMNS = ("row", *FRAME_COLUMNS, "fingerprint", SIGNATURE)

_ANSWERED = ("ok", "cached")
# Hexadecimal digits of a fingerprint that are kept. The probability that two of a million prompts share them is below 1e-7.
_DIGITS = 16
# Every line begins with this. An incomplete last line that does not was not left by a killed run of ours.
_HEAD = b'{"row": '
# Request id of a result whose answer is already in the file.
_IN_FILE = "in the file"
# Unicode line ends: readers such as str.splitlines break a line at them, although JSON need not escape them.
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
# A row's number may exceed its offset in the file by this much, since the rows of message batches end in any order.
_MOST_AHEAD = 1_000_000
# Far more than a request with its answer needs. Bounds the memory that a file without line ends can take.
_MOST_LINE_BYTES = 256_000_000
_STATUSES = ("ok", "cached", "cut_off", "refused", "failed", "stopped", "not_sent")


def _key(fingerprint: str) -> int:
    return int(fingerprint[:_DIGITS], 16)


def _put(places: array[int], row: int, offset: int) -> None:
    if row >= len(places):
        places.extend([-1] * (row + 1 - len(places)))
    places[row] = offset


def _line(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of JSON, with all Unicode line ends escaped."""
    text = json.dumps(record, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)
    return (text.translate(_LINE_ENDS) + "\n").encode("utf-8")


def _lock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed; return False if another run, of this process or another, holds the lock."""
    try:
        return try_lock(file.fileno(), shared_by_process=False)
    except OSError:  # file systems other than local disks may not support locks
        return True


class _GivenUp(Exception):
    """Raised in the thread that reads or sorts a file when the run was cancelled."""


class RowFile:
    """A file of answers, one line for each row: `open` it, call it for each row that ends, `finish` it, `close` it.

    Reading and sorting a file of a million rows takes a while, so a thread does it, which stops on cancellation.

    Parameters
    ----------
    path : path
        Ends in .jsonl or .parquet. A file that an earlier run wrote is continued.
    source : Source
        The rows, whose columns are written too.
    more : callable, optional
        Returns further columns of a result; see `BatchResult`.
    signatures : RowSignatures, optional
        Signs and checks rows for the user. Without it rows are not signed, and existing ones are reused only if `trusted`.
    trusted : bool
        True if answers in the file may be reused without a signature. They are signed then.

    Raises
    ------
    SourceError
        If the rows come from this very file, or if it is to be Parquet and pyarrow is not installed.
    """

    def __init__(
        self,
        path: Union[str, os.PathLike[str]],
        source: Source,
        more: Optional[Callable[[ClaudeResult], Mapping[str, Any]]] = None,
        *,
        signatures: Optional[RowSignatures] = None,
        trusted: bool = False,
    ) -> None:
        self.path = Path(os.path.expanduser(path))
        self._source = source
        self._more = more
        self._is_parquet = self.path.suffix.lower() == ".parquet"
        if self._is_parquet and find_spec("pyarrow") is None:
            raise SourceError(f"writing {self.path.name} needs pyarrow: pip install pyarrow; or write to a .jsonl file")
        self._log = self._log_of(self.path)
        written = (os.path.realpath(str(each)) for each in (self.path, self._log) if os.path.exists(str(each)))
        if source.path is not None and os.path.realpath(str(source.path)) in written:
            raise SourceError(
                f"{path} is where the rows come from, so their answers cannot be written there; give another name"
            )
        self._signatures = signatures or RowSignatures()
        self._trusted = trusted
        # By the beginning of the fingerprint: offset of the line with the answer, and row number of lines without our signature.
        self._known: Dict[int, int] = {}
        self._unsigned: Dict[int, int] = {}
        self._known_rows = array("q")
        # Row number -> offset of this run's line; -1 until there is one.
        self._offsets = array("q")
        self._in_order = True
        self._file: Optional[BinaryIO] = None
        self._end = 0
        # Lines in the file, and how many of them this run uses.
        self._lines_in_file = self._lines_used = 0
        self._parts = tuple(more(ClaudeResult())) if more is not None else ()
        self._own = {*self._parts, *FILE_COLUMNS}
        self._given_up = False

    def _log_of(self, path: Path) -> Path:
        return path.with_name(path.name + ".part.jsonl") if self._is_parquet else path

    async def open(self) -> None:
        """Open the file for appending to what an earlier run wrote.

        Raises
        ------
        SourceError
            If the file cannot be written, was not written by a batch, is being written by another run, or has answers that are
            neither signed by this user nor trusted.
        """
        await self._in_thread(self._open)
        self._source.pending = {}

    async def finish(self) -> None:
        """Sort the rows once all have ended, and drop superseded lines.

        Raises
        ------
        SourceError
            If the disk is full, or the rows cannot be written as Parquet; the .jsonl file is kept then.
        """
        await self._in_thread(self._finish)

    def close(self) -> None:
        """Release the file; safe to call at any time."""
        if self._file is not None:
            self._file.close()
        self._source.pending = None

    async def _in_thread(self, work: Callable[[], None]) -> None:
        doing = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError:
            self._given_up = True
            await asyncio.wait([doing])
            doing.exception()
            raise

    def _open(self) -> None:
        try:
            self.path = Path(own_target(self.path))
            self._log = self._log_of(self.path)
            unpacked = self._is_parquet and self.path.exists() and not self._log.exists()
            if unpacked:
                self._unpack()
            self._file = open_for_appending(self._log)
            try:
                # Another run that is just ending may have replaced the file after it was opened here.
                if not _lock(self._file) or not os.path.samestat(os.fstat(self._file.fileno()), self._log.stat()):
                    raise SourceError(f"another run is writing to {self.path}; wait for it, or give another name")
                self._end = self._read()
                if self._unsigned and not self._trusted:
                    raise self._not_signed()
                self._file.truncate(self._end)
            except BaseException:
                self._file.close()
                if unpacked:
                    self._log.unlink()
                raise
        except OSError as error:
            raise SourceError(f"{self.path} cannot be written: {error.strerror or error}") from None

    # --- the existing file

    def _read(self) -> int:
        """Read the rows of an earlier run; return where the last whole line ends."""
        offset = 0
        with open_regular(self._log) as lines:
            for line in iter(lambda: lines.readline(_MOST_LINE_BYTES), b""):
                self._check_given_up()
                if len(line) == _MOST_LINE_BYTES:
                    raise self._foreign()
                if not line.endswith(b"\n"):
                    if line[: len(_HEAD)] != _HEAD[: len(line)]:
                        raise self._foreign()
                    break
                self._remember(line, offset)
                offset += len(line)
        return offset

    def _remember(self, line: bytes, offset: int) -> None:
        try:
            record = load_json(line)
            row, fingerprint, status = record["row"], record["fingerprint"], record["status"]
            # The file may be somebody else's: a huge row number in it must not make us allocate as much memory.
            if type(row) is not int or not 0 <= row <= offset + _MOST_AHEAD or status not in _STATUSES:
                raise ValueError(row)
            if status in _ANSWERED:
                self._note_answer(_key(fingerprint), record, offset)
            _put(self._known_rows, row, offset)
            self._lines_in_file += 1
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._foreign() from None

    def _note_answer(self, key: int, record: Mapping[str, Any], offset: int) -> None:
        if self._signatures.fits(record):
            self._unsigned.pop(key, None)
        elif key in self._known and key not in self._unsigned:
            return  # the user's signed answer takes precedence over unsigned lines after it
        else:
            self._unsigned[key] = record["row"]
        self._known[key] = offset

    def _not_signed(self) -> SourceError:
        return SourceError(
            f"{self.path} has {counted(len(self._unsigned), 'answer')} without your signature, first in row {min(self._unsigned.values())}: somebody else wrote them,"
            " they were changed, or CLAUDE_CACHE_SECRET was different; give another name to ask again,"
            " or set trust_file to use them; nothing was sent"
        )

    def _foreign(self) -> SourceError:
        return SourceError(f"{self.path} exists and was not written by a batch; give another name")

    def known(self, request: ClaudeRequest) -> Optional[ClaudeResult]:
        """Return a result without text if the file already has the answer to a request, else None."""
        if not self._known or _key(request.fingerprint) not in self._known:
            return None
        return ClaudeResult(
            model=request.model, cached=True, status="cached", fingerprint=request.fingerprint, request_id=_IN_FILE
        )

    # --- writing

    def __call__(self, row: int, result: ClaudeResult) -> None:
        """Write a row that has ended.

        Raises
        ------
        SourceError
            If the file cannot be written, as on a full disk.
        """
        item = self._source.pending_row(row)
        if result.request_id == _IN_FILE:
            at = self._known[_key(result.fingerprint)]
            if row < len(self._known_rows) and self._known_rows[row] == at and not self._unsigned:
                self._record_offset(row, at)
                return
            found = self._line(at)
            answer = {name: found.get(name) for name in (*FRAME_COLUMNS, *self._parts, "fingerprint")}
        else:
            answer = {**answer_columns(result, self._more), "fingerprint": result.fingerprint}
        columns = item if isinstance(item, Mapping) else {} if isinstance(item, BrokenRow) else {"item": item}
        names = free_names(columns, self._own)
        named = {names[name]: value for name, value in columns.items()}
        record = json_data({"row": row, **named, **answer})
        line = _line({**record, SIGNATURE: self._signatures.sign(record)})
        self._write(line)
        self._record_offset(row, self._end)
        self._end += len(line)
        self._lines_in_file += 1

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        try:
            written = self._file.write(line)
            if written == len(line):
                return
            # A partial line in the middle would make the file unreadable.
            self._file.truncate(self._end)
            reason = "no space left"
        except OSError as error:
            reason = error.strerror or str(error)
        raise SourceError(f"{self._log} cannot be written: {reason}; the earlier rows are in it")

    def _record_offset(self, row: int, offset: int) -> None:
        """Record the offset of a row's line, and forget the row's input, which is no longer needed."""
        self._source.forget_row(row)
        self._lines_used += 1
        following = row == len(self._offsets) and (row == 0 or offset > self._offsets[row - 1])
        self._in_order = self._in_order and following
        _put(self._offsets, row, offset)

    def _line(self, offset: int) -> Dict[str, Any]:
        with open_regular(self._log) as lines:
            lines.seek(offset)
            record: Dict[str, Any] = load_json(lines.readline())
        return record

    # --- the end

    def _check_given_up(self) -> None:
        if self._given_up:
            raise _GivenUp

    def _finish(self) -> None:
        try:
            if self._is_parquet:
                self._write_parquet()
            elif not self._in_order or self._lines_in_file != self._lines_used:
                with replace_file(self._log, binary=True) as ordered:
                    for line in self._lines():
                        ordered.write(line)
                    self._keep_mode(ordered)
                    self._close_file()
        except OSError as error:
            reason = error.strerror or error
            raise SourceError(f"{self.path} cannot be finished: {reason}; the rows are in {self._log}") from None

    def _keep_mode(self, file: IO[Any]) -> None:
        """Give the finished file the mode of the .jsonl file, since a new file is private."""
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), stat.S_IMODE(os.stat(self._log).st_mode))

    def _lines(self) -> Iterator[bytes]:
        with open_regular(self._log) as lines:
            position = -1
            for offset in self._offsets:
                if offset < 0:
                    continue
                if offset != position:
                    lines.seek(offset)
                line = lines.readline()
                position = offset + len(line)
                self._check_given_up()
                yield line

    def _close_file(self) -> None:
        # Windows neither replaces nor removes an open file.
        assert self._file is not None
        self._file.close()

    def _write_parquet(self) -> None:
        if not len(self._offsets):
            self._close_file()
            self._log.unlink()
            return
        try:
            with replace_file(self.path, binary=True) as file:
                write_parquet(file, lambda: map(load_json, self._lines()))
                self._keep_mode(file)
        except ParquetTypeError as error:
            raise SourceError(f"these rows cannot be written as Parquet ({error}); they are in {self._log}") from None
        self._close_file()
        self._log.unlink()

    def _unpack(self) -> None:
        """Convert an earlier Parquet file to a .jsonl file, which can be continued."""
        try:
            with replace_file(self._log, binary=True) as lines:
                for record in parquet_records(self.path):
                    self._check_given_up()
                    lines.write(_line(json_data(record)))
        except (ValueError, OSError):
            raise self._foreign() from None
