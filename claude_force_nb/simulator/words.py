"""The text of a simulated answer: derived from the prompt alone, and never to be mistaken for a model's. Pure.

A label is returned bare, since code reads it; everything else says that it is simulated.
"""

from __future__ import annotations

import re
from typing import List, Optional, Sequence, Tuple

from .code_words import code_answer, has_traceback, wants_code

__all__ = ["compose", "fixed_size", "find_labels"]

# Only the beginning and end of a long prompt, where instructions usually are, are searched for cues, for speed.
_HEAD = 4000
_TAIL = 2000

_FENCED_DATA = re.compile(r"<data\b[^>]*>(.*?)</data>", re.S)
_LABEL_CUE = re.compile(
    r"\b(label|classif|categor|sentiment|one of|either|answer (?:only )?with|reply (?:only )?with|respond (?:only )?with)",
    re.I,
)
# Bounded, and starting at a word, so that a prompt of nothing but commas does not stall the server.
_ITEM = r"[\"'`*“]{0,2}(?<![\w-])[\w-]+[\"'`*”]{0,2}"
# Three or more items near a cue are labels; two are only if the words before them say so.
_LABEL_LIST = re.compile(rf"({_ITEM}(?:\s*,\s*{_ITEM}){{1,20}}\s*,?\s+(?:or|and)\s+{_ITEM})", re.I)
_LABEL_PAIR = re.compile(rf"(?:\b(?:as|with|either|be)\s+|[:(]\s*)(?:either\s+)?({_ITEM}\s+or\s+{_ITEM})", re.I)
_LABEL_COLUMN = re.compile(
    rf"\b(?:labels?|categories|classes|one of)\s*(?:are)?:\s*({_ITEM}(?:\s*[,/|]\s*{_ITEM}){{1,20}})", re.I
)
_LABEL_SLASHES = re.compile(r"\b(\w[\w-]*(?:\s?[/|]\s?\w[\w-]*){1,20})\b")
_MOST_LABELS = 20
_WORD = re.compile(r"[\w-]+")

_GOOD = frozenset(
    [
        "good",
        "great",
        "excellent",
        "love",
        "loved",
        "loves",
        "like",
        "liked",
        "nice",
        "happy",
        "perfect",
        "amazing",
        "awesome",
        "wonderful",
        "fantastic",
        "best",
        "fast",
        "easy",
        "helpful",
        "pleased",
        "recommend",
        "delightful",
        "superb",
        "beautiful",
        "works",
        "brilliant",
        "enjoyed",
        "enjoy",
        "thanks",
        "sturdy",
    ]
)
_BAD = frozenset(
    [
        "bad",
        "terrible",
        "awful",
        "hate",
        "hated",
        "poor",
        "slow",
        "broken",
        "broke",
        "worst",
        "disappointing",
        "disappointed",
        "refund",
        "useless",
        "horrible",
        "annoying",
        "buggy",
        "crash",
        "crashes",
        "waste",
        "boring",
        "never",
        "late",
        "wrong",
        "fails",
        "failed",
        "expensive",
        "ugly",
        "dirty",
        "rude",
        "return",
    ]
)
_NEGATIONS = frozenset(["not", "no", "never", "isn't", "wasn't", "don't", "doesn't", "didn't", "hardly"])

_CODE_FENCE = re.compile(r"```[^\n]*\n(.*?)```", re.S)
_CODE_LINE = re.compile(
    r"^[ \t]*(?:async\s+def|def|class|function|import|from\s+\w+\s+import|const|let|public|return)\b", re.M
)
_DEFINED = re.compile(r"\b(?:def|class|function)\s+(\w+)\s*[(:{]")
_CALLED = re.compile(r"\b([A-Za-z_]\w{2,})\s*\(")
_ASSIGNED = re.compile(r"^[ \t]*([A-Za-z_]\w*)[ \t]*=[^=]", re.M)
_NOT_NAMES = frozenset(
    [
        "def",
        "class",
        "return",
        "if",
        "elif",
        "else",
        "for",
        "while",
        "with",
        "print",
        "not",
        "and",
        "assert",
        "function",
    ]
)
_WANTS_TESTS = re.compile(r"\b(?:write|add|suggest)\b[^.\n]{0,40}\btests?\b|\bpytest\b|\bunit tests?\b", re.I)

_LONG_WORD = re.compile(r"[^\W\d_]{6,}")
# Prompts of fewer characters get an answer of one paragraph.
_SHORT = 200

_REMARKS = (
    "a real model would say here whether its name tells what it does.",
    "a real model would look here at empty and very long input.",
    "a real model would ask here what happens when it raises.",
    "a real model would weigh here whether it does one thing.",
    "a real model would check here what callers rely on.",
    "a real model would mention here what a test should hold.",
)
_OPENINGS = (
    "No model has read the question; these words come from the simulator on this machine.",
    "The simulator wrote this from the words of the prompt; no model was asked.",
    "This stands where a model's answer would be; it was made on this machine.",
)


def _clip(text: str, length: int) -> str:
    """Return `text` in one line of at most `length` characters, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    return line[:length].rsplit(" ", 1)[0].rstrip(",.;:") + "…"


def _ends(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL else text[:_HEAD] + "\n" + text[-_TAIL:]


def find_labels(instruction: str) -> Tuple[str, ...]:
    """Return the labels to choose from according to `instruction`; empty if it asks for no label."""
    if not _LABEL_CUE.search(instruction):
        return ()
    for pattern in (_LABEL_COLUMN, _LABEL_LIST, _LABEL_PAIR, _LABEL_SLASHES):
        best: Tuple[str, ...] = ()
        for match in pattern.finditer(instruction):
            words = tuple(word for word in _WORD.findall(match.group(1)) if word.lower() not in ("or", "and"))
            near = instruction[max(0, match.start() - 120) : match.end() + 60]
            if len(best) < len(words) <= _MOST_LABELS and _LABEL_CUE.search(near):
                best = words
        if best:
            return best
    return ()


def _mood(words: Sequence[str]) -> int:
    score = 0
    for place, word in enumerate(words):
        value = (word in _GOOD) - (word in _BAD)
        if value and any(previous in _NEGATIONS for previous in words[max(0, place - 2) : place]):
            value = -value
        score += value
    return score


def _choose_label(labels: Sequence[str], data: str, digest: int) -> str:
    words = [word.lower() for word in re.findall(r"[\w']+", data)]
    by_name = {label.lower(): label for label in labels}
    if "positive" in by_name and "negative" in by_name:
        mood = _mood(words)
        wanted = ("positive",) if mood > 0 else ("negative",) if mood < 0 else ("neutral", "mixed")
        for name in wanted:
            if name in by_name:
                return by_name[name]
    else:
        present = set(words)
        for name, label in by_name.items():
            # The stem, so that "shipping" is found in "shipped".
            stem = name[: max(4, len(name) - 3)]
            if any(word.startswith(stem) for word in present):
                return label
    return labels[digest % len(labels)]


def _identifiers(code: str) -> List[str]:
    names: List[str] = []
    for pattern in (_DEFINED, _CALLED, _ASSIGNED):
        for name in pattern.findall(code):
            if name not in names and name.lower() not in _NOT_NAMES:
                names.append(name)
    return names


def _find_code(text: str) -> str:
    fenced = _CODE_FENCE.findall(text)
    if fenced:
        return "\n".join(fenced)
    for data in _FENCED_DATA.findall(text):
        if _CODE_LINE.search(data):
            return str(data)
    return text if len(_CODE_LINE.findall(text)) >= 2 else ""


def _review(names: Sequence[str], model: str, mark: str, digest: int) -> str:
    bullets = [f"- `{name}`: {_REMARKS[(digest + number) % len(_REMARKS)]}" for number, name in enumerate(names[:4])]
    points = "\n".join(bullets)
    return f"Simulated answer ({model}, {mark}): a review in outline, since no model has read the code.\n\n{points}"


def _tests(name: str, model: str, mark: str) -> str:
    return (
        f"Simulated answer ({model}, {mark}): the outline of a test, since no model has read the code.\n\n"
        f"```python\ndef test_{name.lower().strip('_') or 'it'}() -> None:\n"
        f"    # Simulated: a real model would write the cases here.\n    assert callable({name})\n```"
    )


def _essay(system: str, prompt: str, question: str, turns: int, model: str, mark: str, digest: int) -> str:
    opening = _OPENINGS[digest % len(_OPENINGS)]
    first = f"Simulated answer from {model} to “{_clip(question, 70)}” ({mark}). {opening}"
    if turns > 1:
        first += f" The conversation has {turns} messages so far."
    if len(prompt) < _SHORT:
        return first
    words = sorted({word.lower() for word in _LONG_WORD.findall(prompt)}, key=lambda word: (-len(word), word))
    points = [f"- {len(prompt):,} characters"]
    if words:
        points.append(f"- long words in it: {', '.join(f'*{word}*' for word in words[:4])}")
    if system:
        points.append(f"- a system prompt that begins “{_clip(system, 60)}”")
    return "\n\n".join(
        [
            first,
            "What the prompt holds:",
            "\n".join(points),
            "A real model would go on here; the simulated answer ends.",
        ]
    )


def compose(system: str, prompt: str, turns: int, model: str, digest: str) -> str:
    """Return the text of an answer.

    Parameters
    ----------
    system, prompt : str
        System prompt and last user message.
    turns : int
        Number of messages in the conversation.
    model : str
        Name to mention.
    digest : str
        Hexadecimal hash of system prompt and messages; it varies the words.
    """
    number = int(digest[:8], 16)
    mark = digest[:6]
    text = _ends(prompt)
    instruction = _FENCED_DATA.sub(" ", text)
    labels = find_labels(instruction) or find_labels(system[:_HEAD])
    if labels:
        fenced: Optional[str] = "\n".join(_FENCED_DATA.findall(text))
        # Without a fence the data follows the instruction, whose own label names must not count as data.
        data = fenced or re.sub("|".join(map(re.escape, labels)), " ", text, count=len(labels), flags=re.I)
        return _choose_label(labels, data, number)
    code = _find_code(text)
    names = _identifiers(code) if code else []
    if wants_code(instruction, system[:_HEAD]) and not (names and _WANTS_TESTS.search(instruction)):
        data = "\n".join(_FENCED_DATA.findall(text))
        # Without a fence or a traceback, code cannot be told from the rest of the prompt.
        given = data if has_traceback(data) else "" if code == text else code
        return code_answer(instruction, given, model, mark)
    if names:
        if _WANTS_TESTS.search(instruction) or _WANTS_TESTS.search(system[:_HEAD]):
            return _tests(names[0], model, mark)
        return _review(names, model, mark, number)
    return _essay(system, text, instruction if instruction.strip() else text, turns, model, mark, number)


def fixed_size(size_bytes: int, digest: str) -> str:
    """Return a simulated text of exactly `size_bytes` bytes (ASCII) that varies with `digest`."""
    piece = f"Simulated answer {digest[:12]}. "
    return (piece * (size_bytes // len(piece) + 1))[:size_bytes]
