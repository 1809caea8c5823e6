"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

__all__ = ["NOTE", "OK", "PROBLEM", "Finding", "as_lines"]

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    subject : str
        What was checked.
    says : str
        What was found; never contains a secret.
    state : str
        ``ok``, ``note`` (works, but with something worth knowing) or ``problem``.
    remedy : str
        What to do; "" if nothing.
    """

    subject: str
    says: str
    state: str = OK
    remedy: str = ""


def as_lines(findings: List[Finding]) -> List[str]:
    """Return the report as text, one line for each finding."""
    width = max(len(finding.subject) for finding in findings)
    return [
        f"{finding.state:<7}  {finding.subject:<{width}}  {finding.says}"
        + (f" -> {finding.remedy}" if finding.remedy else "")
        for finding in findings
    ]
