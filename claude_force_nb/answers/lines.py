"""The format of an answer file: a header, then one line of canonical JSON per answer. Pure.

::

    {"format":"claude_force_nb answers","package":"0.1.0","version":1}
    {"answer":{"agent":…,"date":…,"request":…,"result":…},"fingerprint":"…","sha256":"…","signature":{"code":"…","key":"…"}}

Keys are sorted, the JSON is compact, text is UTF-8, and each line ends with a line feed. ``sha256`` is the hash of the
line from its beginning to the end of the fingerprint; the signature, if present, covers this hash. So every byte of a
line is checked before anything in it is decoded, and whether a line is valid does not depend on any other line.
"""

from __future__ import annotations

import datetime
import json
import re
from binascii import unhexlify
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from claude_force_nb.errors import AnswerFileError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult

from .keys import AnswerKeys

__all__ = [
    "CHANGED_AFTER_SIGNING",
    "AnswerLine",
    "KnownAnswer",
    "LineFault",
    "describe_faults",
    "header",
    "join_lines",
    "make_line",
    "package_version",
    "split_lines",
]

FORMAT = "claude_force_nb answers"
VERSION = 1

_HEADER = re.compile(rb'\{"format":"claude_force_nb answers","package":"[^"\\]{0,64}","version":([0-9]{1,9})\}')
_START = b'{"answer":{'
# The part after the answer has a fixed length, one without and one with a signature.
_TAIL = re.compile(rb'\},"fingerprint":"([0-9a-f]{64})"(,"sha256":"([0-9a-f]{64})"\})')
_SIGNED_TAIL = re.compile(
    rb'\},"fingerprint":"([0-9a-f]{64})"'
    rb'(,"sha256":"([0-9a-f]{64})","signature":\{"code":"([0-9a-f]{64})","key":"([0-9a-f]{16})"\}\})'
)
_PUBLIC_TAIL = re.compile(_SIGNED_TAIL.pattern.replace(b'"code":"([0-9a-f]{64})"', b'"code":"([0-9a-f]{128})"'))
_TAILS = ((_SIGNED_TAIL, 272), (_TAIL, 159), (_PUBLIC_TAIL, 336))
CHANGED_AFTER_SIGNING = "was changed after it was signed"
_CONFLICT = re.compile(rb"(?:<{7}|\|{7}|={7}|>{7})(?: .*)?", re.DOTALL)
# Number of lines that a warning names; the others are only counted.
_MOST_NAMED = 5
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class LineFault:
    """Why a line is invalid.

    Attributes
    ----------
    number : int
        Line number, from 1.
    reason : str
        Text to follow the line number: ``was changed``, ``is cut short``, …
    harmless : bool
        True for an exact copy of an earlier line, as a line-based merge may leave it; nothing is lost by ignoring it.
    """

    number: int
    reason: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"line {self.number} {self.reason}"


@dataclass(frozen=True)
class KnownAnswer:
    """One answer of a file, decoded.

    Attributes
    ----------
    agent : str or None
        Name of the agent.
    created : float
        When the answer was made, in seconds since 1970 UTC.
    request : mapping or None
        ``body``, ``base_url``, ``api_version``, ``betas`` and ``sample``; None if prompts are redacted.
    result : ClaudeResult
        The answer, like a cached one of age 0.
    """

    agent: Optional[str]
    created: float
    request: Optional[Mapping[str, Any]]
    result: ClaudeResult


class AnswerLine(NamedTuple):
    """One line with a correct checksum and, if the key is known, a correct signature.

    Attributes
    ----------
    fingerprint : str
        Fingerprint of the request.
    data : bytes
        The line as in the file, without its line end.
    number : int
        Line number, from 1; 0 for a new line.
    signed : bool
        Whether the line is signed with one of the user's keys.
    unchecked : tuple of bytes, optional
        Checksum, signature and name of the public key, if the signature has not been checked yet. The check takes as
        long as reading ten lines, so it is done only for lines that are used.
    """

    fingerprint: str
    data: bytes
    number: int
    signed: bool
    unchecked: Optional[Tuple[bytes, bytes, bytes]] = None

    @property
    def content(self) -> bytes:
        """The part of the line that the checksum covers."""
        return self.data[: self.data.rindex(b',"sha256":"')]

    def decode(self) -> KnownAnswer:
        """Decode the line.

        Raises
        ------
        ValueError
            If the checksum is correct, but the content is not an answer that this version understands.
        """
        try:
            answer: Dict[str, Any] = load_json(self.data.decode("utf-8"))["answer"]
            agent, request, record = answer["agent"], answer["request"], answer["result"]
            date = datetime.datetime.strptime(answer["date"], _DATE).replace(tzinfo=datetime.timezone.utc)
            result = ClaudeResult.from_record(record, fingerprint=self.fingerprint, age_seconds=0.0)
            texts = (result.text, result.model, result.thinking)
            optional = (agent, result.stop_reason, result.request_id)
            fits = all(isinstance(text, str) for text in texts)
            fits = fits and all(text is None or isinstance(text, str) for text in optional)
            fits = fits and type(result.call_seconds) in (int, float) and isinstance(request, (dict, type(None)))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError):
            fits = False
        if not fits:
            raise ValueError("is not an answer of this version")
        return KnownAnswer(agent, date.timestamp(), request, result)

    def asks_what_it_says(self) -> bool:
        """Return whether the fingerprint of the line matches its request; True if the line has no request."""
        request = self.decode().request
        if request is None:
            return True
        try:
            made = ClaudeRequest(
                body=request["body"],
                base_url=request["base_url"],
                api_version=request["api_version"],
                betas=tuple(request["betas"]),
                sample=request["sample"],
            )
        except Exception:
            return False
        return made.fingerprint == self.fingerprint


def package_version() -> str:
    """Return the version of this package; ``unknown`` if it was not installed."""
    try:
        return metadata.version("claude_force_nb")
    except metadata.PackageNotFoundError:  # imported from a folder, not installed
        return "unknown"


def header(package: str) -> bytes:
    """Return the header for a new file, without its line end."""
    return _encode({"format": FORMAT, "package": package, "version": VERSION}).encode("ascii")


def make_line(
    fingerprint: str,
    result: ClaudeResult,
    *,
    agent: Optional[str],
    request: Optional[ClaudeRequest],
    created: float,
    keys: AnswerKeys,
) -> AnswerLine:
    """Return the line of an answer.

    Parameters
    ----------
    fingerprint : str
        Fingerprint of the request.
    result : ClaudeResult
    agent : str or None
        Name of the agent.
    request : ClaudeRequest or None
        The request; None to leave it out.
    created : float
        When the answer was made, in seconds since 1970 UTC.
    keys : AnswerKeys
        Keys to sign the line with, if there are any.

    Raises
    ------
    TypeError or ValueError
        If the answer cannot be written as JSON.
    """
    asked = None
    if request is not None:
        asked = {
            "api_version": request.api_version,
            "base_url": request.base_url,
            "betas": list(request.betas),
            "body": request.body,
            "sample": request.sample,
        }
    date = datetime.datetime.fromtimestamp(int(created), datetime.timezone.utc).strftime(_DATE)
    answer = {"agent": agent, "date": date, "request": asked, "result": result.to_record()}
    # A lone surrogate, which a model may write, has no UTF-8 form, so write it as a JSON escape.
    text = _encode({"answer": answer, "fingerprint": fingerprint}).encode("utf-8", "backslashreplace")
    content = text[:-1]
    checksum = sha256(content).hexdigest()
    tail = {"sha256": checksum, **keys.sign(checksum.encode("ascii"))}
    data = content + b"," + _encode(tail).encode("ascii")[1:]
    return AnswerLine(fingerprint, data, 0, bool(keys))


def split_lines(data: bytes, keys: AnswerKeys) -> Tuple[bytes, List[AnswerLine], List[LineFault]]:
    """Split a whole file into its header, the valid lines, and the faults of invalid ones.

    Raises
    ------
    AnswerFileError
        If it is not an answer file, or of an unknown version. The message begins with the file's name.
    """
    found: Dict[str, AnswerLine] = {}
    faults: List[LineFault] = []
    first, _, rest = data.partition(b"\n")
    first = first.rstrip(b"\r")
    match = _HEADER.fullmatch(first)
    if match is None:
        raise AnswerFileError("line 1 is not the header of an answer file")
    if int(match.group(1)) > VERSION:
        raise AnswerFileError(
            "line 1: it was made by a newer version of claude_force_nb; upgrade the package, or record it again"
        )
    if int(match.group(1)) != VERSION:
        raise AnswerFileError("line 1 names a version that does not exist; record it again")
    conflicts = []
    for number, line in enumerate(rest.split(b"\n"), 2):
        line = line.rstrip(b"\r")
        if not line.startswith(_START):
            # A line-based merge may keep the headers of both versions.
            if not line or _HEADER.fullmatch(line):
                continue
            if _is_conflict(line):
                conflicts.append(number)
                continue
        read = _read(line, number, keys)
        if isinstance(read, LineFault):
            faults.append(read)
        elif read.fingerprint in found:
            earlier = found[read.fingerprint]
            faults.append(LineFault(number, f"repeats line {earlier.number}", harmless=line == earlier.data))
        else:
            found[read.fingerprint] = read
    if conflicts:
        last = f" to line {conflicts[-1]}" if len(conflicts) > 1 else ""
        faults.insert(0, LineFault(conflicts[0], f"is a conflict marker of git{last}: resolve the merge, keeping both"))
    return first, list(found.values()), faults


def join_lines(first: bytes, lines: Mapping[str, AnswerLine]) -> bytes:
    """Return the content of a whole file: the header, then the lines sorted by fingerprint."""
    parts = [first, *(lines[fingerprint].data for fingerprint in sorted(lines)), b""]
    return b"\n".join(parts)


def describe_faults(faults: List[LineFault]) -> str:
    """Return which lines are invalid and why, in one line of bounded length."""
    named = ", ".join(map(str, faults[:_MOST_NAMED]))
    more = f", and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
    return f"{named}{more}; these lines are ignored, all others count"


def _is_conflict(line: bytes) -> bool:
    return line[:7] in (b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>") and _CONFLICT.fullmatch(line) is not None


def _read(line: bytes, number: int, keys: AnswerKeys) -> Any:
    """Return an `AnswerLine`, or a `LineFault` if the line is invalid."""
    match = None
    for pattern, length in _TAILS:
        match = match or pattern.fullmatch(line, max(0, len(line) - length))
    if match is None or not line.startswith(_START):
        cut = line.startswith(b'{"answer":') and not line.endswith(b"}")
        return LineFault(number, "is cut short" if cut else "was changed, or is not an answer")
    content = line[: match.start(2)]
    checksum = match.group(3)
    if sha256(content).digest() != unhexlify(checksum):
        return LineFault(number, "was changed")
    fingerprint = match.group(1).decode("ascii")
    if match.re is _TAIL:
        return AnswerLine(fingerprint, line, number, False)
    code, key_id = match.group(4, 5)
    if match.re is _PUBLIC_TAIL:
        trusted = keys.trusts(key_id)
        return AnswerLine(fingerprint, line, number, trusted, (checksum, code, key_id) if trusted else None)
    signed = keys.check(checksum, code, key_id)
    if signed is None:
        return LineFault(number, CHANGED_AFTER_SIGNING)
    return AnswerLine(fingerprint, line, number, signed)
