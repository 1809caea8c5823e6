"""Find the code blocks in an answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Tuple

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = ["CodeBlock", "code_blocks"]


@dataclass(frozen=True)
class CodeBlock:
    """One block of code. ``str(block)`` is the code.

    Attributes
    ----------
    language : str
        Language named in the answer, in lower case; "" if none is named.
    text : str
        The code, without the line end before the closing fence.
    """

    language: str
    text: str

    def __str__(self) -> str:
        return self.text


def code_blocks(markdown: str) -> Tuple[CodeBlock, ...]:
    """Return the fenced code blocks of a text in order, including those inside lists and quotes.

    An unclosed block counts too, since the answer may have been cut off.
    """
    if "```" not in markdown and "~~~" not in markdown:
        return ()
    return tuple(
        CodeBlock(
            (token.info or "").strip().split(" ")[0].lower(),
            token.content[:-1] if token.content.endswith("\n") else token.content,
        )
        for token in _parser().parse(markdown)
        if token.type == "fence"
    )


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Only blocks matter here.
    return MarkdownIt("commonmark").disable("inline")
