"""Code in simulated answers to prompts that ask for code: it runs, and says that no model wrote it. Pure."""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import Sequence

__all__ = ["code_answer", "has_traceback", "wants_code"]

_NOUNS = r"(?:code|function|script|class|method|program|snippet|one-liner|query|decorator|generator|loop|cell|command|regex|test case)"
_ASKED = re.compile(
    # "write a short Python function", but not "write a docstring for this function"
    r"\b(?:write|give|show|create|generate|make|suggest|draft)\b(?:\s+(?!(?:this|the|that|these|for|of|about|my|your)\b)[\w'-]+){0,5}?"
    rf"\s+{_NOUNS}s?\b"
    # a prompt that begins with "a function that …"
    rf"|\A\W*an?\s+(?:[\w-]+\s+){{0,2}}{_NOUNS}\s+(?:that|which|to|for)\b"
    r"|\b(?:implement|refactor)\b|\bin code\b",
    re.I,
)
_ASKED_BY_SYSTEM = re.compile(r"\bcode block\b", re.I)
# The first language that the prompt names is used, and Python if it names none.
_LANGUAGES = re.compile(r"\b(sql|bash|shell|javascript|html)\b", re.I)
_FENCE_NAMES = {"shell": "bash"}
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\)", re.M)
_HEAD = re.compile(r"\A[^\n]*:\n\s*\n")
# Words that may describe what the code does, to name it after.
_WORD = re.compile(r"[A-Za-z]{4,}")
_SAY_NOTHING = frozenset(
    [
        "write",
        "give",
        "show",
        "create",
        "generate",
        "make",
        "suggest",
        "draft",
        "function",
        "script",
        "class",
        "method",
        "program",
        "snippet",
        "code",
        "python",
        "that",
        "which",
        "this",
        "with",
        "from",
        "into",
        "implement",
        "refactor",
        "short",
        "simple",
        "please",
        "cell",
        "shell",
        "bash",
        "javascript",
        "html",
        "query",
        "command",
    ]
)

_COMMENT = "Simulated: a real model would write here what was asked for."
_OUTLINES = {
    "python": '{quote}{comment}{quote}\n\n\ndef {name}(*values):\n    return values\n\n\n{name}("an example")',
    "sql": "-- {comment}\nSELECT 1 AS {name};",
    "bash": "# {comment}\necho {name}",
    "javascript": '// {comment}\nconst {name} = (...values) => values;\n{name}("an example");',
    "html": "<!-- {comment} -->\n<p>{name}</p>",
}


def wants_code(instruction: str, system: str) -> bool:
    """Return whether a prompt asks for code, or its system prompt for an answer with a code block."""
    return bool(_ASKED.search(instruction) or _ASKED_BY_SYSTEM.search(system))


def has_traceback(text: str) -> bool:
    """Return whether a text contains a traceback, so that the text before it is code."""
    return bool(_TRACEBACK.search(text))


def code_answer(instruction: str, given: str, model: str, mark: str) -> str:
    """Return an answer with one block of code.

    Parameters
    ----------
    instruction : str
        The request for code.
    given : str
        Code in the prompt, or a cell and its traceback; "" for none.
    model, mark : str
        Texts to mention.
    """
    opening = f"Simulated answer ({model}, {mark}): the outline of code, since no model has read the question."
    code = _given_code(given) if given else ""
    if code:
        return f"{opening}\n\n```python\n# Simulated: the code as it was given; a real model would mend it here.\n{code}\n```"
    named = _LANGUAGES.search(instruction)
    language = "python" if named is None else named.group(1).lower()
    language = _FENCE_NAMES.get(language, language)
    outline = _OUTLINES[language].format(name=_name(instruction), comment=_COMMENT, quote='"""')
    return f"{opening}\n\n```{language}\n{outline}\n```"


def _name(instruction: str) -> str:
    words: Sequence[str] = [word.lower() for word in _WORD.findall(instruction) if word.lower() not in _SAY_NOTHING]
    name = "_".join(words[:3]) or "outline"
    return name + "_" if iskeyword(name) else name


def _given_code(given: str) -> str:
    """Return the code in a text, without an introductory line before it and the traceback after it."""
    told = _TRACEBACK.search(given)
    code = _HEAD.sub("", (given[: told.start()] if told else given).strip()).strip()
    return code.replace("```", "'''")  # a fence in it would end the block
