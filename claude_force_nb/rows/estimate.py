"""Estimate what a batch would cost: count rows, distinct and cached prompts, and measure tokens on a sample. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.messages.cache_mark import CacheMark, shared_part
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.tokens import CHARACTERS_PER_TOKEN, content_tokens
from claude_force_nb.messages.usage import Usage

__all__ = ["BatchEstimate", "Sampled", "minutes_at_limits", "prompt_cache_saving"]

SAMPLE_SIZE = 20
# Two standard errors: 19 of 20 such estimates are closer to the true value than this.
_ERRORS = 2.0


@dataclass
class Sampled:
    """Counts the requests of a batch in one pass; keeps a random sample, and only the fingerprints of the others.

    Parameters
    ----------
    size : int
        Number of requests that are kept for counting their tokens.
    """

    size: int = SAMPLE_SIZE
    rows: int = 0
    broken: int = 0
    cached_rows: int = 0
    to_send: int = 0
    to_send_bytes: int = 0
    output_tokens: List[int] = field(default_factory=list)
    sample: List[Tuple[ClaudeRequest, int]] = field(default_factory=list)
    model: str = ""
    max_tokens: int = 0
    # Fingerprint -> whether the cache has the answer.
    _seen: Dict[bytes, bool] = field(default_factory=dict)
    # Prompt cache mark -> number of requests with it, and the share of such a request that precedes it.
    shared: Dict[CacheMark, Tuple[int, float]] = field(default_factory=dict)
    # Seeded, so that the same rows give the same sample each time.
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def is_new(self, request: ClaudeRequest) -> bool:
        """Count a row; return True if no earlier row had the same request."""
        self.rows += 1
        digest = bytes.fromhex(request.fingerprint)
        known = self._seen.get(digest)
        if known is None:
            self._seen[digest] = False
            return True
        self.cached_rows += known
        return False

    @property
    def distinct(self) -> int:
        """Number of distinct prompts."""
        return len(self._seen)

    def cached(self, request: ClaudeRequest, answer: ClaudeResult) -> None:
        """Count a prompt whose answer is in the cache."""
        self._seen[bytes.fromhex(request.fingerprint)] = True
        self.cached_rows += 1
        self.output_tokens.append(answer.usage.output_tokens)

    def missing(self, request: ClaudeRequest, size_bytes: int) -> None:
        """Count a prompt that would be sent, and possibly keep it for the sample."""
        self.to_send += 1
        self.to_send_bytes += size_bytes
        mark = request.cache_mark
        if mark is not None:
            number, share = self.shared.get(mark) or (0, _share_before(request, mark))
            self.shared[mark] = number + 1, share
        self.model, self.max_tokens = request.model, max(self.max_tokens, request.max_tokens)
        if len(self.sample) < self.size:
            self.sample.append((request, size_bytes))
            return
        place = self._random.randrange(self.to_send)
        if place < self.size:
            self.sample[place] = (request, size_bytes)


@dataclass(frozen=True)
class BatchEstimate:
    """Estimated tokens of the requests of a batch that are not cached.

    Attributes
    ----------
    input_tokens : float
    input_error : float
        Two standard errors of `input_tokens`; 0 if every request was counted.
    output_tokens : float or None
        Mean over the cached answers to prompts of the same batch; None without such answers.
    """

    sampled: Sampled
    input_tokens: float
    input_error: float
    output_tokens: Optional[float]

    @classmethod
    def of(cls, sampled: Sampled, counted: Sequence[int]) -> BatchEstimate:
        """Estimate the tokens of all requests from those `counted` for the sample, in proportion to the size in bytes.

        Notes
        -----
        The ratio estimator and its standard error with the finite population correction: Cochran, "Sampling Techniques",
        chapter 6.
        """
        number, total = len(counted), sampled.to_send
        sizes = [size for _, size in sampled.sample[:number]]
        if not number or not sum(sizes):
            # Nothing was counted: take bytes for characters, since a request is mostly ASCII text.
            return cls(sampled, sampled.to_send_bytes / CHARACTERS_PER_TOKEN, math.inf, _mean(sampled.output_tokens))
        ratio = sum(counted) / sum(sizes)
        if number >= total:
            return cls(sampled, float(sum(counted)), 0.0, _mean(sampled.output_tokens))
        spread = sum((tokens - ratio * size) ** 2 for tokens, size in zip(counted, sizes)) / max(number - 1, 1)
        error = _ERRORS * total * math.sqrt(spread / number * (1 - number / total))
        return cls(sampled, ratio * sampled.to_send_bytes, error, _mean(sampled.output_tokens))

    def price(
        self,
        prices: PriceTable,
        *,
        output_tokens: float,
        via: str,
        on: Any,
        prompt_cache: bool = False,
        found: bool = True,
    ) -> Optional[Decimal]:
        """Return the cost in US dollars of all that would be sent, at `output_tokens` an answer; None if the price is unknown.

        With `prompt_cache`, of the requests that share a beginning the first writes it to the prompt cache and the others
        read it. If `found` is False they do not find it there, and write it as well.
        """
        number = self.sampled.to_send
        if not number:
            return Decimal(0)
        usage = Usage(
            input_tokens=round(self.input_tokens / number),
            output_tokens=round(output_tokens),
            service_tier="batch" if via == "batches" else "standard",
        )
        one = prices.cost(self.sampled.model, usage, on=on)
        if one is None:
            return None
        total = one * number
        for mark, (sharing, share) in self.sampled.shared.items() if prompt_cache else ():
            shared = min(round(usage.input_tokens * share), usage.input_tokens)
            rest = replace(usage, input_tokens=usage.input_tokens - shared)
            # If no lifetime was asked for, message batches use the longer one.
            ttl = "1h" if mark.adapts and via == "batches" else mark.ttl
            write = prices.cost(self.sampled.model, _written(rest, shared, ttl), on=on)
            read = prices.cost(self.sampled.model, replace(rest, cache_read_tokens=shared), on=on)
            if sharing > 1 and write is not None and read is not None:
                total += (write - one) + ((read if found else write) - one) * (sharing - 1)
        return total


def prompt_cache_saving(prices: PriceTable, model: str, *, tokens: int, rows: int, on: Any) -> Decimal:
    """Return the saving in US dollars, >= 0, if the first of `rows` requests writes `tokens` and the others read them.

    The saving is 0 if the price is unknown.
    """
    plain = prices.cost(model, Usage(input_tokens=tokens), on=on)
    write = prices.cost(model, Usage(cache_write_5m_tokens=tokens), on=on)
    read = prices.cost(model, Usage(cache_read_tokens=tokens), on=on)
    if plain is None or write is None or read is None:
        return Decimal(0)
    return max(Decimal(0), plain * rows - write - read * (rows - 1))


def _written(usage: Usage, tokens: int, ttl: str) -> Usage:
    """Return usage with `tokens` that were written to the prompt cache for `ttl`."""
    if ttl == "1h":
        return replace(usage, cache_write_1h_tokens=tokens)
    return replace(usage, cache_write_5m_tokens=tokens)


def _share_before(request: ClaudeRequest, mark: CacheMark) -> float:
    body = request.body
    whole = content_tokens([body.get("tools"), body.get("system"), body["messages"]])
    return min(1.0, content_tokens(shared_part(body, mark)) / max(1, whole))


def _mean(values: Sequence[int]) -> Optional[float]:
    return sum(values) / len(values) if values else None


def minutes_at_limits(needs: Dict[str, Optional[float]], limits: Iterable[Tuple[str, float]]) -> Optional[float]:
    """Return how many minutes a batch takes at these rate limits; None if no limit is known.

    Parameters
    ----------
    needs : mapping
        Total by kind: ``requests``, ``input-tokens``, ``output-tokens``; None if it is not known.
    limits : iterable of (str, float)
        Kind, and units per minute.
    """
    minutes = [(needs.get(kind) or 0.0) / limit for kind, limit in limits if limit > 0 and needs.get(kind) is not None]
    return max(minutes) if minutes else None
