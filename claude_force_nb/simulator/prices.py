"""The cost of an answer by the API's price list of November 2026, against which the client's figures are tested. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

__all__ = ["Terms", "TokenUsage", "dollars"]


class TokenUsage(NamedTuple):
    """Tokens of one answer, as the API counts them; the four kinds of input add up to the prompt."""

    input_tokens: int = 0
    output_tokens: int = 0
    write_5m_tokens: int = 0
    write_1h_tokens: int = 0
    read_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, cached or not."""
        return self.input_tokens + self.write_5m_tokens + self.write_1h_tokens + self.read_tokens


class Terms(NamedTuple):
    """Terms that change the price of tokens: a batch, fast mode, and inference in the US only."""

    batch: bool = False
    fast: bool = False
    us_only: bool = False

    @classmethod
    def of(cls, body: Mapping[str, Any], *, batch: bool, fast: bool) -> Terms:
        """Return the terms of a request."""
        return cls(batch, fast, body.get("inference_geo") == "us")


@dataclass(frozen=True)
class _Price:
    """US dollars per million tokens.

    Attributes
    ----------
    rates : tuple of Decimal
        Input, output, cache writes for 5 minutes, cache writes for an hour, cache reads.
    fast : tuple of Decimal or None
        Input and output in fast mode.
    """

    rates: Tuple[Decimal, ...]
    fast: Optional[Tuple[Decimal, Decimal]] = None


def _price(rates: str, fast: str = "") -> _Price:
    numbers = tuple(Decimal(rate) for rate in rates.split())
    if not fast:
        return _Price(numbers)
    first, second = fast.split()
    return _Price(numbers, (Decimal(first), Decimal(second)))


_OPUS_5 = "5 25 6.25 10 0.50"
_FABLE_5 = "10 50 12.50 20 1.00"
_FABLE_51 = "10 50 12.50 20 0.25"
_FABLE_52 = "8 40 10 16 0.20"
_SONNET_4 = "3 15 3.75 6 0.30"
_OPUS_4 = "15 75 18.75 30 1.50"
_PRICES: Dict[str, _Price] = {
    "claude-fable-5-2": _price(_FABLE_52, "16 80"),
    "claude-mythos-5-2": _price(_FABLE_52, "16 80"),
    "claude-fable-5-1": _price(_FABLE_51),
    "claude-mythos-5-1": _price(_FABLE_51),
    "claude-fable-5": _price(_FABLE_5),
    "claude-mythos-5": _price(_FABLE_5),
    "claude-mythos-preview": _price("25 125 31.25 50 2.50"),
    "claude-opus-5-5": _price("4 20 5 8 0.20", "8 40"),
    "claude-opus-5": _price(_OPUS_5, "10 50"),
    "claude-opus-4-8": _price(_OPUS_5, "10 50"),
    "claude-opus-4-7": _price(_OPUS_5),
    "claude-opus-4-6": _price(_OPUS_5),
    "claude-opus-4-5-20251101": _price(_OPUS_5),
    "claude-sonnet-5-5": _price("2 10 2.50 4 0.10"),
    "claude-sonnet-5": _price("2 10 2.50 4 0.20"),
    "claude-sonnet-4-6": _price(_SONNET_4),
    "claude-sonnet-4-5-20250929": _price(_SONNET_4),
    "claude-haiku-5-5": _price("0.10 0.50 0.125 0.20 0.01"),
    "claude-haiku-4-5-20251001": _price("1 5 1.25 2 0.10"),
    "claude-opus-4-1-20250805": _price(_OPUS_4),
    "claude-opus-4-20250514": _price(_OPUS_4),
    "claude-sonnet-4-20250514": _price(_SONNET_4),
    "claude-3-7-sonnet-20250219": _price(_SONNET_4),
    "claude-3-5-sonnet-20241022": _price(_SONNET_4),
    "claude-3-5-haiku-20241022": _price("0.80 4 1 1.60 0.08"),
    "claude-3-haiku-20240307": _price("0.25 1.25 0.30 0.50 0.03"),
    "claude-3-opus-20240229": _price(_OPUS_4),
}
# If the prompt has more tokens than this, including cached ones, the whole request has the higher price.
_LONG_PROMPT_TOKENS = 100_000
_LONG_PROMPT_PRICES = {"claude-haiku-5-5": _price("0.50 2.50 0.625 1.00 0.05")}
_MILLION = Decimal(1_000_000)


def dollars(model: str, usage: TokenUsage, terms: Terms = Terms()) -> Optional[Decimal]:  # noqa: B008
    """Return the exact cost of an answer in US dollars; None for a model without a price."""
    price = _PRICES.get(model)
    if price is None:
        return None
    if usage.prompt_tokens > _LONG_PROMPT_TOKENS:
        price = _LONG_PROMPT_PRICES.get(model, price)
    rates = price.rates
    if terms.fast and price.fast is not None:
        # The prompt cache's multipliers apply to the fast input price.
        more = price.fast[0] / rates[0]
        rates = (price.fast[0], price.fast[1], *(rate * more for rate in rates[2:]))
    cost = sum((rate * tokens for rate, tokens in zip(rates, usage)), Decimal(0)) / _MILLION
    if terms.batch:
        cost /= 2
    if terms.us_only:
        cost *= Decimal("1.1")
    return cost
