"""Find phrases in data that read like instructions to the model. Pure.

A phrase is a hint, not a proof, since data may well talk about instructions. Nothing is changed here.
docs/explanation/values-are-data.md says what was tested and what is not found.

The design is for speed. A text is first split into words, which takes microseconds. Only if it contains the words of a
rule (`phrases.Rule`) is it matched against the rule's regular expression. Every repetition in these has a bound, so
that no text can make them slow.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass
from html import unescape
from typing import Dict, FrozenSet, Iterable, List, Pattern, Sequence, Tuple
from urllib.parse import unquote

from .phrases import PHRASES, Rule, words_of

__all__ = ["Finding", "scan"]


@dataclass(frozen=True)
class Finding:
    """A phrase that looks like an instruction.

    Attributes
    ----------
    kind : str
        What it looks like, such as "overrides instructions"; shown after the name of the value.
    phrase : str
        The phrase as found, on one line of at most 80 characters; hidden text is made visible.
    """

    kind: str
    phrase: str


class _Rules:
    """Rules indexed by their words, so that a text is checked only against rules that may match."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._wordless = frozenset(place for place, rule in enumerate(self._rules) if not rule.words)
        self._places: Dict[bytes, List[int]] = {}
        for place, rule in enumerate(self._rules):
            for word in rule.words:
                self._places.setdefault(word, []).append(place)
        self._of_any_text = tuple(self._rules[place] for place in sorted(self._wordless))

    def of(self, words: FrozenSet[bytes]) -> Sequence[Rule]:
        """Return the rules, in order, that may match a text that contains these words of the vocabulary."""
        if not words:
            return self._of_any_text
        places = set(self._wordless)
        for word in words:
            places.update(self._places.get(word, ()))
        return [self._rules[place] for place in sorted(places)]


_ALL_RULES = _Rules(PHRASES)
_ASCII_RULES = _Rules(rule for rule in PHRASES if all(mark.isascii() for mark in rule.marks))
_ROLE_WORDS = frozenset((b"human", b"assistant"))
# The only words that matter.
_VOCABULARY = _ROLE_WORDS.union(*(rule.words | rule.also for rule in PHRASES))

_TAGS = re.compile("[\U000e0020-\U000e007f]+")
# The flags of England, Scotland and Wales consist of tag characters: a black flag, letters, and a terminator.
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{1,6}\U000e007f")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# One variation selector after a character is normal; several in a row can encode hidden bytes.
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3,}")
# Control characters except tab and line ends, and escape sequences of terminals, which can for example hide text.
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code not in (0x09, 0x0A, 0x0D))
_CONTROL = re.compile("\x1b\\[[0-9;]{0,20}[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Characters that are invisible between two letters, including joiners.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
# A Latin letter next to a Greek or Cyrillic one, which does not occur in normal text in these scripts.
_MIXED = re.compile("[a-z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][a-z]")
_LOOKALIKE = re.compile("[\u0370-\u03ff\u0400-\u052f]")
_STYLED = re.compile("[\u2100-\u214f\u2460-\u24ff\uff01-\uff5e\U0001d400-\U0001d7ff\U0001f130-\U0001f149\u1d00-\u1d7f]")
_LOOKALIKES = str.maketrans(
    "\u0430\u0441\u0435\u0456\u0458\u043e\u0440\u0455\u0443\u0445\u04bb\u0501\u051b\u051d\u0433\u043a\u043c\u043d\u0442\u0432"
    "\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03b7\u03c9",
    "aceijopsyxhdqwrkmhtb" + "aeikvoptuxnw",
)

# "ignore" and "instruction" in base64, for each of the three possible alignments. The key is a letter that they
# contain, to be searched for first because that is very fast.
_BASE64_NEEDLES = {
    "Z": ("lnbm9yZ", "pZ25vcm"),
    "J": ("aWdub3Jl", "SWdub3Jl", "aW5zdHJ1Y3Rpb2"),
    "V": ("pbnN0cnVjdGlvb",),
    "R": ("luc3RydWN0aW9u",),
}
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


def scan(text: str) -> Tuple[Finding, ...]:
    """Return phrases in a value, before cleaning, that read like instructions; one of each kind.

    Parameters
    ----------
    text : str
        Text of any length; the scan takes linear time.
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _CONTROLS)) != len(data):
        text = _CONTROL.sub("", text)
    if text.isascii():
        found: List[Finding] = []
        characters, readable = "", text
    else:
        # For most checks, the set of different characters is enough, and it is much smaller than the text.
        characters = "".join(set(text))
        found, readable = _hidden(text) if _UNSEEN.search(characters) else ([], text)
    words = _known_words(readable)
    found.extend(_phrases(readable.lower(), words))
    for variant in _variants(readable, characters):
        found.extend(_phrases(variant, _known_words(variant)))
    if not _ROLE_WORDS.isdisjoint(words):
        marker = _TURN.search(readable)
        if marker is not None:
            found.append(Finding("contains a role marker", _one_line(marker.group())))
    if _may_hold_base64(text):
        found.extend(_encoded(text))
    return tuple({each.kind: each for each in reversed(found)}.values())[::-1] if len(found) > 1 else tuple(found)


def _known_words(text: str) -> FrozenSet[bytes]:
    """Return the words of a text that occur in a rule."""
    return _VOCABULARY.intersection(words_of(text))


def _phrases(lowered: str, words: FrozenSet[bytes]) -> List[Finding]:
    """Match the rules against a text in lower case."""
    found = []
    for rule in (_ASCII_RULES if lowered.isascii() else _ALL_RULES).of(words):
        if rule.also and rule.also.isdisjoint(words):
            continue
        if rule.marks:
            for mark in rule.marks:
                if mark in lowered:
                    break
            else:
                continue
        match = rule.pattern.search(lowered)
        if match is not None:
            found.append(Finding(rule.kind, _one_line(match.group())))
    return found


# Case matters here, since "human:" in lower case may just be a field name in data.
_TURN: Pattern[str] = re.compile(r"(?:^|\n)[ \t>*#_]{0,6}(?:Human|HUMAN|Assistant|ASSISTANT)[ *_]{0,3}:")


def _variants(text: str, characters: str) -> List[str]:
    """Return the text in lower case with look-alikes and entities resolved, if there are any."""
    variants = []
    styled, foreign = (_STYLED.search(characters), _LOOKALIKE.search(characters)) if characters else (None, None)
    if styled or foreign:
        lowered = plain = text.lower()
        if styled:
            plain = unicodedata.normalize("NFKC", plain).lower()
        if foreign and _MIXED.search(plain):
            plain = plain.translate(_LOOKALIKES)
        if plain != lowered:
            variants.append(plain)
    if "&" in text and "&#" in text:
        variants.append(unescape(text).lower())
    if "%" in text and "%20" in text:
        variants.append(unquote(text).lower())
    return variants


def _hidden(text: str) -> Tuple[List[Finding], str]:
    """Return findings about invisible text, and the text without invisible characters."""
    found = []
    tags = _TAGS.search(_FLAG.sub("", text)) if "\U000e007f" in text else _TAGS.search(text)
    if tags is not None:
        said = "".join(chr(ord(character) - 0xE0000) for character in tags.group())
        found.append(Finding("hides text in invisible tag characters", _one_line(said)))
    selectors = _SELECTORS.search(text)
    if selectors is not None:
        found.append(Finding("hides text in invisible variation selectors", _one_line(_selected(selectors.group()))))
    if _BIDI.search(text):
        found.append(Finding("contains characters that reverse the reading direction", ""))
    return found, _UNSEEN.sub("", text)


def _selected(selectors: str) -> str:
    """Decode the bytes that some programs hide in variation selectors."""
    codes = [ord(each) - 0xFE00 if each <= "\ufe0f" else ord(each) - 0xE0100 + 16 for each in selectors]
    return bytes(code for code in codes if 32 <= code < 127).decode("ascii")


def _may_hold_base64(text: str) -> bool:
    for letter, needles in _BASE64_NEEDLES.items():
        if letter in text:
            for needle in needles:
                if needle in text:
                    return True
    return False


def _encoded(text: str) -> List[Finding]:
    for run in _BASE64.finditer(text):
        word = run.group().rstrip("=").replace("-", "+").replace("_", "/")
        word = word[:-1] if len(word) % 4 == 1 else word
        try:
            decoded = b64decode(word + "=" * (-len(word) % 4), validate=True).decode("utf-8", "replace")
        except (Base64Error, ValueError):
            continue
        # Decode one level only: base64 inside base64 is not searched.
        for finding in _phrases(decoded.lower(), _known_words(decoded)):
            return [Finding("contains an instruction in base64", finding.phrase)]
    return []


def _one_line(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= 80 else shown[:79] + "…"
