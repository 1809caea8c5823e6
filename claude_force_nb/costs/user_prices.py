"""The user's own prices, from a file or a mapping, which override the shipped table."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Mapping

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.nesting import load_json, load_toml
from claude_force_nb.storage.regular_file import read_regular
from claude_force_nb.vocabulary import counted

from .pricing import PriceTable, load_prices

__all__ = ["UserPrices", "read_prices"]

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class UserPrices:
    """The user's own prices.

    Attributes
    ----------
    source : str
        Where they come from, for display.
    table : PriceTable
        The shipped table with the user's prices applied.
    entries : mapping
        The prices as given; see `PriceTable.with_overrides`.
    """

    source: str
    table: PriceTable = field(compare=False, repr=False)
    entries: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.source} ({counted(len(self.entries), 'model')})"


def read_prices(value: Any, *, source: str = "a mapping") -> UserPrices:
    """Read prices from a mapping, or from a ``.json`` or ``.toml`` file.

    Parameters
    ----------
    value : mapping, str or Path
        A mapping in the format of `PriceTable.with_overrides`, or the path of a file that contains one. A file that has
        changed is read again.
    source : str
        What to call a mapping, for display.

    Raises
    ------
    OptionError
        If the file does not exist or cannot be read, or an entry is not a price; the message is one line that names it.
    """
    if isinstance(value, Mapping):
        return UserPrices(source, load_prices().with_overrides(value), dict(value))
    path = Path(os.path.expanduser(str(value)))
    if path.suffix.lower() not in (".json", ".toml"):
        raise OptionError(
            f"prices takes a .json or .toml file, or the name of a dict in the notebook, not {str(value)!r}"
        )
    try:
        found = os.stat(str(path))
        return _read_file(path, found.st_mtime_ns, found.st_size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"prices: {path} cannot be read: {reason}") from None


@lru_cache(maxsize=8)
def _read_file(path: Path, changed: int, size_bytes: int) -> UserPrices:
    data = read_regular(path, max_bytes=_MOST_BYTES)
    load = load_json if path.suffix.lower() == ".json" else load_toml
    try:
        text = data.decode("utf-8-sig")
        # Read amounts exactly as written, not as the nearest binary fraction.
        entries = load(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"prices: {path} cannot be read: {error or type(error).__name__}") from None
    try:
        return UserPrices(path.name, load_prices().with_overrides(entries), entries)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None
