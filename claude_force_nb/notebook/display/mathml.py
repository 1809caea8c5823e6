"""Formulas as MathML, for a front end that shows HTML without typesetting what stands in it: VS Code.

VS Code shows ``text/html`` rather than ``text/markdown`` and runs no MathJax over it, but its notebooks are pages of a Chromium that
knows MathML. The sanitizer of JupyterLab knows no element of MathML and would leave the text of a formula without its shape. So a
formula stands in the HTML twice, as TeX and as hidden MathML, and a style sheet that only holds in VS Code shows the other one.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Any, Optional

__all__ = ["MATHML_CLASS", "MATHML_STYLE", "TEX_CLASS", "mathml"]

MATHML_CLASS = "claude-force-mathml"
TEX_CLASS = "claude-force-tex"
# VS Code gives the body of each page one of these classes (code.visualstudio.com/api/extension-guides/webview, "Theming webview content").
_THEMES = ("vscode-light", "vscode-dark", "vscode-high-contrast")


def _in_vs_code(selector: str, rule: str) -> str:
    return f"{','.join(f'.{theme} {selector}' for theme in _THEMES)}{{{rule}}}"


MATHML_STYLE = (
    "<style>"
    + _in_vs_code(f".{TEX_CLASS}", "display:none")
    + _in_vs_code(f"span.{MATHML_CLASS}", "display:inline")
    + _in_vs_code(f"div.{MATHML_CLASS}", "display:block;overflow-x:auto;margin:0.6em 0")
    + "</style>"
)
"""Goes with the HTML of an answer that has formulas as MathML."""
# What latex2mathml does not know, in words that it knows.
_REWRITTEN = (
    (re.compile(r"(\\(?:begin|end))\{aligned\}"), r"\1{align*}"),
    (re.compile(r"(\\(?:begin|end))\{gathered\}"), r"\1{matrix}"),
    (re.compile(r"\\arg(?![a-zA-Z])"), r"\\operatorname{arg}"),
    (re.compile(r"\\stackrel(?![a-zA-Z])"), r"\\overset"),
    (re.compile(r"\\nolimits(?![a-zA-Z])"), ""),
)


@lru_cache(maxsize=512)
def mathml(tex: str, *, display: bool) -> Optional[str]:
    r"""Return a formula as one ``<math>`` element; None if it cannot be written as one.

    Parameters
    ----------
    tex : str
        TeX that only sets type; see `formula`.
    display : bool
        True for a formula on lines of its own.

    Examples
    --------
    >>> mathml(r"\alpha < b", display=False)
    '<math display="inline"><mrow><mi>α</mi><mo>&lt;</mo><mi>b</mi></mrow></math>'
    """
    from xml.etree import ElementTree

    from latex2mathml.converter import convert_to_element

    for pattern, replacement in _REWRITTEN:
        tex = pattern.sub(replacement, tex)
    try:
        element: Any = convert_to_element(tex, display="block" if display else "inline")
    except Exception:  # its own errors, and whatever a formula that is none leads it to: the reader gets the TeX
        return None
    element.attrib.pop("xmlns", None)
    for each in element.iter():
        # Its characters are references, which would be escaped once more.
        each.text, each.tail = (text and html.unescape(text) for text in (each.text, each.tail))
        # MathML Core leaves the alignment of cells to CSS, and the values that move what is in a cell are Chromium's own.
        alignment = each.attrib.pop("columnalign", None) if each.tag == "mtd" else None
        if alignment in ("left", "right"):
            each.set("style", f"text-align:-webkit-{alignment}")
    # What it does not know it passes on as text.
    text = "".join(element.itertext())
    if "\\" in text or text.count("&") > tex.count("\\&"):
        return None
    written: str = ElementTree.tostring(element, encoding="unicode")
    return written
