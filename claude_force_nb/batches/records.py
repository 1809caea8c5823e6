"""The records of the job store, checked when they are read, since the file may have been changed. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Mapping, Optional, Pattern

from claude_force_nb.prompts.fences import clean

__all__ = [
    "OPEN_STATES",
    "BrokenRecordError",
    "Job",
    "Part",
    "read_dollars",
    "read_fingerprint",
    "read_job",
    "read_part",
]

# planned: claimed, nothing sent. sending: a create request may have been sent. sent: the batch id is known. collecting:
# results are being accounted. collected: all are, but the run that needs them has not ended. Final states: closed, and
# dropped (never created).
OPEN_STATES = ("planned", "sending", "sent", "collecting", "collected")

_STATE = re.compile("|".join((*OPEN_STATES, "closed", "dropped")))
_JOB_ID = re.compile("[0-9a-f]{6}")
_OWNER = re.compile("[0-9a-f]{32}")
_BATCH_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
_DOLLARS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,40})?")
_LONGEST_NUMBER = 2**53
_LONGEST_TEXT = 10_000
_FINGERPRINT_BYTES = 32


class BrokenRecordError(ValueError):
    """The store contains data that this package never writes."""


@dataclass(frozen=True)
class Job:
    """The message batches of one run.

    Attributes
    ----------
    id : str
        Six hexadecimal digits.
    created : float
        Unix seconds.
    notebook, cell, agent : str or None
    model, base_url : str
    caches_answers : bool
        False if the answers must not be cached.
    """

    id: str
    created: float
    notebook: Optional[str]
    cell: Optional[str]
    agent: Optional[str]
    model: str
    base_url: str
    caches_answers: bool


@dataclass(frozen=True)
class Part:
    """One message batch of a job.

    Attributes
    ----------
    number : int
    job : str
    state : str
        One of `OPEN_STATES`, ``closed`` or ``dropped``.
    owner : str or None
        Token of the worker that owns it, dead or alive.
    batch_id : str or None
    requests : int
    bound : Decimal or None
        Maximum cost in US dollars; None if unknown.
    newest_before : str or None
        Id of the account's newest message batch before this one was sent.
    listed_at : float or None
        Time of that query by the API's clock, in Unix seconds.
    changed : float
        Time of the last change of state, in Unix seconds.
    cancelled : bool
        True if its cancellation was requested.
    succeeded, failed, unanswered : int
        Number of requests by outcome, once collected.
    cost : Decimal or None
        US dollars of the answers collected so far; None if one price is unknown.
    """

    number: int
    job: str
    state: str
    owner: Optional[str]
    batch_id: Optional[str]
    requests: int
    bound: Optional[Decimal]
    newest_before: Optional[str]
    listed_at: Optional[float]
    changed: float
    cancelled: bool
    succeeded: int
    failed: int
    unanswered: int
    cost: Optional[Decimal]

    @property
    def is_open(self) -> bool:
        """True until all of its results have been delivered."""
        return self.state in OPEN_STATES


def read_job(row: Mapping[str, Any]) -> Job:
    """Return the job in a row of the store; raises BrokenRecordError."""
    return Job(
        id=_text(row, "id", _JOB_ID),
        created=_seconds(row, "created"),
        notebook=_shown(row, "notebook"),
        cell=_shown(row, "cell"),
        agent=_shown(row, "agent"),
        model=_shown(row, "model") or "",
        base_url=_shown(row, "base_url") or "",
        caches_answers=_whole(row, "caches_answers") != 0,
    )


def read_part(row: Mapping[str, Any]) -> Part:
    """Return the part in a row of the store; raises BrokenRecordError."""
    return Part(
        number=_whole(row, "number"),
        job=_text(row, "job", _JOB_ID),
        state=_text(row, "state", _STATE),
        owner=None if row["owner"] is None else _text(row, "owner", _OWNER),
        batch_id=None if row["batch_id"] is None else _text(row, "batch_id", _BATCH_ID),
        requests=_whole(row, "requests"),
        bound=read_dollars(row, "bound"),
        newest_before=None if row["newest_before"] is None else _text(row, "newest_before", _BATCH_ID),
        listed_at=None if row["listed_at"] is None else _seconds(row, "listed_at"),
        changed=_seconds(row, "changed"),
        cancelled=_whole(row, "cancelled") != 0,
        succeeded=_whole(row, "succeeded"),
        failed=_whole(row, "failed"),
        unanswered=_whole(row, "unanswered"),
        cost=read_dollars(row, "cost"),
    )


def read_fingerprint(row: Mapping[str, Any]) -> bytes:
    """Return the fingerprint in a row of the store; raises BrokenRecordError."""
    value = row["fingerprint"]
    if not isinstance(value, bytes) or len(value) != _FINGERPRINT_BYTES:
        raise BrokenRecordError("fingerprint")
    return value


def read_dollars(row: Mapping[str, Any], name: str) -> Optional[Decimal]:
    """Return an amount in a row of the store, None if unknown; raises BrokenRecordError."""
    return None if row[name] is None else Decimal(_text(row, name, _DOLLARS))


def _text(row: Mapping[str, Any], name: str, pattern: Pattern[str]) -> str:
    value = row[name]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BrokenRecordError(name)
    return value


def _shown(row: Mapping[str, Any], name: str) -> Optional[str]:
    """Return a text that is only displayed, without control and invisible characters."""
    value = row[name]
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise BrokenRecordError(name)
    return clean(value)[0]


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = row[name]
    if type(value) is not int or not 0 <= value < _LONGEST_NUMBER:
        raise BrokenRecordError(name)
    return value


def _seconds(row: Mapping[str, Any], name: str) -> float:
    value = row[name]
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value < _LONGEST_NUMBER:
        raise BrokenRecordError(name)
    return float(value)
