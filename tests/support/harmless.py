"""HTML as a browser reads it, and texts that try to be live there."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import List, Optional, Tuple

from hypothesis import strategies as st


class Tags(HTMLParser):
    """Start tags with their attributes, in the order of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: List[Tuple[str, str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.found += [(tag, name, value or "") for name, value in attrs or [("", "")]]


HARMLESS = {
    *(
        [
            "div",
            "details",
            "summary",
            "p",
            "ul",
            "ol",
            "li",
            "code",
            "pre",
            "em",
            "strong",
            "a",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "blockquote",
            "hr",
            "br",
            "span",
            "s",
            "sup",
        ]
    ),
    *(["table", "thead", "tbody", "tr", "th", "td"]),
}


HOSTILE = st.lists(
    st.sampled_from(
        [
            *("<script>", "<img src=x onerror=alert(1)>", "![a](http://e/)", "[a](javascript:alert(1))", "$x$", "```"),
            *("<details>", "&lt;b&gt;", "<!--", "|a|b|\n|-|-|\n|c|d|", "    ", "> ", "- ", "[r]: data:text/html,x"),
            *(
                "</div>",
                "text",
                "`",
                "\n",
                "$$\n<img src=x>\n$$",
                "\\(<script>\\)",
                "\\[\\href{javascript:x}{y}\\]",
                "[^1]",
                "^[<b>]",
            ),
            *(
                "[^1]: <img src=x>",
                "- [x] <b>",
                "~~<i>~~",
                "https://e/<script>",
                "javascript:alert(1)",
                "\\begin{align}<b>\\end{align}",
            ),
            *("```<script>\n", '```py"onclick="x\n', "ftp://e/", "//e/x", "$\\unicode{x}$", "$$a$$ (<b>)"),
        ]
    )
).map("".join)


class Page(HTMLParser):
    """The elements that a browser finds in HTML, and its text without style sheets."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: List[str] = []
        self.text = ""
        self._in_style = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.elements.append(tag)
        self._in_style = tag == "style"
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag in ("h4", "td", "th", "p", "div", "tr"):
            self.text += "\n"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data
