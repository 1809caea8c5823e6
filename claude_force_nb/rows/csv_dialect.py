"""How a CSV file is written: its delimiter, its quotes and its header, found in its first lines. Pure.

Python's `csv.Sniffer` takes any frequent character as the delimiter, even inside quotes. Here each candidate dialect reads the
lines, and the one whose rows fit its header best is chosen.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

from claude_force_nb.prompts.plain import free_name

from .csv_limit import LargeFieldReader

__all__ = ["CsvDialect", "find_dialect", "fits", "header_names"]

_DELIMITERS = ",;\t|"
# Rows that are examined.
_ROWS = 200
# Excel's convention: a first line such as "sep=;" states the delimiter.
_SEP_LINE = re.compile(r'\ufeff?"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)

# A plain column name, as opposed to a sentence.
_WORD = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class CsvDialect:
    """A way to write CSV.

    Attributes
    ----------
    delimiter, quote : str
        One character each.
    escape : str or None
        Character that escapes a quote in a quoted field; None if quotes are doubled.
    skips_blanks : bool
        True if blanks after a delimiter are ignored.
    lines_above : int
        Lines above the header that do not belong to the table.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: Optional[str] = None
    skips_blanks: bool = False
    lines_above: int = 0

    def reader(self, lines: Iterable[str]) -> LargeFieldReader:
        """Return a reader over a file's lines, skipping those above the header."""
        remaining = iter(lines)
        for _ in range(self.lines_above):
            next(remaining, None)
        reader = csv.reader(
            remaining,
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=self.escape,
            doublequote=self.escape is None,
            skipinitialspace=self.skips_blanks,
        )
        return LargeFieldReader(reader)


def find_dialect(sample: str, *, is_whole: bool, delimiters: str = _DELIMITERS) -> CsvDialect:
    """Return the dialect of a file.

    Parameters
    ----------
    sample : str
        The beginning of the file.
    is_whole : bool
        True if that is the whole file. Otherwise its last row is ignored, since it may be cut off.
    delimiters : str
        Candidates, likeliest first.
    """
    said = _SEP_LINE.match(sample)
    if said:
        # The file states its delimiter: no need to guess.
        sample, delimiters = sample[said.end() :], said.group(1)
    best: Optional[Tuple[Tuple[float, ...], CsvDialect]] = None
    for place, dialect in enumerate(_candidates(sample, delimiters)):
        score = _score(dialect, sample, is_whole)
        if score is not None and (best is None or (*score, -place) > best[0]):
            best = ((*score, -place), dialect)
    found = best[1] if best is not None else CsvDialect(delimiters[0])
    return CsvDialect(found.delimiter, found.quote, found.escape, found.skips_blanks, 1 if said else 0)


def _candidates(sample: str, delimiters: str) -> Iterator[CsvDialect]:
    first = next((line for line in sample.splitlines() if line.strip()), "")
    for delimiter in delimiters:
        blanks = [False, True] if delimiter + " " in first else [False]
        quotes: List[Tuple[str, Optional[str]]] = [('"', None)]
        if '\\"' in sample:
            quotes.append(('"', "\\"))
        if re.search(rf"(?:^|{re.escape(delimiter)})[ ]*'", first):
            quotes.append(("'", None))
        for quote, escape in quotes:
            for skips_blanks in blanks:
                yield CsvDialect(delimiter, quote, escape, skips_blanks)


def _score(dialect: CsvDialect, sample: str, is_whole: bool) -> Optional[Tuple[float, ...]]:
    """Return a score of how well the rows fit the header, higher is better; None if they cannot be read."""
    try:
        # Keep line ends, since a quoted field may contain some.
        rows = [row for row, _ in zip(filter(None, dialect.reader(sample.splitlines(keepends=True))), range(_ROWS))]
    except csv.Error:
        return None
    if not is_whole and 1 < len(rows) < _ROWS:
        rows.pop()
    if not rows:
        return None
    width, others = len(rows[0]), rows[1:]
    fitting = sum(fits(row, width) for row in others) / len(others) if others else 1.0
    torn = sum(_is_torn(field, dialect) for row in rows for field in row)
    # Column names seldom contain quotes, so a torn name says more than a torn value.
    whole_names = not any(_is_torn(field, dialect) for field in rows[0])
    # With a wrong delimiter every line is a single column and fits, so several columns take precedence. A header of plain words
    # counts as several columns even if every row below it has too many or too few fields.
    named = all(_WORD.fullmatch(field) for field in rows[0]) and any(len(row) > 1 for row in others)
    several = width > 1 and (fitting > 0 or named)
    return (float(several), float(whole_names), round(fitting, 2), -torn / len(rows), float(width))


def fits(row: Sequence[str], width: int) -> bool:
    """Return whether a row has as many fields as the header; further ones may only be empty."""
    return len(row) == width or (len(row) > width and not any(row[width:]))


def _is_torn(field: str, dialect: CsvDialect) -> bool:
    """Return whether a field has quotes or leading blanks that the right dialect would have removed."""
    text = field.strip()
    if field[:1] == " " and not dialect.skips_blanks:
        return True
    return text.count('"') % 2 == 1 or (len(text) > 1 and text[0] == text[-1] and text[0] in "\"'") or '\\"' in text


def header_names(fields: Sequence[str]) -> List[str]:
    """Return the column names, stripped; an empty third name becomes ``column_3``."""
    stripped = [field.strip() for field in fields]
    times = Counter(stripped)
    names: List[str] = []
    taken = set(stripped)
    for place, (name, field) in enumerate(zip(stripped, fields)):
        if not name:
            name = free_name(f"column_{place + 1}", taken)
        elif times[name] > 1:
            name = field
        names.append(name)
        taken.add(name)
    return names
