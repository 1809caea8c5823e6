"""Formulas as MathML, for VS Code, which shows HTML without typesetting the formulas in it.

VS Code prefers ``text/html`` to ``text/markdown`` and does not run MathJax on it, but its Chromium supports MathML.
JupyterLab's sanitizer removes MathML elements and would leave only the text of a formula. So the HTML contains each formula
twice, as TeX and as hidden MathML; a style sheet that applies only in VS Code hides the TeX and shows the MathML.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Any, Optional

__all__ = ["MATHML_CLASS", "MATHML_STYLE", "TEX_CLASS", "mathml"]

MATHML_CLASS = "claude-force-mathml"
TEX_CLASS = "claude-force-tex"
# VS Code sets one of these classes on the body of each page (code.visualstudio.com/api/extension-guides/webview, "Theming
# webview content").
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
"""Style sheet for an answer with formulas as MathML."""
# Commands that latex2mathml does not support, and their replacements.
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
        TeX that does nothing but typeset; see `formula`.
    display : bool
        True for a display formula, False for an inline one.

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
    except Exception:  # invalid TeX makes latex2mathml raise various errors; fall back to the TeX
        return None
    element.attrib.pop("xmlns", None)
    for each in element.iter():
        # latex2mathml writes character references, which would be escaped a second time.
        each.text, each.tail = (text and html.unescape(text) for text in (each.text, each.tail))
        # MathML Core leaves the alignment of cells to CSS, where only Chromium's own values align the contents of a cell.
        alignment = each.attrib.pop("columnalign", None) if each.tag == "mtd" else None
        if alignment in ("left", "right"):
            each.set("style", f"text-align:-webkit-{alignment}")
    # latex2mathml passes unsupported commands on as text.
    text = "".join(element.itertext())
    if "\\" in text or text.count("&") > tex.count("\\&"):
        return None
    written: str = ElementTree.tostring(element, encoding="unicode")
    return written
