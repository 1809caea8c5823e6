"""Words that options may take, and what to say of a word that is none of them. Pure, and imports nothing at start-up."""

from __future__ import annotations

from typing import Iterable

__all__ = ["CACHE_MODES", "DEFAULT_MAX_TOKENS", "DEFAULT_MODEL", "EFFORTS", "ROUTES", "did_you_mean"]

CACHE_MODES = ("on", "off", "refresh", "only")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
# How the rows of a batch travel.
ROUTES = ("api",)
DEFAULT_MODEL = "sonnet"
DEFAULT_MAX_TOKENS = 4096


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of `known`, or "" where none is near."""
    import difflib

    near = difflib.get_close_matches(name, [item for item in known if item != name], n=1, cutoff=0.6)
    return "; did you mean {!r}?".format(near[0]) if near else ""
