"""How long the search for suspicious phrases takes, and how often ordinary texts are suspected.

::

    python benchmarks/injection.py                 speed, and the standard library of this Python as ordinary text
    python benchmarks/injection.py FOLDER …        the text files of these folders instead

A text is cut into pieces of 2,000 characters; a piece counts as suspected if at least one phrase is found in it.
"""

from __future__ import annotations

import argparse
import os
import timeit
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Iterator, Sequence

from claude_force_nb.prompts.injection import scan
from claude_force_nb.prompts.template import render

PIECE = 2000
SUFFIXES = (".py", ".md", ".rst", ".txt", ".html", ".csv", "")
ENGLISH = "The committee met on Tuesday to look at the new budget. It was agreed that the work starts in March. "
RUSSIAN = "Комитет собрался во вторник, чтобы рассмотреть новый бюджет. "


def _texts(folders: Sequence[str]) -> Iterator[str]:
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and "site-packages" not in path.relative_to(folder).parts:
                try:
                    yield path.read_text(encoding="utf-8")
                except (UnicodeDecodeError, OSError):
                    continue


def _microseconds(text: str) -> float:
    return min(timeit.repeat(lambda: scan(text), number=500, repeat=5, timer=process_time)) / 500 * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    library = os.path.dirname(os.__file__)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", default=[library])
    folders = parser.parse_args().folders
    for name, text in (("English prose", ENGLISH), ("Russian prose", RUSSIAN)):
        print(f"{name}, 2,000 characters: {_microseconds((text * 40)[:PIECE]):.0f} µs")
    print(f"a review of 100 characters: {_microseconds(ENGLISH):.1f} µs")
    variables = {"text": ENGLISH[:100]}
    whole = (
        min(timeit.repeat(lambda: render("Label: {{ text }}", variables), number=500, repeat=5, timer=process_time))
        / 500
        * 1e6
    )
    print(f"a template with such a review: {whole:.1f} µs")
    pieces = characters = suspected = 0
    kinds: Counter[str] = Counter()
    for text in _texts(folders):
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE]
            found = scan(piece)
            pieces, characters, suspected = pieces + 1, characters + len(piece), suspected + bool(found)
            kinds.update(f"{each.kind}: {each.phrase}" for each in found)
    print(f"{pieces:,} pieces, {characters:,} characters: {suspected:,} suspected")
    for kind, count in kinds.most_common(20):
        print(f"  {count:>4} {kind}")


if __name__ == "__main__":
    main()
