"""Bars in a table: block characters in text and Markdown, coloured boxes in HTML that are block characters where styles are lost."""

from __future__ import annotations

import html
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Bar", "Legend"]

_WIDTH = 20
# Tones between light and dark, so that they stand out on either.
_SPENT, _SAVED = "#d9730d", "#7a9a6d"


@dataclass(frozen=True)
class Bar:
    """What was spent and what was saved, side by side.

    Attributes
    ----------
    spent, saved : Decimal
        At least 0.
    longest : Decimal
        The sum of both that fills the whole width, at least 0.
    label : str
        What a screen reader says.
    """

    spent: Decimal
    saved: Decimal
    longest: Decimal
    label: str = ""

    def __str__(self) -> str:
        # What is there is seen, if only as one block.
        spent = min(_blocks(self.spent, self.longest), _WIDTH - 1 if self.saved else _WIDTH)
        saved = min(_blocks(self.saved, self.longest), _WIDTH - spent)
        return "█" * spent + "░" * saved

    def to_html(self) -> str:
        """Return the bar as HTML, everything escaped."""
        parts = "".join(
            f'<span style="display:inline-block;height:100%;width:{100 * _share(amount, self.longest):.1f}%;background-color:{tone}"></span>'
            for amount, tone in ((self.spent, _SPENT), (self.saved, _SAVED))
            if amount
        )
        # A code host takes the styles away: then the block characters, else too small to see, are the bar.
        return (
            f'<div role="img" aria-label="{html.escape(self.label, quote=True)}" style="width:12em;height:0.8em;line-height:0;white-space:nowrap">'
            f'{parts}<span style="font-size:0">{self}</span></div>'
        )


class Legend:
    """What the parts of a bar mean, for the head of their column."""

    def __str__(self) -> str:
        return "█ spent ░ saved"

    def to_html(self) -> str:
        """Return it in the colours of the bars."""
        box = '<span style="display:inline-block;width:0.8em;height:0.8em;background-color:{}"></span>'
        part = box + '<span style="font-size:0">{}</span> {}'
        return "{} {}".format(part.format(_SPENT, "█", "spent"), part.format(_SAVED, "░", "saved"))


def _share(amount: Decimal, longest: Decimal) -> float:
    return min(1.0, float(amount / longest)) if longest > 0 else 0.0


def _blocks(amount: Decimal, longest: Decimal) -> int:
    return max(1, round(_share(amount, longest) * _WIDTH)) if amount else 0
