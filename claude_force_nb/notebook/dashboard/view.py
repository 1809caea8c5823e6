"""The content of the dashboard, as sections of labelled values. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Optional, Tuple

from claude_force_nb.cache import CacheStats
from claude_force_nb.calls.snapshot import Headroom, ModelSums, Snapshot, Tally
from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.addresses import is_loopback
from claude_force_nb.messages.usage import sum_dollars
from claude_force_nb.text_tables import one_line

if TYPE_CHECKING:
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator

__all__ = ["Cell", "Curve", "DashboardState", "Section", "sections", "state_of"]

_KINDS = ("requests", "input-tokens", "output-tokens")


@dataclass(frozen=True)
class DashboardState:
    """Everything that a dashboard shows; equal states look the same.

    Attributes
    ----------
    snapshot : Snapshot
        State of the session's orchestrator.
    cache : CacheStats or None
        None without a cache.
    models : tuple of ModelSums
        Totals of this session's answers by model.
    hit_rates, costs : tuple of (float, float) and of (float, Decimal)
        See `Tally`.
    failed : int
        Number of this session's requests without an answer.
    local : bool
        True if the server is on this machine, so that costs are not real spending.
    """

    snapshot: Snapshot
    cache: Optional[CacheStats] = None
    models: Tuple[ModelSums, ...] = ()
    hit_rates: Tuple[Tuple[float, float], ...] = ()
    costs: Tuple[Tuple[float, Decimal], ...] = ()
    failed: int = 0
    local: bool = False

    def __post_init__(self) -> None:
        # Whole seconds: with fractions, states that look the same would differ.
        pauses = tuple((family, float(math.ceil(seconds))) for family, seconds in self.snapshot.paused_families)
        limits = tuple(
            (family, None if seconds is None else float(math.ceil(seconds)))
            for family, seconds in self.snapshot.limited_families
        )
        object.__setattr__(self, "snapshot", replace(self.snapshot, paused_families=pauses, limited_families=limits))

    @property
    def changes_without_events(self) -> bool:
        """True while numbers change without events."""
        return self.snapshot.busy or bool(self.snapshot.paused_families)


def state_of(orchestrator: AsyncAgentOrchestrator, tally: Tally) -> DashboardState:
    """Return the current state."""
    return DashboardState(
        snapshot=orchestrator.snapshot(),
        cache=None if orchestrator.cache is None else orchestrator.cache.stats(),
        models=tuple(tally.models()),
        hit_rates=tuple(tally.hit_rates()),
        costs=tuple(tally.costs()),
        failed=tally.failed,
        local=is_loopback(orchestrator.transport.base_url),
    )


@dataclass(frozen=True)
class Cell:
    """A text with an optional bar.

    Attributes
    ----------
    text : str
    note : str
        Addition in smaller type.
    share : float or None
        Length of the bar, 0.0 to 1.0; None for no bar.
    colour : str
        ``""``, ``"saved"`` or ``"low"``.
    """

    text: str
    note: str = ""
    share: Optional[float] = None
    colour: str = ""

    @property
    def whole(self) -> str:
        """Text and note."""
        return f"{self.text} {self.note}" if self.note else self.text


@dataclass(frozen=True)
class Curve:
    """A line over time.

    Attributes
    ----------
    label : str
        Its name, with its first and last value in words.
    points : tuple of float
        At least two values, 0.0 to 1.0.
    colour : str
        As for a bar; see `Cell`.
    """

    label: str
    points: Tuple[float, ...]
    colour: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the dashboard.

    Attributes
    ----------
    name : str
        Identifier of the section.
    title : str
        Heading; "" for none.
    facts : tuple of (str, Cell)
        Labels and values.
    header, rows : tuple
        Header and rows of a table.
    curves : tuple of Curve
        Curves, drawn side by side.
    alerts : tuple of str
        Warnings.
    large : bool
        True if the facts are shown large.
    """

    name: str
    title: str = ""
    facts: Tuple[Tuple[str, Cell], ...] = ()
    header: Tuple[str, ...] = ()
    rows: Tuple[Tuple[Cell, ...], ...] = ()
    curves: Tuple[Curve, ...] = ()
    alerts: Tuple[str, ...] = field(default=())
    large: bool = False


def sections(state: DashboardState) -> Tuple[Section, ...]:
    """Return the sections, in reading order."""
    return (_overview(state), _models(state), _cache(state), _calls(state))


def _overview(state: DashboardState) -> Section:
    now = state.snapshot
    models = state.models
    spent, saved = sum_dollars(row.cost for row in models), sum_dollars(row.saved for row in models)
    calls, hits = sum(row.calls for row in models), sum(row.hits for row in models)
    facts = [
        ("Spent", _known(spent, sum(row.unknown_price for row in models), calls)),
        ("Saved", _known(saved, sum(row.unknown_saved for row in models), hits)),
        ("Hit rate", Cell(_rate(state.cache, hits, calls))),
        ("In flight", Cell(f"{now.in_flight:,}", f"of {now.max_concurrent:,}")),
        ("Queue", Cell(f"{now.queued:,}", _queue_note(now))),
    ]
    by_prompt_cache = sum_dollars(row.prompt_cache_saved for row in models)
    if by_prompt_cache:
        facts.insert(2, ("Saved by prompt cache", Cell(dollars(by_prompt_cache))))
    for budget in now.budgets:
        label = "Left today" if budget.name == "daily_budget" else "Budget left"
        if budget.left is None:
            facts.append((label, Cell("unknown", "of " + dollars(budget.limit))))
            continue
        share = float(budget.left / budget.limit) if budget.limit else 0.0
        colour = "low" if share <= 0.2 else ""
        facts.append((label, Cell(dollars(budget.left), "of " + dollars(budget.limit), share, colour)))
    if not now.budgets:
        facts.append(("Budget left", Cell("no limit")))
    alerts = ["No call is sent until Resume is pressed."] if now.paused else []
    for family, seconds in now.paused_families:
        alerts.append(f"The API asked {family} to wait: {seconds:.0f} s left.")
    if not now.paused:
        asked = {family for family, _ in now.paused_families}
        alerts += [_limited(*each) for each in now.limited_families if each[0] not in asked]
    return Section("overview", facts=tuple(facts), alerts=tuple(alerts), large=True)


def _queue_note(now: Snapshot) -> str:
    if not now.queued:
        return ""
    return "paused" if now.paused else "limited" if now.limited_families else ""


def _limited(family: str, seconds: Optional[float]) -> str:
    if seconds is None:
        return f"{one_line(family)} is overloaded: fewer calls at once until the API takes more again."
    return f"Rate limit of {one_line(family)}: the next call is sent in {seconds:.0f} s."


def _known(known: Optional[Decimal], unknown: int, count: int, share: Optional[float] = None, colour: str = "") -> Cell:
    """Return a cell with the US dollars of `count` answers; the `unknown` ones without a price are noted, not counted as 0."""
    if unknown and unknown == count:
        return Cell(dollars(None))
    return Cell(dollars(known), f"+ {unknown:,} price unknown" if unknown else "", share, colour)


def _rate(cache: Optional[CacheStats], hits: int, calls: int) -> str:
    """Return the share of answers that cost nothing. The cache's own counters would include lookups without a call."""
    if cache is None and not hits:
        return "no cache"
    return f"{hits / (hits + calls):.0%}" if hits + calls else "–"


def _models(state: DashboardState) -> Section:
    most = max([*(row.cost for row in state.models), *(row.saved for row in state.models), Decimal(0)])
    rows = []
    for row in state.models:
        rows.append(
            (
                Cell(one_line(row.model), "" if row.asked in ("", row.model) else f"asked as {one_line(row.asked)}"),
                Cell(f"{row.calls:,}"),
                Cell(f"{row.hits:,}"),
                _known(row.cost, row.unknown_price, row.calls, float(row.cost / most) if most else 0.0),
                _known(row.saved, row.unknown_saved, row.hits, float(row.saved / most) if most else 0.0, "saved"),
            )
        )
    header = ("model", "calls", "from cache", "spent", "saved")
    title = "By model, in this session"
    if state.local:
        title += ", by a server on this machine: not real spending"
    return Section("models", title, header=header, rows=tuple(rows))


def _cache(state: DashboardState) -> Section:
    cache = state.cache
    if cache is None:
        return Section("cache", "Cache", facts=(("Cache", Cell("off")),), curves=_curves(state))
    share = cache.size_bytes / cache.max_size_bytes if cache.max_size_bytes else 0.0
    facts = (
        ("Hits", Cell(f"{sum(row.hits for row in state.models):,}")),
        ("Misses", Cell(f"{sum(row.calls for row in state.models) + state.failed:,}")),
        ("Entries", Cell(f"{cache.entries:,}")),
        ("Stored", Cell(_bytes(cache.size_bytes), "of " + _bytes(cache.max_size_bytes), share)),
        ("Integrity failures", Cell(f"{cache.integrity_failures:,}")),
    )
    alerts: Tuple[str, ...] = ()
    if cache.integrity_failures:
        alerts = ("Entries failed their check and were removed; %claude_cache verify checks all.",)
    return Section("cache", "Cache", facts=facts, curves=_curves(state), alerts=alerts)


def _curves(state: DashboardState) -> Tuple[Curve, ...]:
    """Return cost and hit rate over time, once there are enough points for a curve."""
    curves = []
    costs = [cost for _, cost in state.costs]
    if len(costs) > 1 and costs[-1]:
        label = f"Spent over time: {dollars(costs[0])} at first, {dollars(costs[-1])} now"
        curves.append(Curve(label, tuple(float(cost / costs[-1]) for cost in costs)))
    rates = tuple(rate for _, rate in state.hit_rates)
    if len(rates) > 1:
        label = f"Hit rate over time: {rates[0]:.0%} at first, {rates[-1]:.0%} recently"
        curves.append(Curve(label, rates, "saved"))
    return tuple(curves)


def _calls(state: DashboardState) -> Section:
    now = state.snapshot
    facts = (
        ("Retries", Cell(f"{now.retries:,}")),
        ("Paced waits", Cell(f"{now.paced_waits:,}")),
        ("Failed", Cell(f"{state.failed:,}")),
    )
    rows = []
    for family in sorted({each.family for each in now.headroom}):
        known = {each.kind: each for each in now.headroom if each.family == family}
        rows.append((Cell(one_line(family)), *(_headroom(known.get(kind)) for kind in _KINDS)))
    header = ("left of a minute's limit", "requests", "input tokens", "output tokens")
    return Section("calls", "Calls and rate limits", facts=facts, header=header if rows else (), rows=tuple(rows))


def _headroom(limit: Optional[Headroom]) -> Cell:
    if limit is None:
        return Cell("–")
    share = limit.remaining / limit.limit if limit.limit else 0.0
    colour = "low" if share < 0.1 else ""
    return Cell(f"{limit.remaining:,.0f}", f"of {limit.limit:,.0f}", share, colour)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
