"""Answers of several models and agents to the same prompt, side by side: what each cost, and which words differ."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.frames import assemble
from claude_force_nb.text_tables import escape_markdown, one_line, without_controls

from .bundles import Bundle, bundle, escape_html
from .markdown import markdown_of
from .receipts import why_missing
from .tables import table_bundle

__all__ = ["ComparedAnswer", "Comparison", "compared_name"]

_PIECES = re.compile(r"\s+|\w+|[^\w\s]")
# Only this many pieces of an answer are compared word by word; the rest is shown unmarked.
_MOST_PIECES = 4000
_CELL_STYLE = "vertical-align:top;text-align:left;white-space:pre-wrap;max-width:40em"


def compared_name(agent: Optional[str], model: str, sample: int) -> str:
    """Return the heading for the answers of one agent, model and sample."""
    return " · ".join(part for part in (agent, model, f"sample {sample}" if sample > 1 else "") if part)


@dataclass(frozen=True)
class ComparedAnswer:
    """One answer of a comparison.

    Attributes
    ----------
    model, agent : str or None
        As requested; None for the default.
    sample : int
        Number of the sample, from 1.
    result : ClaudeResult
        The answer, or the error if it failed.
    """

    model: Optional[str]
    agent: Optional[str]
    sample: int
    result: ClaudeResult

    @property
    def name(self) -> str:
        """Heading of the answer."""
        return compared_name(self.agent, self.model or self.result.model, self.sample)


@dataclass(frozen=True)
class Comparison:
    """Answers to one prompt; the others are compared with the first.

    Attributes
    ----------
    answers : tuple of ComparedAnswer
        Ordered by model, then agent, then sample.
    notice : str
        What is said about the server, such as ``simulated``; "" if nothing.
    """

    answers: Tuple[ComparedAnswer, ...]
    notice: str = ""

    def __len__(self) -> int:
        return len(self.answers)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(answer.name for answer in self.answers)})"

    @property
    def results(self) -> List[ClaudeResult]:
        """The results, in order."""
        return [answer.result for answer in self.answers]

    def similarity(self, number: int) -> float:
        """Return the similarity of an answer's words to the first one's, 0 to 1: twice the shared words over all words."""
        first, other = (_pieces(self.answers[at].result.text) for at in (0, number))
        return difflib.SequenceMatcher(None, first, other, autojunk=False).ratio()

    def to_frame(self) -> Any:
        """Return one row for each answer: model, agent, sample, answer, status, cost (US dollars), seconds, similarity and error.

        Raises
        ------
        SourceError
            If neither pandas nor polars is installed.
        """
        rows: Dict[str, List[Any]] = {}
        for number, answer in enumerate(self.answers):
            result = answer.result
            row = {
                "model": result.model or answer.model,
                "agent": answer.agent,
                "sample": answer.sample,
                "answer": result.text,
                "status": result.shown_status,
                "cost": None if result.price is None else float(result.price),
                "seconds": result.call_seconds,
                "similarity": self.similarity(number),
                "error": None if result.error is None else one_line(result.error),
            }
            for name, value in row.items():
                rows.setdefault(name, []).append(value)
        return assemble(list(range(len(self.answers))), {}, rows)

    def bundle(self) -> Bundle:
        """Return a table of status, tokens, cost and time, and below it the answers, with words unlike the first's marked."""
        header = ("answer", "status", "tokens", "cost", "seconds", "like the first")
        rows = [self._row(number) for number in range(len(self.answers))]
        table = table_bundle(header, rows, footer=self.notice, right=(2, 3, 4, 5))
        texts = [(answer.name, _shown(answer.result)) for answer in self.answers]
        plain = "\n\n".join([table["text/plain"], *(f"--- {name}\n{text}" for name, text in texts)])
        quoted = ["\n".join("> " + line for line in markdown_of(text).split("\n")) for _, text in texts]
        named = [f"**{escape_markdown(one_line(name))}**\n\n{text}" for (name, _), text in zip(texts, quoted)]
        return bundle(plain, "\n\n".join([table["text/markdown"], *named]), table["text/html"] + self._grid())

    def _row(self, number: int) -> Tuple[str, ...]:
        answer = self.answers[number]
        result = answer.result
        if result.error is not None:
            return (answer.name, why_missing(result), "", "", "", "")
        tokens = f"{result.usage.total_input_tokens}→{result.usage.output_tokens}"
        alike = f"{self.similarity(number):.0%}" if number else ""
        # Show a cached answer as it was when it was asked, so that a rerun shows the same.
        status = "ok" if result.status == "cached" else result.status
        return (answer.name, status, tokens, dollars(result.price), f"{result.call_seconds:.1f}", alike)

    def _grid(self) -> str:
        heads = "".join(f'<th style="text-align:left">{escape_html(answer.name)}</th>' for answer in self.answers)
        first = _shown(self.answers[0].result)
        cells = [escape_html(first)]
        cells += [_marked(first, _shown(answer.result)) for answer in self.answers[1:]]
        body = "".join(f'<td style="{_CELL_STYLE}">{cell}</td>' for cell in cells)
        return f"<table><thead><tr>{heads}</tr></thead><tbody><tr>{body}</tr></tbody></table>"


def _shown(result: ClaudeResult) -> str:
    return without_controls(result.text) if result.error is None else one_line(result.error)


def _pieces(text: str) -> List[str]:
    return [piece for piece in _PIECES.findall(text)[:_MOST_PIECES] if not piece.isspace()]


def _marked(first: str, other: str) -> str:
    """Return a text as HTML, with the words that differ from the first text in bold."""
    before, after = _PIECES.findall(first)[:_MOST_PIECES], _PIECES.findall(other)
    after, rest = after[:_MOST_PIECES], "".join(after[_MOST_PIECES:])
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    parts = []
    for tag, _, _, start, end in matcher.get_opcodes():
        text = escape_html("".join(after[start:end]))
        parts.append(text if tag == "equal" or not text.strip() else f"<b>{text}</b>")
    return "".join(parts) + escape_html(rest)
