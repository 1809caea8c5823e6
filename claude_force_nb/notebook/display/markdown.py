"""Renders Markdown that a model wrote as HTML and as Markdown in which nothing is live."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.notebook.kernel.cells import runs_in_vs_code

from .bundles import SCROLLED_TABLE
from .code import code_html
from .formulas import formula
from .mathml import MATHML_CLASS, TEX_CLASS, mathml
from .safe_markdown import safe_markdown

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["Block", "MarkdownRenderer", "markdown_as_html", "markdown_of", "warm_up"]

# The parser searches for the end of a bracketed formula at each opening bracket. If that could take more steps than this,
# such formulas are not recognised.
_MOST_STEPS = 20_000_000
# Highlighting code takes time: this many characters at once, unless all of it is asked for.
_COLOURED_AT_ONCE = 20_000
# Keys in the parser's environment: whether it is in a footnote, whether to highlight code, and whether to add MathML.
_IN_FOOTNOTE = "in footnote"
_COLOURED = "coloured"
_MATHML = "mathml"
# MathJax typesets elements of these classes although it ignores the answer around them; see `bundles`.
_TYPESET = "mathjax_process tex2jax_process"
# MathJax does not pair up delimiters that are in elements of their own.
_SIGNS = re.compile(r"\$|(?<=\\)[(\[]")
# A price followed by words.
_PRICE = re.compile(r"\$\d[\d,.]*\s+\W*[^\W\d_]{2}")


def _parser_for(text: str) -> MarkdownIt:
    """Return a parser with only the rules that a text can need, since each rule costs time at every special character."""
    beginnings = text.count("\\(") + text.count("\\[")
    return _parser(
        brackets=0 < beginnings * len(text) <= _MOST_STEPS,
        dollars="$" in text,
        links="://" in text or "mailto:" in text.lower(),
    )


@lru_cache(maxsize=8)
def _parser(*, brackets: bool, dollars: bool, links: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.amsmath import amsmath_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.dollarmath.index import math_inline_dollar
    from mdit_py_plugins.footnote import footnote_plugin
    from mdit_py_plugins.footnote.index import footnote_def
    from mdit_py_plugins.tasklists import tasklists_plugin
    from mdit_py_plugins.texmath import texmath_plugin

    # HTML in an answer is shown as text; the parser itself refuses links to scripts.
    parser = MarkdownIt("commonmark", {"html": False, "linkify": True}).enable(["table", "strikethrough", "linkify"])
    # Link only addresses with a scheme ("main.py" is not one), and neither "//…" nor FTP.
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    parser.linkify.add("//", None).add("ftp:", None)
    if not links:
        parser.disable("linkify")
    if dollars:
        parser.use(
            dollarmath_plugin,
            allow_labels=False,
            allow_space=False,
            allow_digits=False,
            allow_blank_lines=False,
            double_inline=True,
        )
        in_dollars = math_inline_dollar(allow_space=False, allow_digits=False, allow_double=True)
        parser.inline.ruler.at("math_inline", _unless_prose(in_dollars))
    if brackets:
        parser.use(texmath_plugin, delimiters="brackets")
    # Inline footnotes take quadratic time: the parser searches for the end at each beginning.
    parser.use(amsmath_plugin).use(footnote_plugin).use(tasklists_plugin).disable("footnote_inline")
    parser.block.ruler.at("footnote_def", _not_nested(footnote_def), {"alt": ["paragraph", "reference"]})
    parser.renderer.rules.update(_RULES)  # type: ignore[attr-defined]
    return parser


def _not_nested(rule: Callable[..., bool]) -> Callable[..., bool]:
    """Return the rule for footnotes, restricted so that none is defined within another, where tokens would not match."""

    def outermost(state: Any, first: int, last: int, silent: bool) -> bool:
        nested = state.env.get(_IN_FOOTNOTE, False)
        state.env[_IN_FOOTNOTE] = True
        found = not nested and rule(state, first, last, silent)
        state.env[_IN_FOOTNOTE] = nested
        return found

    return outermost


def _unless_prose(rule: Callable[[Any, bool], bool]) -> Callable[[Any, bool], bool]:
    """Return the inline rule `rule`, restricted so that it ignores what only looks like a formula.

    Examples are ``$5, see `$HOME` `` and ``$A/$B``.
    """

    def strict(state: Any, silent: bool) -> bool:
        start, tokens, pending = state.pos, len(state.tokens), state.pending
        if not rule(state, silent):
            return False
        source, following = state.src[start : state.pos], state.src[state.pos : state.pos + 1]
        if "`" not in source and not following.isalnum() and not _PRICE.match(source):
            return True
        state.pos, state.pending = start, pending
        del state.tokens[tokens:], state.tokens_meta[tokens:]
        return False

    return strict


def _rule(render: Callable[[Any], str]) -> Callable[..., str]:
    def rule(tokens: Any, index: int, options: Any, env: Any) -> str:
        return render(tokens[index])

    return rule


def _text(text: str) -> str:
    escaped = html.escape(text)
    if "$" not in text and "\\" not in text:
        return escaped
    return _SIGNS.sub(lambda sign: f"<span>{sign.group()}</span>", escaped)


def _plain_text(tokens: Any, index: int, options: Any, env: Any) -> str:
    return _text(tokens[index].content)


def _constant(shown: str) -> Callable[..., str]:
    return lambda tokens, index, options, env: shown


def _image(token: Any) -> str:
    # Show an image as a link, since loading it would contact its server.
    address = html.escape(str(token.attrGet("src") or ""))
    return f'<a href="{address}" rel="noopener noreferrer">{_text(token.content or address)}</a>'


def _table_cell(tag: str, token: Any) -> str:
    # Front ends align the cells of an output to the right, as suits numbers.
    return f'<{tag} style="{html.escape(str(token.attrGet("style") or "text-align:left"))}">'


def _code(tokens: Any, index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    language = (token.info or "").strip().split(" ")[0][:30] if token.type == "fence" else ""
    return code_html(token.content, language, coloured=env[_COLOURED])


def _checkbox(token: Any) -> str:
    # Only the task list plugin makes HTML tokens, since the parser treats HTML as text.
    return "☑" if "checked=" in token.content else "☐"


def _inline_formula(tokens: Any, index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    tex = formula(token.content)
    if tex is None:
        return f"<code>{_text(token.markup + token.content + _CLOSING.get(token.markup, token.markup))}</code>"
    return _typeset("span", f"\\({html.escape(tex)}\\)", mathml(tex, display=False) if env[_MATHML] else None)


def _display_formula(tokens: Any, index: int, options: Any, env: Any) -> str:
    content = tokens[index].content
    tex = formula(content)
    if tex is None:
        return f"<pre><code>{_text(content.strip())}</code></pre>\n"
    return _typeset("div", f"\\[{html.escape(tex)}\\]", mathml(tex, display=True) if env[_MATHML] else None) + "\n"


def _typeset(tag: str, for_mathjax: str, math: Optional[str]) -> str:
    if math is None:
        return f'<{tag} class="{_TYPESET}">{for_mathjax}</{tag}>'
    # JupyterLab's sanitizer drops attributes without a value, such as a bare "hidden".
    return (
        f'<{tag} class="{_TYPESET} {TEX_CLASS}">{for_mathjax}</{tag}>'
        f'<{tag} class="{MATHML_CLASS}" hidden="hidden">{math}</{tag}>'
    )


def _footnote_number(token: Any) -> str:
    return f"<sup>[{token.meta['id'] + 1}]</sup>"


_CLOSING = {"\\(": "\\)", "\\[": "\\]"}
_RULES: Dict[str, Callable[..., str]] = {
    "text": _plain_text,
    # Faster than the parser's own rules, which look for attributes that these tokens never have.
    "em_open": _constant("<em>"),
    "em_close": _constant("</em>"),
    "strong_open": _constant("<strong>"),
    "strong_close": _constant("</strong>"),
    "code_inline": _rule(lambda token: f"<code>{_text(token.content)}</code>"),
    "code_block": _code,
    "fence": _code,
    "image": _rule(_image),
    "table_open": _rule(lambda token: f"{SCROLLED_TABLE}<table>\n"),
    "th_open": _rule(lambda token: _table_cell("th", token)),
    "td_open": _rule(lambda token: _table_cell("td", token)),
    "table_close": _rule(lambda token: "</table></div>\n"),
    "html_inline": _rule(_checkbox),
    "math_inline": _inline_formula,
    "math_inline_double": _display_formula,
    "math_block": _display_formula,
    "math_block_eqno": _display_formula,
    "amsmath": _display_formula,
    # Without links, since other answers on the page have footnotes with the same numbers.
    "footnote_ref": _rule(_footnote_number),
    "footnote_anchor": _rule(lambda token: ""),
    "footnote_block_open": _rule(lambda token: "<hr><ol>\n"),
    "footnote_block_close": _rule(lambda token: "</ol>\n"),
    "footnote_open": _rule(lambda token: "<li>"),
    "footnote_close": _rule(lambda token: "</li>\n"),
}


# Every program reads a text without any of these in the same way, and finds nothing live in it.
_SUSPICIOUS = re.compile(r"[\\$<{!&\[\]^@~]|^ {0,3}[%:=-]|://|^ *(?:```|~~~)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A top-level paragraph, list, table or similar block.

    Attributes
    ----------
    html : str
        HTML with nothing live in it.
    characters : int
        Length of the source.
    code_characters : int
        Length of the code in it.
    coloured : bool
        Whether that code is highlighted.
    tokens : tuple of Token
        Tokens of markdown-it.
    """

    html: str
    characters: int
    code_characters: int
    coloured: bool
    tokens: Tuple[Token, ...]


class MarkdownRenderer:
    """Renders a growing text without rendering unchanged blocks again."""

    def __init__(self) -> None:
        self._parser: Optional[MarkdownIt] = None
        self._mathml = runs_in_vs_code()
        self._text: Optional[str] = None
        self._blocks: List[Block] = []
        # Rendered blocks by source.
        self._known: Dict[str, Block] = {}

    def blocks(self, text: str, *, in_full: bool = True) -> List[Block]:
        """Return the blocks of Markdown as HTML in which nothing is live.

        Parameters
        ----------
        text : str
        in_full : bool
            False to highlight no more than 20,000 further characters of code; the next call continues from there.
        """
        room = None if in_full else _COLOURED_AT_ONCE
        if text != self._text:
            self._text, self._blocks = text, self._parsed(text, room)
        elif self._parser is not None:
            self._blocks = self._recoloured(self._parser, self._blocks, room)
        return self._blocks

    def _recoloured(self, parser: MarkdownIt, blocks: List[Block], room: Optional[int]) -> List[Block]:
        """Return the blocks with further code highlighted, up to `room` characters; None for all."""
        new = []
        for block in blocks:
            if not block.coloured and (room is None or block.code_characters <= room):
                block = self._block(parser, list(block.tokens), block.characters, room)
                room = _left_of(room, block)
            new.append(block)
        return new

    def _parsed(self, text: str, room: Optional[int]) -> List[Block]:
        parser = _parser_for(text)
        known, earlier = self._known, self._parser
        self._parser, self._known = parser, {}
        # Splitting the text into blocks pays only from the second rendering on.
        sources = _sources(parser, text) if parser is earlier else None
        if sources is None:
            return self._whole(parser, text, room)
        blocks: List[Block] = []
        for source in sources:
            block = known.get(source)
            if block is None or not (block.coloured or (room is not None and block.code_characters > room)):
                block = self._block(parser, parser.parse(source), len(source) - source.count("\n"), room)
                room = _left_of(room, block)
            self._known[source] = block
            blocks.append(block)
        return blocks

    def _whole(self, parser: MarkdownIt, text: str, room: Optional[int]) -> List[Block]:
        environment: Dict[str, Any] = {}
        groups = list(_top_level(parser.parse(text, environment)))
        # Footnotes and the like may have no line numbers; the numbers of characters are approximate then.
        sources = _cut(text.replace("\r\n", "\n").replace("\r", "\n"), groups)
        blocks: List[Block] = []
        for group, source in zip(groups, sources):
            block = self._block(parser, group, len(source) - source.count("\n"), room)
            room = _left_of(room, block)
            blocks.append(block)
            if _stand_alone(environment):
                self._known[source] = block
        return blocks

    def _block(self, parser: MarkdownIt, tokens: List[Token], characters: int, room: Optional[int]) -> Block:
        code = sum(len(token.content) for token in tokens if token.type in ("fence", "code_block"))
        coloured = room is None or code <= room
        html = parser.renderer.render(tokens, parser.options, {_COLOURED: coloured, _MATHML: self._mathml})
        return Block(html, characters, code, coloured, tuple(tokens))


def _left_of(room: Optional[int], block: Block) -> Optional[int]:
    """Return how many characters may still be highlighted after `block`."""
    return room - block.code_characters if room is not None and block.coloured else room


def _stand_alone(environment: Mapping[str, Any]) -> bool:
    """Return whether blocks can be rendered separately, because none defines links or footnotes for others."""
    return not environment.get("references") and "footnotes" not in environment


def _sources(parser: MarkdownIt, text: str) -> Optional[List[str]]:
    """Return the source of each block; None if a block defines a link or footnote for others."""
    from markdown_it.rules_core import StateCore, block, normalize

    state = StateCore(text, parser, {})
    normalize(state)
    block(state)
    if not _stand_alone(state.env):
        return None
    return _cut(state.src, _top_level(state.tokens))


def _cut(text: str, groups: List[List[Token]]) -> List[str]:
    """Return the source of each block with its last line end, which code without an end has as well."""
    lines = re.split("(?<=\n)", text)
    starts = [group[0].map[0] if group[0].map else 0 for group in groups]
    return ["".join(lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)])]


def _top_level(tokens: List[Token]) -> List[List[Token]]:
    """Return the tokens of each top-level block; a block without line numbers is joined to the previous one."""
    groups: List[List[Token]] = []
    depth = 0
    for token in tokens:
        if groups and (depth or (not token.map and token.nesting >= 0)):
            groups[-1].append(token)
        else:
            groups.append([token])
        depth += token.nesting
    return groups


def markdown_as_html(text: str) -> str:
    """Return Markdown as HTML in which nothing is live."""
    return "".join(block.html for block in MarkdownRenderer().blocks(text))


def markdown_of(text: str, blocks: Optional[List[Block]] = None) -> str:
    """Return Markdown in which nothing is live; see `safe_markdown`.

    Parameters
    ----------
    text : str
    blocks : list of Block, optional
        Blocks of this text, if it was parsed already.
    """
    if not _SUSPICIOUS.search(text):
        return text
    if blocks is None:
        return safe_markdown(_parser_for(text).parse(text))
    return safe_markdown([token for block in blocks for token in block.tokens])


def warm_up() -> None:
    """Import the libraries for rendering, which takes a quarter of a second the first time."""
    markdown_as_html("`a` https://example.com\n\n```python\n1\n```\n")
