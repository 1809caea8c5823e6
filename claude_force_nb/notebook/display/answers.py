"""Answers as plain text, Markdown and HTML. HTML that a model wrote is never live."""

from __future__ import annotations

import json
from typing import Dict, Optional, Sequence

from claude_force_nb.errors import SchemaError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.text_tables import escape_markdown, one_line, without_controls
from claude_force_nb.vocabulary import counted

from .bundles import Bundle, bundle, escape_html, folded_html, footer_html
from .code import CODE_STYLE
from .markdown import Block, MarkdownRenderer, markdown_of
from .mathml import MATHML_CLASS, MATHML_STYLE
from .receipts import receipt, why_missing

__all__ = ["AnswerRenderer", "answer_bundle", "broken_off", "result_bundle"]

# In characters of Markdown. A longer answer is folded after the block that brings the visible part to
# _CHARACTERS_BEFORE_FOLD.
_LONGEST_UNFOLDED = 20_000
_CHARACTERS_BEFORE_FOLD = 6_000
_MARK_STYLE = "border-top:1px dashed currentColor;opacity:0.8;font-size:0.85em;margin-top:0.4em"


class AnswerRenderer:
    """Renders one answer repeatedly while it arrives, and once more when it is complete."""

    def __init__(self) -> None:
        self._text = MarkdownRenderer()
        self._thinking = MarkdownRenderer()
        # The last complete text and its Markdown, which does not depend on whether the code is highlighted yet.
        self._markdown = ("", "")
        # Whether all code of the last rendering is highlighted.
        self.coloured = True

    def partial(self, text: str, thinking: str = "", footer: str = "") -> Dict[str, str]:
        """Return the bundle of an answer that is still arriving: not folded, and without Markdown, as it is not saved."""
        text, thinking, footer = without_controls(text), without_controls(thinking), one_line(footer)
        inner = "".join([block.html for block in self._text.blocks(text, in_full=False)])
        if thinking:
            inner = self._folded_thinking(thinking) + inner
        if footer:
            inner += footer_html(footer)
        shown = bundle(text if not footer else f"{text}\n\n{footer}", "", _with_styles(inner))
        del shown["text/markdown"]
        return shown

    def complete(
        self, text: str, thinking: str = "", footer: str = "", *, mark: str = "", in_full: bool = True
    ) -> Bundle:
        """Return the bundle of a complete answer, with its thinking and the end of a long text folded, and a footer.

        A `mark` at the end of the text says that the answer is incomplete. With `in_full` False, long code may not be
        highlighted yet; `coloured` tells whether all of it is.
        """
        text, thinking, footer = without_controls(text), without_controls(thinking), one_line(footer)
        plain = _plain(text, thinking, footer, mark)
        blocks = self._text.blocks(text, in_full=in_full)
        self.coloured = all(block.coloured for block in blocks)
        if self._markdown[0] != text:
            self._markdown = (text, markdown_of(text, blocks))
        markdown = self._markdown[1]
        inner = _folded(blocks)
        if mark:
            markdown += f"\n\n**\\[{escape_markdown(mark)}\\]**"
            inner += f'<div style="{_MARK_STYLE}">{escape_html(mark)}</div>'
        if thinking:
            inner = self._folded_thinking(thinking) + inner
            quoted = "\n".join("> " + line for line in markdown_of(thinking).split("\n"))
            markdown = f"{quoted}\n\n{markdown}"
        if footer:
            markdown = f"{markdown}\n\n*{escape_markdown(footer)}*"
            inner += footer_html(footer)
        return bundle(plain, markdown, _with_styles(inner))

    def result(self, result: ClaudeResult, *, in_full: bool = True) -> Bundle:
        """Return the bundle of a result: the answer with its receipt, or the reason why it is missing.

        JSON that a schema asked for is shown as a JSON code block. For `in_full` see `complete`.
        """
        footer = receipt(result)
        if result.error is not None:
            footer = why_missing(result)
        indented = _indented(result)
        if indented is None:
            mark = broken_off(result)
            return self.complete(result.text, result.thinking, footer, mark=mark, in_full=in_full)
        shown = self.complete(f"```json\n{indented}\n```", result.thinking, footer, in_full=in_full)
        plain = _plain(without_controls(indented), without_controls(result.thinking), one_line(footer))
        return {**shown, "text/plain": plain}

    def _folded_thinking(self, thinking: str) -> str:
        inner = "".join([block.html for block in self._thinking.blocks(thinking)])
        return f"<details><summary>Thinking</summary>{inner}</details>"


def _plain(text: str, thinking: str, footer: str, mark: str = "") -> str:
    """Return an answer as plain text; see `AnswerRenderer.complete`."""
    plain = f"{text}\n[{mark}]" if mark else text
    if footer:
        plain = f"{plain}\n\n{footer}"
    return f"[thinking]\n{thinking}\n[/thinking]\n\n{plain}" if thinking else plain


def answer_bundle(text: str, thinking: str = "", footer: str = "", *, mark: str = "") -> Bundle:
    """Return the bundle of a complete answer; see `AnswerRenderer.complete`."""
    return AnswerRenderer().complete(text, thinking, footer, mark=mark)


def result_bundle(result: ClaudeResult) -> Bundle:
    """Return the bundle of a result; see `AnswerRenderer.result`."""
    return AnswerRenderer().result(result)


def _folded(blocks: Sequence[Block]) -> str:
    """Return the HTML of an answer; a long one is folded from the end of a block on."""
    left = sum(block.characters for block in blocks)
    at = 0
    if left > _LONGEST_UNFOLDED:
        before = left - _CHARACTERS_BEFORE_FOLD
        while at < len(blocks) and left > before:
            left -= blocks[at].characters
            at += 1
    shown = "".join([block.html for block in blocks[: at or len(blocks)]])
    rest = "".join([block.html for block in blocks[at:]]) if at else ""
    return shown + folded_html(f"The rest of the answer: {counted(left, 'character')}", rest) if rest else shown


def _with_styles(inner: str) -> str:
    styles = CODE_STYLE if 'class="highlight"' in inner else ""
    return styles + (MATHML_STYLE if f'class="{MATHML_CLASS}"' in inner else "") + inner


def broken_off(result: ClaudeResult) -> str:
    """Return the mark at the end of an incomplete answer; "" for a complete or empty one."""
    if not result.text:
        return ""
    if result.error is not None:
        return "" if result.parsed is not None or isinstance(result.error, SchemaError) else "the answer broke off here"
    if not result.incomplete:
        return ""
    return "the model refused to continue here" if result.stop_reason == "refusal" else "the answer is cut off here"


def _indented(result: ClaudeResult) -> Optional[str]:
    """Return the indented JSON of an answer that fits its schema; None if the text is not just JSON."""
    if result.parsed is None:
        return None
    try:
        return json.dumps(load_json(result.text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
