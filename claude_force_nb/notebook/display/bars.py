"""Bars in a table: block characters in text and Markdown; coloured boxes in HTML, or block characters without styles."""

from __future__ import annotations

import html
from dataclasses import dataclass
from decimal import Decimal

from claude_force_nb.costs.report import LEGEND, bar_blocks

__all__ = ["Bar", "Legend"]

# Medium tones, which stand out on light and on dark backgrounds.
_SPENT, _SAVED = "#d9730d", "#7a9a6d"


@dataclass(frozen=True)
class Bar:
    """Amounts spent and saved, side by side.

    Attributes
    ----------
    spent, saved : Decimal
        At least 0.
    longest : Decimal
        The sum of both that fills the whole width, at least 0.
    label : str
        Text for screen readers.
    """

    spent: Decimal
    saved: Decimal
    longest: Decimal
    label: str = ""

    def __str__(self) -> str:
        return bar_blocks(self.spent, self.saved, self.longest)

    def to_html(self) -> str:
        """Return the bar as HTML, everything escaped."""
        parts = "".join(
            f'<span style="display:inline-block;height:100%;width:{100 * _share(amount, self.longest):.1f}%;background-color:{tone}"></span>'
            for amount, tone in ((self.spent, _SPENT), (self.saved, _SAVED))
            if amount
        )
        # Code hosts such as GitHub strip styles, which makes the block characters visible (their font size is 0 otherwise).
        return (
            f'<div role="img" aria-label="{html.escape(self.label, quote=True)}" style="width:12em;height:0.8em;line-height:0;white-space:nowrap">'
            f'{parts}<span style="font-size:0">{self}</span></div>'
        )


class Legend:
    """Legend of the parts of a bar, for the header of its column."""

    def __str__(self) -> str:
        return LEGEND

    def to_html(self) -> str:
        """Return the legend as HTML in the colours of the bars."""
        return f"{_legend_html(_SPENT, '█', 'spent')} {_legend_html(_SAVED, '░', 'saved')}"


def _legend_html(tone: str, block: str, meaning: str) -> str:
    box = f'<span style="display:inline-block;width:0.8em;height:0.8em;background-color:{tone}"></span>'
    return f'{box}<span style="font-size:0">{block}</span> {meaning}'


def _share(amount: Decimal, longest: Decimal) -> float:
    return min(1.0, float(amount / longest)) if longest > 0 else 0.0
