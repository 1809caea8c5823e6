"""Rewrites a model's Markdown from its parsed tokens, so that nothing in it is live in any program that reads Markdown.

Each program decides for itself what is HTML, an image, a formula, a LaTeX command, an attribute or metadata: pandoc executes
``\\input`` in plain text. So no part of the source is passed on as it is. All text is escaped, and the markup around it is a
small subset of Markdown: paragraphs, headings, lists, quotes, tables, code, emphasis, links, footnotes, and formulas that
do nothing but typeset.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence
from urllib.parse import quote

from .formulas import formula, in_table_cell

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["safe_markdown"]

# Characters that are special in Markdown, including pandoc's, within a line and at its beginning.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>$|~#^@&!]")
_REFERENCE = re.compile(r"&#?\w+;")
# Tildes that begin code and references that define something are not text, but nested deletions, and a footnote's number.
_LINE_START = re.compile(r"^[ \t]*([-+=:%]|~(?=~~)|\[\^\d+\]:|\d{1,9}[.)])", re.MULTILINE)
# The backticks of adjacent code spans, with separators between them.
_CODE_NEXT_TO_CODE = re.compile("`\0+`")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+.#-]{1,30}")
_ADDRESS = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
# Characters of an address that are not percent-encoded: no bracket, backslash, dollar sign, quote or blank.
_ADDRESS_CHARACTERS = "!#%&'()*+,-./:;=?@_~"
# The Markdown of tokens that always become the same.
_MARKS = {
    "softbreak": "\n",
    "hardbreak": "\\\n",
    **dict.fromkeys(["em_open", "em_close"], "*"),
    **dict.fromkeys(["strong_open", "strong_close"], "**"),
    **dict.fromkeys(["s_open", "s_close"], "~~"),
}
# Most tokens are of these types. They stay tokens in the syntax tree, since a node for each would take time.
_LEAVES = frozenset(["text", "code_inline", *_MARKS])


class _Node:
    """A node of the syntax tree. Building it takes a third of the time of markdown-it's own `SyntaxTreeNode`.

    Parameters
    ----------
    token : Token or None
        The node's only token, or its opening one; None for the root.
    """

    __slots__ = ("children", "content", "token", "type")

    def __init__(self, token: Optional[Token]) -> None:
        self.token: Any = token
        self.children: List[Any] = []  # nodes, and tokens of the types in _LEAVES
        self.type = self.content = ""
        if token is not None:
            self.content = token.content
            self.type = token.type[: -len("_open")] if token.nesting == 1 else token.type

    def fill(self, tokens: Sequence[Token]) -> None:
        """Add the children that these tokens describe."""
        opened: List[_Node] = [self]
        for token in tokens:
            if token.type in _LEAVES:
                opened[-1].children.append(token)
                continue
            if token.nesting == -1:
                opened.pop()
                continue
            node = _Node(token)
            opened[-1].children.append(node)
            if token.nesting == 1:
                opened.append(node)
            elif token.children:
                node.fill(token.children)


def safe_markdown(tokens: Sequence[Token]) -> str:
    """Return parsed Markdown as Markdown with the same text and structure, and nothing live.

    Parameters
    ----------
    tokens : sequence of Token
        Tokens of markdown-it, parsed with HTML disabled.
    """
    root = _Node(None)
    root.fill(tokens)
    return _blocks(root.children)


def _blocks(nodes: List[_Node], *, tight: bool = False) -> str:
    return ("\n" if tight else "\n\n").join(_BLOCKS.get(node.type, _plain)(node) for node in nodes)


def _plain(node: _Node) -> str:
    return _blocks(node.children) if node.children else _escape(node.content)


def _escape(text: str) -> str:
    return _SPECIAL.sub(_escape_sign, text)


def _escape_sign(match: re.Match[str]) -> str:
    sign = match.group()
    if sign == "<":
        # A character reference begins no tag, even for a program that looks for tags without parsing Markdown.
        return "&lt;"
    if sign == "&" and not _REFERENCE.match(match.string, match.start()):
        return sign
    # Only at the end of a text can an exclamation mark precede a link and turn it into an image.
    if sign == "!" and match.end() < len(match.string):
        return sign
    return "\\" + sign


def _paragraph(node: _Node) -> str:
    return _LINE_START.sub(_escape_start, _inline_of(node))


def _escape_start(match: re.Match[str]) -> str:
    start = match.group()
    return f"{start[:-1]}\\{start[-1]}"


def _heading(node: _Node) -> str:
    return "#" * int(node.token.tag[1:]) + " " + _inline_of(node).replace("\\\n", " ").replace("\n", " ")


def _fence(node: _Node) -> str:
    code = node.content if node.content.endswith("\n") or not node.content else node.content + "\n"
    named = _LANGUAGE.fullmatch((node.token.info or "").split(" ")[0]) if node.type == "fence" else None
    return _fenced(code, named.group() if named else "")


def _fenced(code: str, language: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}{fence}"


def _quote(node: _Node) -> str:
    return _indented(_blocks(node.children), "> ", "> ")


def _list(node: _Node) -> str:
    tight = all(child.token.hidden for item in node.children for child in item.children if child.type == "paragraph")
    first = int(node.token.attrGet("start") or 1) if node.type == "ordered_list" else None
    items = []
    for number, item in enumerate(node.children):
        mark = "- " if first is None else f"{min(first + number, 999_999_999)}. "
        items.append(_indented(_blocks(item.children, tight=tight), mark, " " * len(mark)))
    return ("\n" if tight else "\n\n").join(items)


def _indented(text: str, first: str, further: str) -> str:
    lines = text.split("\n")
    return "\n".join(
        (first if number == 0 else further if line or further.strip() else "") + line
        for number, line in enumerate(lines)
    )


def _table(node: _Node) -> str:
    rows = [row for part in node.children for row in part.children]
    lines = [
        "| {} |".format(" | ".join(_inline_of(cell, ["|"]).replace("\n", " ") for cell in row.children)) for row in rows
    ]
    marks = [_ALIGNMENTS.get(str(cell.token.attrGet("style") or ""), "---") for cell in rows[0].children]
    lines.insert(1, f"| {' | '.join(marks)} |")
    return "\n".join(lines)


def _display_formula(node: _Node) -> str:
    tex = formula(node.content)
    if tex is None:
        return _fenced(node.content.strip() + "\n", "")
    return f"$${tex}$$"


def _footnote(node: _Node) -> str:
    # A program without footnotes reads this as a link reference definition (CommonMark 0.31, section 4.7), unless more than a
    # title follows the first word. So the first word is a space, and the text after it is escaped so as not to begin a title.
    text = _blocks(node.children)
    if node.children and node.children[0].type == "paragraph":
        text = f"&nbsp; {_TITLE_START.sub(_escape_start, text)}"
    else:
        text = f"&nbsp; &nbsp;\n\n{text}".rstrip()
    return _indented(text, f"[^{_number(node)}]: ", "    ")


def _number(node: _Node) -> int:
    return int(node.token.meta["id"]) + 1


_TITLE_START = re.compile("""^["'(]""")
_ALIGNMENTS = {"text-align:left": ":---", "text-align:right": "---:", "text-align:center": ":---:"}
_BLOCKS: Dict[str, Callable[[_Node], str]] = {
    "paragraph": _paragraph,
    "heading": _heading,
    "fence": _fence,
    "code_block": _fence,
    "blockquote": _quote,
    "bullet_list": _list,
    "ordered_list": _list,
    "table": _table,
    "hr": lambda node: "* * *",
    "math_block": _display_formula,
    "math_block_eqno": _display_formula,
    "amsmath": _display_formula,
    "footnote_block": lambda node: _blocks(node.children),
    "footnote": _footnote,
}


def _inline_of(node: _Node, before_code: Sequence[str] = ()) -> str:
    """Return the inline content of a block.

    Parameters
    ----------
    node : _Node
    before_code : sequence of str
        Marks that a program may look for before it looks for code, and so find in code: bars in the cells of a table, and
        those of deletions.
    """
    if "~~" in node.content and _has_deletion(node):
        before_code = [*before_code, "~~"]
    # The separator, which the parser lets into no token, tells the backticks of two code spans from those of a single one.
    text = "\0".join([_inline(child, before_code) for child in node.children])
    return _CODE_NEXT_TO_CODE.sub("` `", text).replace("\0", "")


def _has_deletion(node: Any) -> bool:
    return any(child.type == "s_open" or (child.children and _has_deletion(child)) for child in node.children)


def _inline(node: Any, before_code: Sequence[str]) -> str:
    """Return a node, or a token that is a leaf, as Markdown."""
    kind = node.type
    if kind == "text":
        return _escape(node.content)
    if kind in _MARKS:
        return _MARKS[kind]
    if kind == "code_inline":
        return _code(node.content, before_code)
    if kind in ("link", "image"):
        address = str(node.token.attrGet("href" if kind == "link" else "src") or "")
        # Everybody who opens the notebook would fetch an image from its server, so it becomes a link.
        text = _inline_of(node, before_code) if node.children else _escape(node.content or address)
        return _link(address, text)
    if kind in ("math_inline", "math_inline_double"):
        return _formula(node, before_code)
    if kind == "html_inline":  # only the task list plugin makes these, since the parser treats HTML as text
        return "[x]" if "checked=" in node.content else "[ ]"
    if kind == "footnote_ref":
        return f"[^{_number(node)}]"
    return _inline_of(node, before_code) if node.children else _escape(node.content)


def _formula(node: _Node, before_code: Sequence[str]) -> str:
    tex = formula(node.content)
    if tex is None:
        source = node.token.markup + node.content + {"\\(": "\\)"}.get(node.token.markup, node.token.markup)
        return _code(source, before_code)
    if "|" in before_code:
        tex = in_table_cell(tex)
    return f"${tex}$" if node.type == "math_inline" else f"$${tex}$$"


def _code(content: str, before_code: Sequence[str]) -> str:
    for mark in before_code:
        if mark in content:
            # Not within the code, where only some programs remove the backslashes.
            escaped = "".join([f"\\{sign}" for sign in mark])
            return escaped.join(_code(piece, before_code) if piece else "" for piece in content.split(mark))
    content = content.replace("\n", " ")
    mark = "`" * (1 + max(map(len, re.findall("`+", content)), default=0))
    pad = " " if content.startswith("`") or content.endswith("`") or not content.strip() else ""
    return f"{mark}{pad}{content}{pad}{mark}"


def _link(address: str, text: str) -> str:
    if not _ADDRESS.match(address):
        return text
    return f"[{text}](<{quote(address, safe=_ADDRESS_CHARACTERS)}>)"
