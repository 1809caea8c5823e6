"""The content of the dashboard as sections of facts, and their HTML and plain text. Pure."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from claude_force_nb.cache import CacheStats
from claude_force_nb.calls.snapshot import Headroom, ModelSums, Snapshot, Tally
from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.addresses import is_loopback
from claude_force_nb.messages.usage import sum_dollars
from claude_force_nb.notebook.display.bundles import bundle
from claude_force_nb.text_tables import one_line

if TYPE_CHECKING:
    from claude_force_nb.orchestrator import AsyncAgentOrchestrator

__all__ = ["STYLE", "Cell", "DashboardState", "Section", "dashboard_bundle", "section_html", "sections", "state_of"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_KINDS = ("requests", "input-tokens", "output-tokens")

# Colours come from JupyterLab, so that they follow its theme; elsewhere from what stands around.
STYLE = """<style>
.claude-force-dash{font-family:var(--jp-ui-font-family,sans-serif);font-size:13px;line-height:1.45;max-width:60em;
color:var(--jp-ui-font-color1,inherit)}
.claude-force-dash h4{margin:.9em 0 .35em;font-size:1em;font-weight:600}
.claude-force-dash .cf-tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.2em,1fr));gap:.5em;margin:0;padding:0}
.claude-force-dash .cf-tile{border:1px solid var(--jp-border-color2,rgba(127,127,127,.35));border-radius:4px;
padding:.4em .65em .5em;background:var(--jp-layout-color1,transparent)}
.claude-force-dash .cf-label{display:block;font-size:.85em;color:var(--jp-ui-font-color2,inherit)}
.claude-force-dash .cf-value{display:block;font-size:1.35em;font-weight:600;line-height:1.3;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.claude-force-dash .cf-facts{grid-template-columns:repeat(auto-fill,minmax(8.2em,1fr))}
.claude-force-dash .cf-facts .cf-value{font-size:1.1em}
.claude-force-dash .cf-facts+table{margin-top:.5em}
.claude-force-dash .cf-note{display:inline-block;font-size:12px;font-weight:400;color:var(--jp-ui-font-color2,inherit)}
.claude-force-dash table{border-collapse:collapse;width:100%;margin:0;table-layout:auto;font-size:1em}
.claude-force-dash th,.claude-force-dash td{text-align:right;padding:.25em .8em .25em 0;vertical-align:top;
border:0;background:transparent;font-variant-numeric:tabular-nums;white-space:nowrap}
.claude-force-dash th{font-weight:500;font-size:.85em;color:var(--jp-ui-font-color2,inherit)}
.claude-force-dash th:first-child,.claude-force-dash td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
.claude-force-dash tbody tr{border-top:1px solid var(--jp-border-color2,rgba(127,127,127,.35));background:transparent!important}
.claude-force-dash .cf-bar{height:5px;min-width:5.5em;margin-top:.25em;border-radius:3px;overflow:hidden;
background:var(--jp-border-color2,rgba(127,127,127,.25))}
.claude-force-dash .cf-bar>div{height:100%;background:var(--jp-brand-color1,#1976d2)}
.claude-force-dash .cf-saved>div{background:var(--jp-success-color1,#388e3c)}
.claude-force-dash .cf-low>div{background:var(--jp-warn-color1,#f57c00)}
.claude-force-dash svg{display:block;width:100%;height:44px;color:var(--jp-success-color1,#388e3c)}
.claude-force-dash .cf-alert{border-left:3px solid var(--jp-warn-color1,#f57c00);padding:.25em .6em;margin:.6em 0 0;
background:var(--jp-layout-color2,rgba(127,127,127,.12))}
</style>"""


@dataclass(frozen=True)
class DashboardState:
    """Everything a dashboard shows; equal states look the same.

    Attributes
    ----------
    snapshot : Snapshot
        Of the session's orchestrator.
    cache : CacheStats or None
        None where there is no cache.
    models : tuple of ModelSums
        This session's answers.
    hit_rates : tuple of (float, float)
        See `Tally.hit_rates`.
    failed : int
        Requests of this session without an answer.
    local : bool
        True if a server on this machine answers, whose cost is not real spending.
    """

    snapshot: Snapshot
    cache: Optional[CacheStats] = None
    models: Tuple[ModelSums, ...] = ()
    hit_rates: Tuple[Tuple[float, float], ...] = ()
    failed: int = 0
    local: bool = False

    def __post_init__(self) -> None:
        # Whole seconds: finer ones would make states differ that look the same.
        pauses = tuple((family, float(math.ceil(seconds))) for family, seconds in self.snapshot.paused_families)
        object.__setattr__(self, "snapshot", replace(self.snapshot, paused_families=pauses))

    @property
    def restless(self) -> bool:
        """True while numbers change even without events."""
        return self.snapshot.busy or bool(self.snapshot.paused_families)


def state_of(orchestrator: AsyncAgentOrchestrator, tally: Tally) -> DashboardState:
    """Return the current state."""
    return DashboardState(
        snapshot=orchestrator.snapshot(),
        cache=None if orchestrator.cache is None else orchestrator.cache.stats(),
        models=tuple(tally.models()),
        hit_rates=tuple(tally.hit_rates()),
        failed=tally.failed,
        local=is_loopback(orchestrator.transport.base_url),
    )


@dataclass(frozen=True)
class Cell:
    """A text, perhaps with a bar.

    Attributes
    ----------
    text : str
    note : str
        What follows it in smaller type.
    share : float or None
        Length of the bar, 0.0 to 1.0.
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
class Section:
    """One part of the dashboard.

    Attributes
    ----------
    name : str
        Which one.
    title : str
        Its heading; "" for none.
    facts : tuple of (str, Cell)
        Label and value.
    header, rows : tuple
        Of a table.
    curve : tuple of float
        Shares from 0.0 to 1.0, drawn as a line; none, or two and more.
    curve_label : str
        What the curve is.
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
    curve: Tuple[float, ...] = ()
    curve_label: str = ""
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
        ("Hit rate", Cell(_rate(state.cache))),
        ("In flight", Cell(f"{now.in_flight:,}", f"of {now.max_concurrent:,}")),
        ("Queue", Cell(f"{now.queued:,}")),
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
    return Section("overview", facts=tuple(facts), alerts=tuple(alerts), large=True)


def _known(known: Optional[Decimal], unknown: int, count: int, share: Optional[float] = None, colour: str = "") -> Cell:
    """Return the dollars of `count` answers, of which `unknown` are not included; an unknown price is never shown as nothing."""
    if unknown and unknown == count:
        return Cell(dollars(None))
    return Cell(dollars(known), f"+ {unknown:,} price unknown" if unknown else "", share, colour)


def _rate(cache: Optional[CacheStats]) -> str:
    if cache is None:
        return "no cache"
    return f"{cache.hit_rate:.0%}" if cache.hits + cache.misses else "–"


def _models(state: DashboardState) -> Section:
    most = max([*(row.cost for row in state.models), *(row.saved for row in state.models), Decimal(0)])
    rows = []
    for row in state.models:
        rows.append(
            (
                Cell(one_line(row.model)),
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
        return Section("cache", "Cache", facts=(("Cache", Cell("off")),))
    share = cache.size_bytes / cache.max_size_bytes if cache.max_size_bytes else 0.0
    facts = (
        ("Hits", Cell(f"{cache.hits:,}")),
        ("Misses", Cell(f"{cache.misses:,}")),
        ("Entries", Cell(f"{cache.entries:,}")),
        ("Stored", Cell(_bytes(cache.size_bytes), "of " + _bytes(cache.max_size_bytes), share)),
        ("Integrity failures", Cell(f"{cache.integrity_failures:,}")),
    )
    alerts: Tuple[str, ...] = ()
    if cache.integrity_failures:
        alerts = ("Entries failed their check and were removed; %claude_cache verify checks all.",)
    rates = tuple(rate for _, rate in state.hit_rates)
    label = ""
    if len(rates) < 2:  # no course of time to be seen yet
        rates = ()
    else:
        label = f"Hit rate over time: {rates[0]:.0%} at first, {rates[-1]:.0%} recently"
    return Section("cache", "Cache", facts=facts, curve=rates, curve_label=label, alerts=alerts)


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


# ---------------------------------------------------------------------- as HTML


def _text(value: str) -> str:
    # A lone dollar in its own element is never one of a pair that MathJax would take for a formula.
    return html.escape(value).replace("$", "<span>$</span>")


def _value(cell: Cell) -> str:
    note = f' <span class="cf-note">{_text(cell.note)}</span>' if cell.note else ""
    return _text(cell.text) + note


def _bar(cell: Cell) -> str:
    if cell.share is None:
        return ""
    width = max(0.0, min(1.0, cell.share)) * 100
    extra = " cf-" + cell.colour if cell.colour else ""
    # A screen reader has read the number; the bar says nothing more.
    return f'<div class="cf-bar{extra}" aria-hidden="true"><div style="width:{width:.1f}%"></div></div>'


def section_html(section: Section) -> str:
    """Return a section as HTML in which every text is escaped; `STYLE` gives it its look."""
    parts: List[str] = []
    if section.title:
        parts.append(f"<h4>{_text(section.title)}</h4>")
    if section.facts:
        tiles = "".join(
            f'<div class="cf-tile"><span class="cf-label">{_text(label)}</span> <span class="cf-value">{_value(cell)}</span>{_bar(cell)}</div>'
            for label, cell in section.facts
        )
        parts.append('<div class="cf-tiles{}">{}</div>'.format("" if section.large else " cf-facts", tiles))
    if section.curve:
        parts.append(_curve(section))
    if section.header:
        parts.append(_table(section))
    for alert in section.alerts:
        parts.append(f'<p class="cf-alert">{_text(alert)}</p>')
    return '<section data-part="{}">{}</section>'.format(section.name, "".join(parts))


def _table(section: Section) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in section.header)
    body = "".join(
        "<tr>{}</tr>".format("".join(f"<td>{_value(cell)}{_bar(cell)}</td>" for cell in row)) for row in section.rows
    )
    if not section.rows:
        body = f'<tr><td colspan="{len(section.header)}">nothing yet</td></tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _curve(section: Section) -> str:
    step = 300 / (len(section.curve) - 1)
    line = " ".join(f"{index * step:.1f},{42 - 40 * share:.1f}" for index, share in enumerate(section.curve))
    return (
        f'<div class="cf-note" style="margin-top:.5em">{_text(section.curve_label)}</div>'
        f'<svg role="img" aria-label="{_text(section.curve_label)}" viewBox="0 0 300 44" preserveAspectRatio="none">'
        f'<polygon points="0,44 {line} 300,44" fill="currentColor" opacity="0.18"></polygon>'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="2" vector-effect="non-scaling-stroke">'
        "</polyline></svg>"
    )


# ---------------------------------------------------------------------- as plain text


def _plain(section: Section) -> str:
    lines: List[str] = []
    if section.title:
        lines += ["", section.title]
    width = max((len(label) for label, _ in section.facts), default=0)
    lines += [f"  {label.ljust(width)}  {cell.whole}" for label, cell in section.facts]
    if section.curve:
        blocks = "".join(_BLOCKS[min(7, int(share * 8))] for share in section.curve)
        lines += ["  " + section.curve_label, "  " + blocks]
    if section.header:
        table: List[Sequence[str]] = [section.header, *([cell.whole for cell in row] for row in section.rows)]
        widths = [max(map(len, column)) for column in zip(*table)]
        for row in table:
            cells = [
                text.ljust(width) if index == 0 else text.rjust(width)
                for index, (text, width) in enumerate(zip(row, widths))
            ]
            lines.append("  " + "  ".join(cells).rstrip())
        if not section.rows:
            lines.append("  nothing yet")
    lines += ["  ! " + alert for alert in section.alerts]
    return "\n".join(lines)


def dashboard_bundle(state: DashboardState, css_class: str = "") -> Dict[str, str]:
    """Return the dashboard without its buttons, as every front end and a saved notebook can show it.

    Parameters
    ----------
    state : DashboardState
    css_class : str
        A further class of the HTML's element.
    """
    parts = sections(state)
    plain = "\n".join(map(_plain, parts))
    inner = '{}<div class="claude-force-dash {}">{}</div>'.format(
        STYLE, html.escape(css_class), "".join(map(section_html, parts))
    )
    return bundle(plain, f"```text\n{plain}\n```", inner)
