"""Checks the answers that a notebook shows against the answer file and the cache."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, List, Optional

from claude_force_nb.answers import AnswerFile
from claude_force_nb.cache import ResponseCache
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.text_tables import without_controls

from .saved import ShownAnswer

__all__ = ["AuditedAnswer", "audit"]


@dataclass(frozen=True)
class AuditedAnswer:
    """One shown answer and what is known about it.

    Attributes
    ----------
    cell : int
        Number of the code cell, from 1.
    agent, model, model_asked, date, cost, request_id, fingerprint : str or None
        Values from the notebook's metadata.
    found_in : str
        ``file``, ``cache`` or ``nowhere``.
    same_text : bool or None
        Whether the text shown is that of the answer found; None if no answer was found.
    """

    cell: int
    agent: Optional[str]
    model: Optional[str]
    model_asked: Optional[str]
    date: Optional[str]
    cost: Optional[str]
    request_id: Optional[str]
    fingerprint: str
    found_in: str
    same_text: Optional[bool]

    @property
    def ok(self) -> bool:
        """Whether the answer was found, and is shown unchanged."""
        return self.same_text is True

    def to_record(self) -> Dict[str, Any]:
        """Return the result as JSON data."""
        return asdict(self)


def audit(
    shown: Iterable[ShownAnswer], answers: Optional[AnswerFile], cache: Optional[ResponseCache]
) -> List[AuditedAnswer]:
    """Return the result for each shown answer."""
    return [_audited(each, answers, cache) for each in shown]


def _audited(shown: ShownAnswer, answers: Optional[AnswerFile], cache: Optional[ResponseCache]) -> AuditedAnswer:
    said = shown.provenance
    fingerprint = said["fingerprint"]
    found_in, candidates = "nowhere", []
    known = None if answers is None else answers.entry(fingerprint)
    if known is not None and answers is not None:
        found_in, candidates = "file", [known.result]
        if said.get("repaired") is True:  # the text shown is the answer to the repair request
            entries = (answers.entry(each) for each in answers.fingerprints())
            candidates = [entry.result for entry in entries if entry is not None]
    elif cache is not None and _is_fingerprint(fingerprint):
        cached = cache.get(fingerprint, counted=False)
        if cached is not None:
            found_in, candidates = "cache", [cached]
    return AuditedAnswer(
        cell=shown.cell,
        fingerprint=fingerprint,
        found_in=found_in,
        same_text=any(_shows(shown.text, result) for result in candidates) if candidates else None,
        **{
            name: str(said[name]) if said.get(name) is not None else None
            for name in ("agent", "model", "model_asked", "date", "cost", "request_id")
        },
    )


def _is_fingerprint(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _shows(text: str, result: ClaudeResult) -> bool:
    """Return whether a plain text shows an answer, unchanged or, for JSON, indented."""
    if result.thinking:
        text = text.rpartition("[/thinking]\n\n")[2]
    if text == without_controls(result.text):
        return True
    try:
        return bool(load_json(text) == load_json(result.text))
    except (ValueError, RecursionError):
        return False
