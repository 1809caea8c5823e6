"""What the notebook shows: answers and receipts as plain text, Markdown and HTML. Nothing here is live HTML of a model."""

from __future__ import annotations

import html
import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Container, Dict, Iterable, List, Optional, Sequence, Set

from claude_force_nb.messages.result import ClaudeResult

from .bars import Bar, Legend

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = [
    "answer_bundle",
    "bundle",
    "dollars",
    "known_dollars",
    "line_bundle",
    "receipt",
    "result_bundle",
    "table_bundle",
]

_RECEIPT_STYLE = "opacity:0.7;font-size:0.85em;margin-top:0.4em"


def dollars(amount: Optional[Decimal]) -> str:
    """Return US dollars as read by people: ``$0``, ``$0.0033``, ``$12.35``, or ``price unknown``."""
    if amount is None:
        return "price unknown"
    if amount == 0:
        return "$0"
    if amount < Decimal("0.0001"):
        return "<$0.0001"
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def known_dollars(known: Decimal, unknown: int, count: int) -> str:
    """Return the dollars of `count` answers, `unknown` of which are not in them; what is not known is never shown as nothing."""
    if not unknown:
        return dollars(known)
    if unknown == count:
        return "price unknown"
    return f"{dollars(known)} + {unknown:,} price unknown"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago" if seconds >= 1 else "just now"


def receipt(result: ClaudeResult) -> str:
    """Return the one line under an answer: who, tokens, cost, time; or age and saving where the cache answered."""
    parts = [result.agent or "", result.model]
    if result.cached:
        parts.append("cached " + _age(result.age_seconds))
        parts.append("saved " + dollars(result.saved) if result.saved is not None else "price unknown")
    else:
        usage = result.usage
        parts.append(f"{usage.total_input_tokens}→{usage.output_tokens} tok")
        parts.append(dollars(result.cost))
        parts.append(f"{result.duration_seconds:.1f} s")
    if result.status == "failed":
        parts.append("does not fit the schema")
    elif result.repaired:
        parts.append("repaired")
    if result.attempts > 1 + result.repaired:
        parts.append(f"{result.attempts} attempts")
    if result.stop_reason == "max_tokens":
        parts.append("cut off at max_tokens, not cached")
    elif result.stop_reason == "refusal":
        parts.append("refused, not cached")
    parts.append(result.notice)
    # A server may call its model anything; what breaks the line would end the receipt, or begin a heading.
    return " · ".join(" ".join(part.split()) for part in parts if part)


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # HTML in an answer is text; links to scripts are refused by the parser; an image would call its server, so it is a link.
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")

    def image(tokens: Any, index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        address = html.escape(str(token.attrGet("src") or ""))
        return f'<a href="{address}" rel="noopener noreferrer">{html.escape(token.content or address)}</a>'

    parser.renderer.rules["image"] = image  # type: ignore[attr-defined]
    return parser


def _markdown_as_html(text: str) -> str:
    rendered: str = _markdown().render(text)
    # A lone dollar in its own element is never one of a pair that MathJax would take for a formula.
    return rendered.replace("$", "<span>$</span>") if "$" in rendered else rendered


_SPECIAL = re.compile(r"(`+)(?:(?!`).*?(?<!`))?\1(?!`)|\\.|\$|<|!\[", re.DOTALL)


def _escape_match(match: re.Match[str]) -> str:
    found = match.group()
    return {"$": "\\$", "<": "&lt;", "![": "!\\["}.get(found, found)


def _safe_markdown(text: str) -> str:
    """Return Markdown with formulas, HTML and images outside code turned into text."""
    if not re.search(r"[$<]|!\[", text):
        return text
    lines = text.split("\n")
    code: Set[int] = set()
    for token in _markdown().parse(text):
        if token.type in ("fence", "code_block") and token.map:
            code.update(range(*token.map))
    parts: List[str] = []
    prose: List[str] = []
    for number, line in enumerate(lines):
        if number in code:
            if prose:
                parts.append(_SPECIAL.sub(_escape_match, "\n".join(prose)))
                prose = []
            parts.append(line)
        else:
            prose.append(line)
    if prose:
        parts.append(_SPECIAL.sub(_escape_match, "\n".join(prose)))
    return "\n".join(parts)


def _receipt_html(line: str) -> str:
    return '<div style="{}">{}</div>'.format(_RECEIPT_STYLE, html.escape(line).replace("$", "<span>$</span>"))


def _markdown_text(line: str) -> str:
    """Return plain text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]<>$|~#]|&(?=#?\w+;))", r"\\\1", line)


def _wrap(inner: str) -> str:
    return f'<div class="claude-force mathjax_ignore tex2jax_ignore">{inner}</div>'


def bundle(plain: str, markdown: str, inner_html: str) -> Dict[str, str]:
    """Return a display bundle of the three forms in which everything is shown."""
    return {"text/plain": plain, "text/markdown": markdown, "text/html": _wrap(inner_html)}


def line_bundle(text: str) -> Dict[str, str]:
    """Return the bundle of one line of plain text."""
    line = " ".join(text.split())
    return bundle(line, _markdown_text(line), html.escape(line).replace("$", "<span>$</span>"))


def answer_bundle(text: str, thinking: str = "", footer: str = "") -> Dict[str, str]:
    """Return the bundle of an answer, complete or still arriving, with its thinking folded and a line below it."""
    plain = text if not footer else f"{text}\n\n{footer}"
    markdown = _safe_markdown(text)
    inner = _markdown_as_html(text)
    if thinking:
        folded = f"<details><summary>Thinking</summary>{_markdown_as_html(thinking)}</details>"
        inner = folded + inner
        quoted = "\n".join("> " + line for line in _safe_markdown(thinking).split("\n"))
        markdown = f"{quoted}\n\n{markdown}"
        plain = f"[thinking]\n{thinking}\n[/thinking]\n\n{plain}"
    if footer:
        markdown = f"{markdown}\n\n*{_markdown_text(footer)}*"
        inner += _receipt_html(footer)
    return bundle(plain, markdown, inner)


def result_bundle(result: ClaudeResult) -> Dict[str, str]:
    """Return the bundle of a result: answer and receipt, or why there is none. JSON that was asked for is set as JSON."""
    footer = receipt(result)
    if result.error is not None:
        footer = "{}: {}".format(result.status.replace("_", " "), " ".join(str(result.error).split()))
    shown = answer_bundle(result.text, result.thinking, footer)
    indented = _indented(result)
    if indented is not None:
        shown = {
            **answer_bundle(f"```json\n{indented}\n```", result.thinking, footer),
            "text/plain": answer_bundle(indented, result.thinking, footer)["text/plain"],
        }
    return shown


def _indented(result: ClaudeResult) -> Optional[str]:
    """Return the JSON of an answer that fits its schema, one part a line; None where the answer is more than JSON."""
    if result.parsed is None:
        return None
    try:
        return json.dumps(json.loads(result.text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def table_bundle(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], *, footer: str = "", right: Container[int] = ()
) -> Dict[str, str]:
    """Return the bundle of a table of texts and bars, everything escaped; the columns numbered in `right` are set right."""
    given = [list(row) for row in rows]
    cells = [[" ".join(str(cell).split()) for cell in row] for row in given]
    names = list(map(str, header))
    widths = [max(map(len, column)) for column in zip(names, *cells)]

    def row_plain(row: Sequence[str]) -> str:
        aligned = enumerate(zip(row, widths))
        return "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in aligned
        ).rstrip()

    plain = [row_plain(row) for row in [names, *cells]]
    markdown = ["| {} |".format(" | ".join(map(_markdown_text, row))) for row in [names, *cells]]
    markdown.insert(1, "|" + "".join(" ---: |" if at in right else " --- |" for at in range(len(header))))

    def cell_html(cell: Any) -> str:
        if isinstance(cell, (Bar, Legend)):
            return cell.to_html()
        return html.escape(" ".join(str(cell).split())).replace("$", "<span>$</span>")

    def row_html(row: Sequence[Any], tag: str) -> str:
        inner = "".join(
            '<{0} style="text-align:{1}">{2}</{0}>'.format(tag, "right" if at in right else "left", cell_html(cell))
            for at, cell in enumerate(row)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(row_html(row, "td") for row in given)
    inner = "<table><thead>{}</thead><tbody>{}</tbody></table>".format(row_html(header, "th"), body)
    if footer:
        plain += ["", footer]
        markdown += ["", f"*{_markdown_text(footer)}*"]
        inner += _receipt_html(footer)
    return bundle("\n".join(plain), "\n".join(markdown), inner)
