"""The filters of ``{{ value | filter }}`` that this package adds to Jinja's own. Pure."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Optional

from claude_force_nb.errors import TemplateError
from claude_force_nb.messages.tokens import text_tokens
from claude_force_nb.vocabulary import counted, whole_number_fault

from .attachments import Attachment
from .plain import is_missing
from .tables import ROWS_SHOWN, Table, is_table, json_text, read_table
from .values import insertable

__all__ = ["FILTERS", "Fenced", "Raw", "RawAttachment"]


class Raw(str):
    """Marks a text that the user asked to insert without a fence."""


class Fenced(str):
    """Marks a text that the user asked to insert in a fence, however short it is."""


def fence(value: Any) -> Any:
    """Insert the value in a fence, however short it is."""
    inserted = insertable(value)
    return inserted if isinstance(inserted, Attachment) else Fenced(inserted)


def raw(value: Any) -> Any:
    """Insert the value without a fence, as if the user had typed it."""
    inserted = insertable(value)
    return RawAttachment(inserted) if isinstance(inserted, Attachment) else Raw(inserted)


class RawAttachment:
    """Marks an image or a document that the user asked to insert without a fence."""

    def __init__(self, attachment: Attachment) -> None:
        self.attachment = attachment

    def __str__(self) -> str:
        return str(self.attachment)


def _text(value: Any, name: str) -> str:
    inserted = insertable(value)
    if isinstance(inserted, Attachment):
        raise TemplateError(f"{name} takes text, not {inserted}")
    return inserted


def _whole(value: Any, name: str, least: int) -> int:
    fault = whole_number_fault(value, f"{name}: the number", least)
    if fault:
        raise TemplateError(fault)
    return int(value)


def head(value: Any, count: int = 5) -> Any:
    """Return the first rows of a table, items of a list, or lines of a text; tables and texts say what was cut."""
    _whole(count, "head", 0)
    if is_table(value):
        return read_table(value, count)
    if isinstance(value, str):
        # Count only line ends that an editor counts; a text may contain others, such as U+2028.
        lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", value)
        if len(lines) <= count:
            return value
        return "".join(lines[:count]) + f"[first {count} of {counted(len(lines), 'line')}]"
    if isinstance(value, dict):
        return dict(list(value.items())[:count])
    if isinstance(value, (list, tuple)):
        return value[:count]
    from itertools import islice

    try:
        return list(islice(value, count))
    except TypeError:
        raise TemplateError(f"head takes a table, a list or text, not {type(value).__name__}") from None


def csv(value: Any, rows: Optional[int] = None) -> str:
    """Return a table as CSV, with at most `rows` rows (default 100), below a line that says what was cut."""
    table = _table(value, rows)
    return table.described(table.csv()) if table.is_cut else table.csv()


def table(value: Any, rows: Optional[int] = None) -> str:
    """Return a table as Markdown, with at most `rows` rows (default 100), below a line that says what was cut."""
    found = _table(value, rows)
    return found.described("\n" + found.markdown()) if found.is_cut else found.markdown()


def json(value: Any, indent: Optional[int] = None, rows: Optional[int] = None) -> str:
    """Return a value as JSON; a table as a list of at most `rows` objects (default 100), below a line that says what was cut."""
    if not is_table(value):
        return json_text(value, indent)
    found = _table(value, rows)
    text = json_text(found.records(), indent)
    return found.described(text) if found.is_cut else text


def _table(value: Any, rows: Optional[int]) -> Table:
    return read_table(value, rows if rows is not None else None if is_table(value) else ROWS_SHOWN)


def code(value: Any, language: Optional[str] = None) -> str:
    """Return a text, or the source of a function, as a Markdown code block that backticks in it cannot end."""
    text = _text(value, "code")
    if language is None:
        language = "" if isinstance(value, str) else "python"
    if not re.fullmatch(r"[\w+#.-]*", language):
        raise TemplateError(f"code takes the name of a language, not {language!r}")
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    lines = text.rstrip("\n")
    return f"{ticks}{language}\n{lines}\n{ticks}"


def truncate_tokens(value: Any, count: int) -> str:
    """Cut a text to about this many tokens (see `messages.tokens.text_tokens`), at the end of a word if possible, and say so."""
    _whole(count, "truncate_tokens", 1)
    text = _text(value, "truncate_tokens")
    whole = text_tokens(text)
    if whole <= count:
        return text
    # Binary search, since the estimate grows with the text; a token has at most four characters.
    low, high = 0, min(len(text), 4 * count)
    while low < high:
        middle = (low + high + 1) // 2
        if text_tokens(text[:middle]) <= count:
            low = middle
        else:
            high = middle - 1
    kept = text[:low]
    word = re.search(r"\s\S{1,40}\Z", kept)
    if word is not None and low < len(text) and not text[low].isspace():
        kept = kept[: word.start()]
    note = f"[cut here: about {text_tokens(kept):,} of {whole:,} tokens, by estimate]"
    return f"{kept.rstrip()}\n{_end_of_code(kept)}{note}"


def _end_of_code(text: str) -> str:
    """Return the line that closes a code block left open by a text, so that the text after it is not code; "" if none is open."""
    opened = ""
    for line in text.splitlines():
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark and not opened:
            opened = mark.group(1)
        elif mark and mark.group(1).startswith(opened) and line.strip() == mark.group(1):
            opened = ""
    return opened + "\n" if opened else ""


def default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Return `default_value` instead of a missing value (undefined, None, NaN, NaT, NA); with `boolean`, of any false value."""
    from jinja2 import Undefined

    return default_value if isinstance(value, Undefined) or is_missing(value) or (boolean and not value) else value


FILTERS: Dict[str, Callable[..., Any]] = {
    **{each.__name__: each for each in (head, csv, table, json, code, truncate_tokens, fence, raw, default)},
    "d": default,
}
