"""Records the figures of benchmarks, so that `run_all.py` can print them in one table."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import List, Optional

__all__ = ["VARIABLE", "Figure", "note", "read"]

VARIABLE = "CLAUDE_FORCE_FIGURES"


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    name : str
        What was measured, and compared with what.
    value : float
    unit : str
        Such as ``µs``, ``%`` or ``times``.
    bound : float or None
        The project's promise; None for a figure without one.
    at_most : bool
        False if more is better.
    limit : str
        The physical limit for comparison: what the machine takes for the part that cannot be omitted.
    """

    name: str
    value: float
    unit: str
    bound: Optional[float] = None
    at_most: bool = True
    limit: str = ""

    @property
    def holds(self) -> Optional[bool]:
        """Whether the figure is within its bound; None without a bound."""
        if self.bound is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def note(
    name: str, value: float, unit: str, bound: Optional[float] = None, *, at_most: bool = True, limit: str = ""
) -> None:
    """Record a figure if `run_all.py` asks for figures; see `Figure` for the arguments."""
    path = os.environ.get(VARIABLE)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(Figure(name, value, unit, bound, at_most, limit))) + "\n")


def read(path: Path) -> List[Figure]:
    """Return the figures that benchmarks have recorded, in order."""
    if not path.exists():
        return []
    return [Figure(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
