"""Formulas in an answer: which are typeset, and how to write them so that every program reads them as formulas only.

Typesetting executes commands: MathJax supports ``\\href``, LaTeX supports ``\\input``. So a formula is passed on only if all
commands in it do nothing but typeset. Otherwise its source is shown.
"""

from __future__ import annotations

import re
from typing import List, Optional

__all__ = ["COMMANDS", "ENVIRONMENTS", "formula", "in_table_cell"]

LONGEST_FORMULA = 5000
"""Maximum length of a formula that is typeset, in characters; a longer one is shown as its source."""

# Commands of LaTeX, amsmath and amssymb that MathJax supports too (docs.mathjax.org, "Supported TeX/LaTeX commands").
_COMMAND_NAMES = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho varrho
sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega frac
dfrac tfrac cfrac sqrt binom dbinom tbinom over choose atop stackrel overset underset substack sum prod coprod int
iint iiint oint bigcup bigcap bigvee bigwedge bigoplus bigotimes bigodot biguplus bigsqcup lim limsup liminf sup inf
max min arg det dim exp log ln lg sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth gcd hom ker deg
Pr mod bmod pmod operatorname limits nolimits displaystyle textstyle scriptstyle times div cdot ast star circ bullet
pm mp oplus ominus otimes oslash odot cup cap uplus sqcup sqcap vee wedge setminus wr amalg dagger ddagger diamond
triangle triangleleft triangleright bigtriangleup bigtriangledown leq le geq ge neq ne equiv approx sim simeq cong
propto ll gg prec succ preceq succeq subset supset subseteq supseteq sqsubseteq sqsupseteq in ni notin mid parallel
perp models vdash dashv doteq asymp bowtie lesssim gtrsim leqslant geqslant subsetneq supsetneq not to gets mapsto
leftarrow rightarrow leftrightarrow Leftarrow Rightarrow Leftrightarrow uparrow downarrow updownarrow Uparrow
Downarrow longleftarrow longrightarrow longleftrightarrow Longleftarrow Longrightarrow Longleftrightarrow longmapsto
hookleftarrow hookrightarrow nearrow searrow swarrow nwarrow implies impliedby iff xrightarrow xleftarrow
rightharpoonup leftharpoonup rightleftharpoons infty partial nabla forall exists nexists neg lnot emptyset
varnothing aleph hbar ell Re Im wp angle prime top bot square Box blacksquare triangle therefore because cdots ldots
dots vdots ddots dotsb dotsc land lor hat widehat tilde widetilde bar overline underline vec dot ddot dddot check
breve acute grave mathring overbrace underbrace overrightarrow overleftarrow boxed mathbb mathbf mathcal mathfrak
mathit mathrm mathsf mathtt boldsymbol text textbf textit textrm mbox left right big Big bigg Bigg bigl bigr Bigl
Bigr biggl biggr Biggl Biggr middle lvert rvert lVert rVert vert Vert langle rangle lfloor rfloor lceil rceil lbrace
rbrace lbrack rbrack backslash quad qquad space thinspace enspace phantom hphantom vphantom smash begin end hline
"""
COMMANDS = frozenset(_COMMAND_NAMES.split())
_SYMBOLS = frozenset("\\,;:!> {}|%&_#")
_ENVIRONMENT_NAMES = """
matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix cases array aligned gathered split
"""
ENVIRONMENTS = frozenset(_ENVIRONMENT_NAMES.split())
# Formulas are written as displays, inside which LaTeX accepts only these inner counterparts of display environments.
_INNER = {
    "align": "aligned",
    "eqnarray": "aligned",
    "equation": "gathered",
    "gather": "gathered",
    "multline": "gathered",
}
_OUTER = re.compile(r"(\\(?:begin|end))\{(align|eqnarray|equation|gather|multline)\*?\}")
_REWRITTEN = (
    (re.compile(r"\\(?:notag|nonumber)(?![a-zA-Z])"), ""),
    (re.compile(r"\\tag\*?\{([^{}]*)\}"), r"\\qquad(\1)"),
    (re.compile(r"\\bm(?![a-zA-Z])"), r"\\boldsymbol"),
    (re.compile(r"\\mathscr(?![a-zA-Z])"), r"\\mathcal"),
)
_COMMAND = re.compile(r"\\([A-Za-z]+|.|\Z)", re.DOTALL)
_ENVIRONMENT = re.compile(r"\\(begin|end)(\{[^{}]*\}|.|\Z)", re.DOTALL)
# These would begin a comment, end the formula, name a character by its number, or begin code in a program without formulas.
_FORBIDDEN = re.compile(r"[%#$`]|\^\^")


def formula(source: str) -> Optional[str]:
    """Return a formula on one line as TeX that does nothing but typeset; None if its source has to be shown instead.

    Parameters
    ----------
    source : str
        The text between the delimiters of the formula.
    """
    text = " ".join(source.split())
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    text = _OUTER.sub(lambda match: f"{match.group(1)}{{{_INNER[match.group(2)]}}}", text)
    if not text or len(text) > LONGEST_FORMULA or _FORBIDDEN.search(_COMMAND.sub(" ", text)) or not text.isprintable():
        return None
    for match in _COMMAND.finditer(text):
        name = match.group(1)
        if name not in (COMMANDS if name.isalpha() else _SYMBOLS):
            return None
    if not (_braces_match(text) and _environments_match(text)):
        return None
    if len(re.findall(r"\\left(?![a-zA-Z])", text)) != len(re.findall(r"\\right(?![a-zA-Z])", text)):
        return None
    # Insert a blank where a program that does not support formulas would see the beginning of HTML, a link, an image or a deletion.
    return re.sub(r"<(?=\S)|!(?=\[)|~(?=~)|\](?=[(\[:])", lambda sign: sign.group() + " ", text).strip()


def _braces_match(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"[{}]", re.sub(r"\\.", "", text)):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def _environments_match(text: str) -> bool:
    opened: List[str] = []
    for match in _ENVIRONMENT.finditer(text):
        name = match.group(2)[1:-1]
        if name not in ENVIRONMENTS:
            return False
        if match.group(1) == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            return False
    return not opened


def in_table_cell(tex: str) -> str:
    """Return a formula without vertical bars, which would end the cell of a Markdown table."""
    return re.sub(r"(\\?)\|", lambda match: "\\Vert " if match.group(1) else "\\vert ", tex)
