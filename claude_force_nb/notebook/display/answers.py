"""Answers as plain text, Markdown and HTML. Nothing here is live HTML of a model."""

from __future__ import annotations

import json
from typing import Optional

from claude_force_nb.errors import SchemaError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.text_tables import escape_markdown, one_line, without_controls

from .bundles import Bundle, bundle, escape_html, footer_html
from .markdown import markdown_as_html, markdown_of
from .receipts import receipt

__all__ = ["answer_bundle", "broken_off", "result_bundle"]

_MARK_STYLE = "border-top:1px dashed currentColor;opacity:0.8;font-size:0.85em;margin-top:0.4em"


def answer_bundle(text: str, thinking: str = "", footer: str = "", *, mark: str = "") -> Bundle:
    """Return the bundle of an answer, complete or still arriving, with its thinking folded and a line below it.

    Where there is a `mark`, it says at the end of the text that this is not all of it.
    """
    text, thinking, footer = without_controls(text), without_controls(thinking), one_line(footer)
    plain = text if not footer else f"{text}\n\n{footer}"
    markdown = markdown_of(text)
    inner = markdown_as_html(text)
    if mark:
        plain = f"{text}\n[{mark}]" if not footer else f"{text}\n[{mark}]\n\n{footer}"
        markdown += f"\n\n**\\[{escape_markdown(mark)}\\]**"
        inner += f'<div style="{_MARK_STYLE}">{escape_html(mark)}</div>'
    if thinking:
        folded = f"<details><summary>Thinking</summary>{markdown_as_html(thinking)}</details>"
        inner = folded + inner
        quoted = "\n".join("> " + line for line in markdown_of(thinking).split("\n"))
        markdown = f"{quoted}\n\n{markdown}"
        plain = f"[thinking]\n{thinking}\n[/thinking]\n\n{plain}"
    if footer:
        markdown = f"{markdown}\n\n*{escape_markdown(footer)}*"
        inner += footer_html(footer)
    return bundle(plain, markdown, inner)


def broken_off(result: ClaudeResult) -> str:
    """Return what stands at the end of a text that is not all of the answer; "" for a complete one, or where there is no text."""
    if not result.text:
        return ""
    if result.error is not None:
        return "" if result.parsed is not None or isinstance(result.error, SchemaError) else "the answer broke off here"
    if not result.incomplete:
        return ""
    return "the model refused to go on here" if result.stop_reason == "refusal" else "the answer is cut off here"


def result_bundle(result: ClaudeResult) -> Bundle:
    """Return the bundle of a result: answer and receipt, or why there is none. JSON that was asked for is set as JSON."""
    footer = receipt(result)
    if result.error is not None:
        footer = f"{result.status.replace('_', ' ')}: {one_line(result.error)}"
    shown = answer_bundle(result.text, result.thinking, footer, mark=broken_off(result))
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
