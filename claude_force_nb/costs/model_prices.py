"""The prices and names of one model, and how both are read from the price table or from the user. Pure."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Mapping, Optional, Tuple

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.usage import EXACT, Usage

__all__ = ["ModelPrices", "Period", "Rates", "Tiers", "model_from_table", "model_from_user", "shown"]


@dataclass(frozen=True)
class Rates:
    """US dollars per million tokens of each kind, for requests with more than `over_input_tokens` (-1: of any size)."""

    input_mtok: Decimal
    output_mtok: Decimal
    cache_read_mtok: Decimal
    cache_write_5m_mtok: Decimal
    cache_write_1h_mtok: Decimal
    over_input_tokens: int = -1

    def amount(self, usage: Usage) -> Decimal:
        """Return the exact price of the tokens of `usage` in millionths of a US dollar."""
        add, multiply = EXACT.add, EXACT.multiply
        total = multiply(self.input_mtok, usage.input_tokens)
        total = add(total, multiply(self.output_mtok, usage.output_tokens))
        total = add(total, multiply(self.cache_read_mtok, usage.cache_read_tokens))
        total = add(total, multiply(self.cache_write_5m_mtok, usage.cache_write_5m_tokens))
        return add(total, multiply(self.cache_write_1h_mtok, usage.cache_write_1h_tokens))

    def highest_input_mtok(self, cache_ttl: Optional[str]) -> Decimal:
        """Return the highest possible price of an input token that may be written to the prompt cache for `cache_ttl`."""
        if cache_ttl is None:
            return self.input_mtok
        highest = max(self.input_mtok, self.cache_read_mtok, self.cache_write_5m_mtok)
        return max(highest, self.cache_write_1h_mtok) if cache_ttl == "1h" else highest


Tiers = Tuple[Rates, ...]


@dataclass(frozen=True)
class Period:
    """Prices from a start date on: `tiers` by ascending threshold, and US dollars per thousand web searches."""

    starts: Optional[datetime.date]
    tiers: Tiers
    web_searches_kcount: Optional[Decimal] = None


@dataclass(frozen=True)
class ModelPrices:
    """The table's entry for one model.

    Attributes
    ----------
    id : str
        Name of the model in the table.
    match : tuple of str
        Spellings of the name, in lower case: ``name``, ``prefix*``, ``*part*`` or ``/regular expression/``.
    periods : tuple of Period
        In chronological order; the first has no start date.
    fast : tuple of Rates
        Prices at fast speed; empty if unknown.
    batch_factor : Decimal
        Factor that the batch tier applies to the price of every token.
    context_window : int or None
        In tokens; None if unknown.
    """

    id: str
    match: Tuple[str, ...]
    periods: Tuple[Period, ...]
    fast: Tiers = ()
    batch_factor: Decimal = Decimal("0.5")
    context_window: Optional[int] = None

    def period(self, on: datetime.date) -> Period:
        """Return the prices on a day; a period begins at 0:00 UTC of its start date."""
        current = self.periods[0]
        for period in self.periods[1:]:
            if period.starts is not None and period.starts <= on:
                current = period
        return current

    def matches(self, name: str) -> bool:
        """Return whether a lower-case `name` is one of the model's spellings."""
        return any(_fits(pattern, name) for pattern in self.match)

    def tiers_for(self, period: Period, *, batch: bool, speed: str) -> Tiers:
        """Return the tiers that apply to a request in `period`; empty if its price is unknown."""
        if speed == "standard":
            return period.tiers
        return self.fast if speed == "fast" and not batch else ()


def _fits(pattern: str, name: str) -> bool:
    if pattern.startswith("/"):
        return re.search(pattern[1:-1], name) is not None
    if pattern.startswith("*"):
        return pattern[1:-1] in name
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


def shown(value: object) -> str:
    """Return `value` for an error message: its repr, shortened, on one line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


_USER_KEYS = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_5m_mtok",
    "cache_write_1h_mtok",
    "web_searches_kcount",
    "batch_factor",
    "context_window",
)


def model_from_user(name: str, entry: Any, *, match: Tuple[str, ...], context_window: Optional[int]) -> ModelPrices:
    """Read the user's prices for one model; see `PriceTable.with_overrides` for the format.

    Raises
    ------
    OptionError
        If `entry` does not have that format.
    """
    where = f"prices[{shown(name)}]"
    if not isinstance(entry, Mapping):
        raise OptionError(f'{where} must be like {{"input_mtok": "1.5", "output_mtok": "6"}}')
    for key in entry:
        if key not in _USER_KEYS:
            raise OptionError(f"{where}: unknown key {shown(key)}; known: {', '.join(_USER_KEYS)}")
    window = entry.get("context_window", context_window)
    if window is not None and (type(window) is not int or window < 1):
        raise OptionError(f"{where}: context_window must be a whole number >= 1, not {shown(window)}")
    amounts = {key: _amount(where, key, value) for key, value in entry.items() if key != "context_window"}
    for key in ("input_mtok", "output_mtok"):
        if key not in amounts:
            raise OptionError(f"{where} lacks {key} (US dollars per million tokens)")
    base = amounts["input_mtok"]
    rates = Rates(
        base,
        amounts["output_mtok"],
        amounts.get("cache_read_mtok", base),
        amounts.get("cache_write_5m_mtok", EXACT.multiply(base, Decimal("1.25"))),
        amounts.get("cache_write_1h_mtok", EXACT.multiply(base, 2)),
    )
    return ModelPrices(
        id=name,
        match=match,
        periods=(Period(None, (rates,), amounts.get("web_searches_kcount")),),
        batch_factor=amounts.get("batch_factor", Decimal("0.5")),
        context_window=window,
    )


def _amount(where: str, key: str, value: Any) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
            raise ValueError
        # Convert by way of text, so that 0.1 means 0.1 and not the nearest binary fraction.
        amount = Decimal(str(value).strip())
        # Within these bounds every product with a number of tokens stays exact.
        if not 0 <= amount <= 10**9 or len(amount.as_tuple().digits) > 30 or (amount and amount.adjusted() < -12):
            raise ValueError
    except (ValueError, ArithmeticError):
        raise OptionError(f"{where}: {key} must be a number >= 0, not {shown(value)}") from None
    return amount


def _table_rates(row: Mapping[str, Any]) -> Rates:
    # Cache writes and reads without a price of their own cost as much as plain input, as in genai-prices.
    base = row["input_mtok"]
    return Rates(
        Decimal(base),
        Decimal(row["output_mtok"]),
        Decimal(row.get("cache_read_mtok", base)),
        Decimal(row.get("cache_write_5m_mtok", base)),
        Decimal(row.get("cache_write_1h_mtok", row.get("cache_write_5m_mtok", base))),
        row.get("over_input_tokens", -1),
    )


def _tiers(row: Mapping[str, Any]) -> Tiers:
    return tuple(_table_rates(tier) for tier in [row, *row.get("tiers", ())])


def _period(row: Mapping[str, Any]) -> Period:
    starts = datetime.date.fromisoformat(row["from"]) if "from" in row else None
    searches = row.get("web_searches_kcount")
    return Period(starts, _tiers(row), None if searches is None else Decimal(searches))


def model_from_table(name: str, entry: Mapping[str, Any], *, batch_factor: Decimal) -> ModelPrices:
    """Read one model of ``prices.json``."""
    return ModelPrices(
        id=name,
        match=tuple(entry["match"]),
        periods=tuple(_period(row) for row in entry["prices"]),
        fast=_tiers(entry["fast"]) if "fast" in entry else (),
        batch_factor=batch_factor,
        context_window=entry.get("context_window"),
    )
