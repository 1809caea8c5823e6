"""Mathematics of an answer: which of it is typeset, and how it is written so that every reader takes it for a formula only.

What typesets a formula runs commands: MathJax has ``\\href``, LaTeX has ``\\input``. So a formula is passed on where each command in it is one
that only sets type, and is shown as its source otherwise.
"""

from __future__ import annotations

import re
from typing import List, Optional

__all__ = ["COMMANDS", "ENVIRONMENTS", "formula", "in_table_cell"]

LONGEST_FORMULA = 5000
"""Longest formula, in characters, that is typeset; a longer one is shown as its source."""

# Of LaTeX, amsmath and amssymb, as far as MathJax has them too (docs.mathjax.org, "Supported TeX/LaTeX commands").
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
# Environments of a display stand inside one here, where LaTeX takes only their inner twins.
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
# A formula would end, a comment begin, a character be named by its number, or code begin to a reader that takes no notice of formulas.
_FORBIDDEN = re.compile(r"[%#$`]|\^\^")


def formula(source: str) -> Optional[str]:
    """Return a formula on one line, as TeX that only sets type; None if it is to be shown as its source.

    Parameters
    ----------
    source : str
        What stands between the signs of a formula.
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
    # Where HTML, a link or a picture would begin to a reader that takes no notice of formulas, there is a blank.
    return re.sub(r"<(?=\S)|\](?=[(\[:])", lambda sign: sign.group() + " ", text).strip()


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
    """Return a formula for a cell of a Markdown table, where a bar would end the cell."""
    return re.sub(r"(\\?)\|", lambda match: "\\Vert " if match.group(1) else "\\vert ", tex)
