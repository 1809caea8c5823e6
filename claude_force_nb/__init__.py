"""Claude as a first-class part of a notebook you can run again."""

from __future__ import annotations

__version__ = "0.1.0"
